"""miniImageNet as its authors got it: byte ranges of the training archive of ImageNet, or the files
in it."""

import concurrent.futures
import functools
import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from supervised_reptile.data.folders import DEPTH, IMAGENET
from supervised_reptile.data.provenance import ORIGINAL
from supervised_reptile.fetch import archives, checks, download
from supervised_reptile.fetch.download import Client
from supervised_reptile.system.errors import FailedError, UnsoundError
from supervised_reptile.system.output import some

# The authors' lists: the file names of each class's images, and where they lie in the archive.
LISTS = (
    "https://raw.githubusercontent.com/openai/supervised-reptile/"
    "8f2b71c67a31c1a605ced0cecb76db876b607a7a/metadata/miniimagenet"
)
LISTS_DIGEST = (
    "0bbe89eed766bc1e1cf9158f475ad2ab4db7e3436ee80d3ce0b818faafa23cf3"  # checks.digest_of
)
LINE = re.compile(r"^(n\d{8}_\d+\.JPEG),(\d+)-(\d+)\r?$", re.M)
Line = tuple[str, int, int]  # name, first byte, last byte
Lists = dict[tuple[str, str], list[Line]]  # by split and class
Reader = Callable[[str, Line], bytes]  # of the image of a class


class IncompleteError(FailedError):
    """An unpacked ImageNet lacks images of the lists. What has come before is not at fault."""


def fetch(client: Client, archive: str, lists: Lists, work: Path, folder: Path) -> str:
    """Fetch the images into <folder>/<split>/<class>/, resuming where a killed fetch stopped.

    archive: the address of ILSVRC2012_img_train.tar, or of a local folder into which it was
    unpacked. work: where a file is until it is whole. Returns what the archive was.
    """
    packaging = f"{ORIGINAL}.tar"
    read: Reader = functools.partial(_read_range, client, archive)
    root = download.local_path(archive)
    if root and root.is_dir():
        packaging, read = f"{ORIGINAL}, unpacked", _reader_of_folder(root, lists)
    ranges = [line for lines in lists.values() for line in lines]
    total = sum(last - first + 1 for _, first, last in ranges)
    threads = concurrent.futures.ThreadPoolExecutor(download.CONNECTIONS)
    get = functools.partial(_fetch_image, read, work)
    try:
        with tqdm(total=total, unit="B", unit_scale=True, disable=None) as progress:
            for (split, name), lines in lists.items():
                with tqdm.external_write_mode(sys.stdout):
                    print(f"Fetching wnid: {name}", flush=True)
                (folder / split / name).mkdir(parents=True, exist_ok=True)
                for size in threads.map(functools.partial(get, folder / split / name), lines):
                    progress.update(size)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
    return packaging


def _fetch_image(read: Reader, work: Path, folder: Path, line: Line) -> int:
    """Fetch one image unless it is there, and return its size in bytes."""
    name, first, last = line
    path, size = folder / name, last - first + 1
    if not (path.exists() and path.stat().st_size == size):
        part = work / f"{name}.part"
        part.write_bytes(read(folder.name, line))
        part.rename(path)
    return size


def _read_range(client: Client, archive: str, _: str, line: Line) -> bytes:
    """One image from the archive, of whatever class."""
    name, first, last = line
    content = client.get_range(archive, first, last)
    if problem := checks.problem_of(content):
        raise FailedError(
            f"bytes {first}-{last} are not the image {name} ({problem}): it is not "
            "ILSVRC2012_img_train.tar"
        )
    return content


def _reader_of_folder(root: Path, lists: Lists) -> Reader:
    """What reads images below a folder. Raises IncompleteError unless all of the lists are there,
    each with as many bytes as in the archive."""
    training = _training_folder(root, lists)
    wrong = []
    for (_, name), lines in lists.items():
        for file, first, last in lines:
            path = training / name / file
            size = path.stat().st_size if path.is_file() else None
            if size != last - first + 1:
                found = "missing" if size is None else f"{size} bytes, not {last - first + 1}"
                wrong.append(f"{name}/{file} ({found})")
    if wrong:
        raise IncompleteError(f"{training} lacks images of the authors: {some(wrong)}")

    def read(name: str, line: Line) -> bytes:
        path = training / name / line[0]
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FailedError(f"{path}: {error.strerror}") from None
        if problem := checks.problem_of(content):
            raise FailedError(f"{path} cannot be decoded ({problem})")
        return content

    return read


def _training_folder(root: Path, lists: Lists) -> Path:
    """The folder with the class folders, which may lie some levels below the one that was named.

    That of the validation images may have class folders, too, but other images in them.
    """
    examples = [Path(name, lines[0][0]) for (_, name), lines in lists.items()]
    level = [root]
    for _ in range(DEPTH):
        for folder in level:
            if any((folder / example).is_file() for example in examples):
                return folder
        below = (path for folder in level for path in sorted(folder.iterdir()))
        level = [path for path in below if path.is_dir() and not IMAGENET.fullmatch(path.name)]
    found = some(sorted(path.name for path in root.iterdir())) or "nothing"
    raise IncompleteError(
        f"{root} is no unpacked ILSVRC2012_img_train.tar: it has none of the authors' images, such "
        f"as {examples[0]}; found {found}"
    )


def fetch_lists(client: Client, where: str, classes: Mapping[str, Iterable[str]]) -> Lists:
    """The authors' lists, as `fetch` takes them.

    where: an address below which they are, or of a local folder or tar file that holds them.
    classes: names by split. Raises FailedError if they are not the authors'.
    """
    names = [f"{split}/{name}.csv" for split, members in classes.items() for name in members]
    contents = _read_local(where, names) or _download(client, where, names)
    digests = {n: hashlib.sha256(c).hexdigest() for n, c in zip(names, contents)}
    if checks.digest_of(sorted(digests), [digests[n] for n in sorted(digests)]) != LISTS_DIGEST:
        raise FailedError(f"the lists in {where} are not those of the authors")
    lists: Lists = {}
    for name, content in zip(names, contents):
        split, _, file = name.partition("/")
        lines = LINE.findall(content.decode())
        lists[split, file[:-4]] = [(image, int(first), int(last)) for image, first, last in lines]
    return lists


def _read_local(where: str, names: Sequence[str]) -> list[bytes] | None:
    """The contents of the lists in a local folder or tar file, or None for another address."""
    if not (path := download.local_path(where)):
        return None
    try:
        with archives.open_archive(path) as archive:
            found = {"/".join(member.parts[-2:]): member for member in archive.members}
            missing = [name for name in names if name not in found]
            if missing:
                raise FailedError(f"{path} lacks the lists {some(missing)}")
            return [archive.read(found[name]) for name in names]
    except UnsoundError as error:
        raise FailedError(str(error)) from None  # the images that have come are not at fault


def _download(client: Client, where: str, names: Sequence[str]) -> list[bytes]:
    addresses = [f"{where}/{name}" for name in names]
    with concurrent.futures.ThreadPoolExecutor(download.CONNECTIONS) as threads:
        contents = threads.map(client.get, addresses)
        return list(tqdm(contents, "Lists", len(names), unit=" files", disable=None))
