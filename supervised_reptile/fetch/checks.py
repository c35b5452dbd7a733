"""Whether a dataset's files are whole, and the digest of them all."""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from supervised_reptile.data.decoding import on_all_cores
from supervised_reptile.data.folders import is_image
from supervised_reptile.fetch.archives import is_hidden
from supervised_reptile.system.errors import UnsoundError
from supervised_reptile.system.output import some

GROUP = 200  # files that a process checks at once


def list_images(folder: Path) -> list[Path]:
    """The images of a dataset, <folder>/*/*/*, as paths relative to it, sorted by name."""
    paths = (path.relative_to(folder) for path in folder.glob("*/*/*"))
    return sorted(
        (path for path in paths if is_image(path.name) and not is_hidden(path)),
        key=lambda path: path.as_posix(),
    )


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
        tqdm(desc="Checking", total=len(names), unit=" images", disable=None) as progress,
    ):
        for group in found:
            results += group
            progress.update(len(group))
    broken = [f"{name} ({problem})" for name, (_, problem) in zip(names, results) if problem]
    if broken:
        raise UnsoundError(f"{len(broken)} images cannot be decoded: {some(broken)}")
    return digest_of(names, [digest for digest, _ in results])


def digest_of(names: Iterable[object], digests: Iterable[str]) -> str:
    """The SHA-256 of what `sha256sum` prints of all files, sorted by name."""
    lines = (f"{digest}  {name}\n" for name, digest in zip(names, digests))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def digest_of_files(folder: Path) -> str:
    """The digest of a dataset's images, without decoding them."""
    names = list_images(folder)
    progress = tqdm(names, "Computing the digest", unit=" images", disable=None)
    return digest_of(names, [file_digest(folder / name, "sha256") for name in progress])


def file_digest(path: Path, algorithm: str) -> str:
    """A digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.new(algorithm)
        while block := file.read(1 << 20):
            digest.update(block)
        return digest.hexdigest()


def problem_of(content: bytes) -> str:
    """What is wrong with the bytes of an image, "" if nothing is."""
    if not content:
        return "empty"
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except Exception as error:  # Pillow raises many kinds for damaged files.
        return str(error).replace("<_io.BytesIO object at ", "<").splitlines()[0]
    return ""


def _inspect(paths: list[Path]) -> list[tuple[str, str]]:
    """The SHA-256 and the problem of each file."""
    contents = (path.read_bytes() for path in paths)
    return [(hashlib.sha256(content).hexdigest(), problem_of(content)) for content in contents]
