"""Making a dataset next to its place, and checking its images: it is whole or absent."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from supervised_reptile.data import provenance
from supervised_reptile.data.decoding import on_all_cores, open_image
from supervised_reptile.data.folders import is_image
from supervised_reptile.fetch.sources import is_used
from supervised_reptile.system import files
from supervised_reptile.system.bar import Bar
from supervised_reptile.system.errors import RefusedError, UnsoundError, is_exhausted
from supervised_reptile.system.output import some

GROUP = 200  # files that a process checks at once


class Contents(NamedTuple):
    """The images of a dataset before they are where they belong.

    source: their address. packaging: how they come from there, as origin.json is to say.
    images: the path of each in the dataset, and the file that it is, or its bytes.
    """

    source: str
    packaging: str
    images: Iterable[tuple[Path, Path | bytes]]


def work_folder(target: Path) -> Path:
    """The hidden folder next to `target` in which it is made."""
    return target.with_name(f".{target.name}.partial")


def make(target: Path, read: Callable[[Path], Contents], check: Callable[[Path], str]) -> None:
    """Make a dataset: all of it, or nothing.

    read: gives its Contents, downloaded and unpacked in the folder that it is called with. That
    folder outlives a failure, unless UnsoundError says that what came is wrong.
    check: returns the digest of a folder that is the whole dataset, or raises UnsoundError.
    Raises RefusedError if another fetch is making it.
    """
    work = work_folder(target)
    work.mkdir(parents=True, exist_ok=True)
    try:
        with files.locked(work / "lock"):
            try:
                folder = work / "images"
                shutil.rmtree(folder, ignore_errors=True)
                shutil.rmtree(work / "unpacked", ignore_errors=True)
                contents = read(work)
                _fill(folder, contents, work)
                digest = check(folder)
                provenance.write(folder, contents.source, contents.packaging, digest)
            except UnsoundError:
                shutil.rmtree(work)
                raise
            os.sync()  # Or a power cut could leave the names of files without their bytes.
            folder.rename(target)
            shutil.rmtree(work, ignore_errors=True)
    except BlockingIOError:
        raise RefusedError(f"another fetch is at work in {work}: wait until it has ended") from None


def _fill(folder: Path, contents: Contents, work: Path) -> None:
    for name, content in tqdm(contents.images, unit=" images", disable=None):
        if (path := folder / name).exists():
            raise UnsoundError(f"{name} is there twice")
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif work in content.parents:  # unpacked there
            content.rename(path)
        else:
            shutil.copyfile(content, path)


def list_images(folder: Path) -> list[Path]:
    """The images of a dataset, <folder>/*/*/*, as paths relative to it, sorted by name."""
    paths = (path.relative_to(folder) for path in folder.glob("*/*/*"))
    images = (path for path in paths if is_used(path) and is_image(path.name))
    return sorted(images, key=lambda path: path.as_posix())


def check_images(folder: Path) -> str:
    """Decode all images of a dataset, and return their digest.

    Raises UnsoundError, naming the first ones that are broken.
    """
    names = list_images(folder)
    groups = [
        [folder / name for name in names[start : start + GROUP]]
        for start in range(0, len(names), GROUP)
    ]
    results: list[tuple[str, str]] = []
    with (
        on_all_cores(_inspect, groups) as found,
        Bar(len(names), 0, "images", "Checking") as progress,
    ):
        for group in found:
            results += group
            progress.advance(len(results))
    if broken := [f"{name} ({problem})" for name, (_, problem) in zip(names, results) if problem]:
        raise UnsoundError(f"{len(broken)} images cannot be decoded: {some(broken)}")
    return digest_of((str(name), digest) for name, (digest, _) in zip(names, results))


def digest_of(digests: Iterable[tuple[str, str]]) -> str:
    """The SHA-256 of what `sha256sum` prints of all files. digests: names, sorted, and SHA-256."""
    lines = (f"{digest}  {name}\n" for name, digest in digests)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _inspect(paths: list[Path]) -> list[tuple[str, str]]:
    """The SHA-256 of each file, and why it cannot be decoded, "" if it can."""
    results = []
    for path in paths:
        content, problem = path.read_bytes(), ""
        try:
            with open_image(content) as image:
                image.load()
        except Exception as error:  # Pillow raises many kinds for damaged files.
            if is_exhausted(error):
                raise
            problem = str(error).replace("<_io.BytesIO object at ", "<").splitlines()[0]
        results.append((hashlib.sha256(content).hexdigest(), problem if content else "empty"))
    return results
