"""Fetches and unpacks Omniglot; `fetch_data.sh` runs it."""

import argparse
import contextlib
import fcntl
import os
import shutil
import stat
import sys
import tempfile
import zipfile
import zlib
from collections import Counter
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.request import urlopen

from supervised_reptile import signals
from supervised_reptile.errors import FailedError

try:
    from tqdm import tqdm
except ImportError:
    sys.exit("fetch_data.sh needs the Python package tqdm: run 'make venv' first.")

OMNIGLOT_URL = "https://github.com/brendenlake/omniglot/raw/master/python"
ARCHIVES = ("images_background", "images_evaluation")
ALPHABETS, CHARACTERS, DRAWINGS = 50, 1623, 20  # in both archives together; drawings per character
TARGET = Path("data/omniglot")
WORK_PREFIX = ".omniglot-"
TIMEOUT = 60  # seconds without a byte
BLOCK = 65536  # bytes


def fetch_omniglot(base, target):
    """Fetch both archives from the address `base` and unpack them into the folder `target`.

    `target` appears only once it is complete, and one that holds anything is left as it is.
    Raises FailedError where the archives are at fault, OSError where the disk is.
    """
    if target.exists() and any(target.iterdir()):
        print(f"{target} is there already. To fetch it again, delete it first.")
        return
    with work_folder(target.parent) as work:
        images = work / "images"
        for name in ARCHIVES:
            archive = work / f"{name}.zip"
            print(f"Fetching omniglot/{name} ...", flush=True)
            download(f"{base}/{archive.name}", archive)
            print(f"Extracting omniglot/{name} ...", flush=True)
            extract(archive, images)
        check_complete(images)
        images.rename(target)


@contextlib.contextmanager
def work_folder(parent):
    """Yield a new folder in `parent`, removed at the end; remove those of killed fetches first.

    Raises BlockingIOError if another fetch is at work in `parent`.
    """
    parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(parent, os.O_RDONLY)
    try:
        # The system drops this lock however a fetch ends, so whoever holds it is the only one.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for abandoned in parent.glob(f"{WORK_PREFIX}*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=parent) as folder:
            yield Path(folder)
    except BlockingIOError as error:
        raise BlockingIOError(error.errno, "another fetch is at work there") from None
    finally:
        os.close(lock)


def download(url, path):
    """Write what is at `url` to `path`. Raises FailedError, or OSError if it cannot be written."""
    with path.open("wb") as file:
        file.writelines(read_blocks(url))


def read_blocks(url):
    """Yield the bytes at `url` in blocks, showing progress. Raises FailedError unless all come."""
    name = url.rpartition("/")[2]
    received = 0
    try:
        with urlopen(url, timeout=TIMEOUT) as response:
            length = response.headers.get("Content-Length")
            total = None if length is None else int(length)
            with tqdm(total=total, unit="B", unit_scale=True, disable=None) as progress:
                while block := response.read(BLOCK):
                    yield block
                    received += len(block)
                    progress.update(len(block))
    except (OSError, HTTPException, ValueError) as error:
        raise FailedError(f"{name}: {error}") from error
    if total is not None and received != total:
        raise FailedError(f"{name}: the connection ended after {received} of {total} bytes")


def extract(archive, folder):
    """Write the drawings in `archive` to `folder`. Raises FailedError, or OSError if it cannot."""
    for path, png in read_drawings(archive):
        drawing = folder / path
        drawing.parent.mkdir(parents=True, exist_ok=True)
        drawing.write_bytes(png)


def read_drawings(archive):
    """Yield path (<Alphabet>/characterNN/*.png) and bytes of each drawing in `archive`.

    Anything else in it is passed over. Raises FailedError if it is damaged or unsafe to unpack.
    """
    try:
        with zipfile.ZipFile(archive) as members:
            for member in tqdm(members.infolist(), unit=" files", disable=None):
                if escapes(member):
                    raise FailedError(f"{archive.name}: unsafe path or link {member.filename!r}")
                path = PurePosixPath(member.filename)
                if path.match(f"{archive.stem}/*/*/*.png") and len(path.parts) == 4:
                    yield Path(*path.parts[1:]), members.read(member)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
        raise FailedError(f"{archive.name}: not a sound zip file ({error})") from error


def escapes(member):
    """Return whether the zip member `member` could be written outside the folder meant for it."""
    path = PurePosixPath(member.filename)
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    return is_link or path.is_absolute() or ".." in path.parts or "\\" in member.filename


def check_complete(folder):
    """Raise FailedError, naming what is missing, unless `folder` holds the whole of Omniglot."""
    drawings = Counter(path.parent for path in folder.glob("*/*/*.png"))
    alphabets = {character.parent for character in drawings}
    if (len(alphabets), len(drawings)) != (ALPHABETS, CHARACTERS):
        raise FailedError(
            f"the archives hold {len(alphabets)} alphabets with {len(drawings)} characters "
            f"instead of {ALPHABETS} with {CHARACTERS}"
        )
    uneven = sorted(character for character, number in drawings.items() if number != DRAWINGS)
    if uneven:
        some = ", ".join(f"{path.relative_to(folder)} ({drawings[path]})" for path in uneven[:5])
        raise FailedError(f"not {DRAWINGS} drawings each: {some}")


def read_command_line():
    """Return the address to fetch from; exit where the command line or OMNIGLOT_URL is wrong."""
    parser = argparse.ArgumentParser(
        prog="fetch_data.sh",
        description=f"Fetch Omniglot into {TARGET}.",
        epilog="The environment variable OMNIGLOT_URL says where from instead of GitHub: an http, "
        f"https or file address, or a folder, that holds {' and '.join(ARCHIVES)} (.zip).",
    )
    parser.add_argument("dataset", nargs="?", choices=["omniglot"], help="what to fetch")
    parser.parse_args()
    source = os.environ.get("OMNIGLOT_URL") or OMNIGLOT_URL
    if Path(source).is_dir():
        return Path(source).resolve().as_uri()
    if not source.startswith(("http://", "https://", "file://")):
        parser.error(f"OMNIGLOT_URL={source} is no http, https or file address, and no folder")
    return source.rstrip("/")


def main():
    """Fetch what the command line asks for; exit with a one-line message where that fails."""
    base = read_command_line()
    signals.raise_interrupted()
    try:
        fetch_omniglot(base, TARGET)
    except FailedError as error:
        remedy = "Try again, or set OMNIGLOT_URL to another address or folder with both zip files."
        sys.exit(f"Cannot fetch Omniglot from {base}: {error}. {remedy}")
    except OSError as error:
        sys.exit(f"Cannot write {TARGET}: {error.strerror or error}.")
    except signals.Interrupted as interruption:
        print(f"fetch_data.sh: {interruption}", file=sys.stderr)
        sys.exit(128 + interruption.number)


if __name__ == "__main__":
    main()
