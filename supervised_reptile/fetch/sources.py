"""Where a dataset comes from: an address, a file or a folder. Each becomes a local folder."""

import hashlib
import re
import shutil
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import IO
from urllib.parse import unquote, urlsplit

import requests
import urllib3
from tqdm import tqdm

from supervised_reptile.data.folders import SYSTEMS, is_image
from supervised_reptile.system.errors import FailedError, RefusedError, UnsoundError, is_exhausted

ATTEMPTS = 5  # in a row that bring nothing new
BACK_OFF = 1  # seconds before the second attempt to connect, doubled before each further one
TIMEOUT = 60  # seconds without a byte
BLOCK = 1 << 16  # bytes
USED = {".csv", ".pkl", ".pickle"}  # suffixes of files that are unpacked, besides images


# The addresses that the environment sets, by variable: file:// for local ones, "" for none.
Sources = Mapping[str, str]
VARIABLES = ("OMNIGLOT_URL", "IMAGENET_TRAIN_TAR", "MINIIMAGENET_LISTS", "MINIIMAGENET_ARCHIVE")


def read_sources(environment: Mapping[str, str]) -> Sources:
    """The Sources. Raises RefusedError for settings that make no sense."""
    sources = {name: _address(environment, name) for name in VARIABLES}
    imagenet = sources["IMAGENET_TRAIN_TAR"]
    if imagenet and sources["MINIIMAGENET_ARCHIVE"]:
        raise RefusedError("IMAGENET_TRAIN_TAR and MINIIMAGENET_ARCHIVE: set one of them")
    if imagenet and not local_path(imagenet):
        raise RefusedError(
            f"IMAGENET_TRAIN_TAR={imagenet} has to be a file or folder of this machine"
        )
    return sources


def _address(environment: Mapping[str, str], name: str) -> str:
    address = environment.get(name, "")
    if not address or re.match("https?://", address):
        return address
    if not (path := local_path(address) or Path(address)).exists():
        raise RefusedError(
            f"{name}={address} is no http, https or file address, and no file {path.resolve()}"
        )
    return path.resolve().as_uri()


def local_path(address: str) -> Path | None:
    """The path of a file address, or None for others."""
    return Path(unquote(urlsplit(address).path)) if address.startswith("file://") else None


def locate(address: str, work: Path, names: Sequence[str] = ()) -> Path:
    """The local file or folder that an address is, or what is downloaded from it into `work`.

    names: of the files to download from below the address, into the folder that comes back.
    Raises FailedError if one does not come, OSError if it cannot be written.
    """
    if path := local_path(address):
        return path
    # Apart from files of the same names from elsewhere.
    folder = work / hashlib.sha256(address.encode()).hexdigest()[:12]
    with requests.Session() as session:
        # An encoding would change lengths, and so what a byte range means.
        session.headers["Accept-Encoding"] = "identity"
        retry = urllib3.Retry(
            ATTEMPTS - 1,
            backoff_factor=BACK_OFF,
            status_forcelist=[408, 429, 500, 502, 503, 504],
            raise_on_status=False,
        )
        for scheme in ("http://", "https://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=retry))
        for name in names:
            _download(session, f"{address.rstrip('/')}/{name}", folder / name)
        if names:
            return folder
        path = folder / unquote(urlsplit(address).path).rpartition("/")[2]
        _download(session, address, path)
        return path


def _download(session: requests.Session, address: str, path: Path) -> None:
    """Download a file unless it is there. A part is continued if the server has the same file.

    urllib3 repeats requests that were not answered; answers that were cut are continued here.
    """
    part = path.with_name(f"{path.name}.part")
    tag = path.with_name(f"{path.name}.etag")  # tells the server which file the part is of
    path.parent.mkdir(parents=True, exist_ok=True)
    failures = most = 0
    if not path.exists():
        print(f"Fetching {path.name} ...", flush=True)
    while not path.exists():
        have = _size(part)
        same = tag.read_text() if have else ""
        headers = {"Range": f"bytes={have}-", "If-Range": same} if same else {}
        try:
            response = session.get(address, headers=headers, stream=True, timeout=TIMEOUT)
            if response.status_code == 416 and have:
                part.unlink()  # there is no more of it, or it is another file now
                continue
            response.raise_for_status()
        except requests.RequestException as error:
            raise _failure(path, error) from None
        try:
            _receive(response, part, tag)
            part.rename(path)
        except requests.RequestException as error:
            failures = 1 if _size(part) > most else failures + 1
            most = max(most, _size(part))
            if failures == ATTEMPTS:
                raise _failure(path, error) from None


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _receive(response: requests.Response, part: Path, tag: Path) -> None:
    """Write the body of a response to the end of a part, or as a new one."""
    is_rest = response.status_code == 206
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdigit() else None
    with (
        response,
        part.open("ab" if is_rest else "wb") as file,
        tqdm(desc=part.stem, total=total, unit="B", unit_scale=True, disable=None) as progress,
    ):
        if not is_rest:  # now that the part is empty, so that no other tag goes with it
            tag.write_text(
                response.headers.get("ETag") or response.headers.get("Last-Modified", "")
            )
        for block in response.iter_content(BLOCK):
            file.write(block)
            progress.update(len(block))


def _failure(path: Path, error: requests.RequestException) -> FailedError:
    """The first of the errors that requests and urllib3 have put into one another, for a person."""
    is_final = error.response is not None and error.response.status_code < 500
    first: BaseException | None = error
    while first:
        reason = first
        causes = (getattr(first, "reason", None), *first.args)
        first = next((cause for cause in causes if isinstance(cause, Exception)), None)
    return FailedError(f"{path.name}: {reason}{'' if is_final else ': try again later'}")


def unpack(path: Path, folder: Path) -> Path:
    """A folder itself, or `folder`, into which a zip or tar file was unpacked.

    Only images, lists and pickles are, and no links. Raises UnsoundError for a damaged archive.
    """
    if path.is_dir():
        return path
    print(f"Extracting {path.name} ...", flush=True)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for member in tqdm(archive.infolist(), unit=" files", disable=None):
                    if not member.is_dir() and is_used(PurePath(member.filename)):
                        _write(archive.open(member), folder / member.filename)
        else:
            with tarfile.open(path) as archive:
                for entry in tqdm(archive, unit=" files", disable=None):
                    used = entry.isfile() and is_used(PurePath(entry.name))
                    if used and (content := archive.extractfile(entry)):
                        _write(content, folder / entry.name)
    except Exception as error:  # The decompressors raise many kinds for damaged archives.
        if is_exhausted(error) or (isinstance(error, OSError) and error.errno):
            raise  # of the machine, not of what is in the archive
        reason = (str(error) or repr(error)).splitlines()[0].rstrip(":")  # tarfile has many lines
        raise UnsoundError(
            f"{path.name} is not a sound zip or tar archive ({reason}); unpack archives of other "
            "kinds first, and name the folder"
        ) from None
    return folder


def _write(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)


def is_used(path: PurePath) -> bool:
    """Whether a file, by its relative path, may be of use: neither hidden nor a system's own."""
    if any(part.startswith((".", "/")) or part in SYSTEMS for part in path.parts):
        return False
    return path.suffix in USED or (path.suffix != "" and is_image(path.name))


def list_files(folder: Path) -> list[Path]:
    """The files below a folder that may be of use, sorted."""
    return sorted(
        path for path in folder.rglob("*") if is_used(path.relative_to(folder)) and path.is_file()
    )
