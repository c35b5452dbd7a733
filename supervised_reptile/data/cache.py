"""Image files of classes, and their pixels, decoded once and kept in a file that later runs map.

The file holds three arrays in NumPy's format, one after the other: the pixels, then the key of the
image files and the digest of the pixels, then the hashes_of all images. It is renamed into its
place when it is whole.
"""

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import PIL

from supervised_reptile.data import decoding
from supervised_reptile.data.decoding import Format
from supervised_reptile.data.folders import IMAGENET, SUFFIXES, Folder
from supervised_reptile.system import files, output
from supervised_reptile.system.bar import Bar
from supervised_reptile.system.errors import RefusedError, is_exhausted

FOLDER = ".cache"  # within the data folder; hidden, so that it is no class


@dataclasses.dataclass(frozen=True)
class ClassFiles:
    """The image files of a data folder.

    names: of the classes. files: the paths of each. format: as_shown unless they are the paper's,
    fetched or ImageNet's. key: changes with the files, the format, and the Pillow that decodes
    them.
    """

    names: tuple[str, ...]
    files: list[list[str]]
    format: Format
    key: str

    @property
    def counts(self) -> np.ndarray:
        """int [classes], the number of images of each."""
        return np.array([len(paths) for paths in self.files])

    def decode(self) -> np.ndarray:
        """The pixels, uint8 [images, height, width, channels], class after class.

        Raises RefusedError, naming the first few, if images cannot be read.
        """
        pixels = np.empty((self.counts.sum(), *self.format.shape), np.uint8)
        start = 0
        read = functools.partial(decoding.read_class, format=self.format)
        with (
            decoding.on_all_cores(read, self.files) as classes,
            Bar(len(self.files), 0, "classes", "Reading images") as bar,
        ):
            for done, images in enumerate(decoding.pixels_of(classes), start=1):
                pixels[start : start + len(images)] = images
                start += len(images)
                bar.advance(done)
        return pixels


# Pixels as of ClassFiles.decode, their digest_of, and their hashes_of.
Cached = tuple[np.ndarray, str, np.ndarray]


def list_files(
    folders: Mapping[str, Folder], format: Format, source: Mapping[str, str]
) -> ClassFiles:
    """The ClassFiles of class folders by name, and how to read them. source: provenance.read.

    Raises RefusedError for a class without images.
    """
    if not ("digest" in source or all(IMAGENET.fullmatch(name) for name in folders)):
        format = dataclasses.replace(format, as_shown=True)
    key, paths = hashlib.sha256(f"Pillow {PIL.__version__} {format}\n".encode()), []
    for name, folder in folders.items():
        if not folder.images:
            known = ", ".join(sorted(SUFFIXES))
            raise RefusedError(f"{folder.path} holds no images ({known}): fill it, or remove it")
        for entry in folder.images:
            status = entry.stat()
            # A copy can be given the size and time of another file, but not its own change time.
            line = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            key.update(os.fsencode(f"{name}/{entry.name} {line}\n"))
        paths.append([entry.path for entry in folder.images])
    return ClassFiles(tuple(folders), paths, format, key.hexdigest())


def digest_of(names: Iterable[str], counts: np.ndarray, pixels: np.ndarray) -> str:
    """SHA-256, in hexadecimal, of the names of classes, their counts, and their pixels.

    Classes are filled up with zeros to the largest, unless that would more than double the whole:
    the records of runs have this digest.
    """
    digest = hashlib.sha256(json.dumps([list(names), counts.tolist()]).encode())
    filled = max(counts) if max(counts) * len(counts) <= 2 * len(pixels) else 0
    for images in np.split(pixels, np.cumsum(counts)[:-1]):
        digest.update(np.ascontiguousarray(images).reshape(-1).data)
        digest.update(bytes(max(0, filled - len(images)) * images[0].nbytes))
    return digest.hexdigest()


def hashes_of(pixels: np.ndarray) -> np.ndarray:
    """uint64 [images], the same for images [images, ...] that are the same, pixel by pixel, and in
    practice for no others."""
    hashes = (hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in pixels)
    return np.frombuffer(b"".join(hashes), np.uint64)


def place_of(data_dir: str | Path, listing: ClassFiles) -> Path:
    """The path of the cache of a data folder."""
    kind = f"{listing.format.mode}-clean" if listing.format.clean else listing.format.mode
    return Path(data_dir) / FOLDER / f"{listing.format.size}-{kind}.npy"


def load(data_dir: str | Path, listing: ClassFiles) -> Cached:
    """The Cached of a data folder: mapped, or decoded and kept for the next time.

    Where it cannot be kept, standard error says so. Raises RefusedError for unreadable images.
    """
    place = place_of(data_dir, listing)
    if found := read(place, listing):
        return found
    try:
        place.parent.mkdir(exist_ok=True)
        waiting = f"Waiting for another run that writes {place}"
        with files.locked(place.with_suffix(".lock"), waiting):
            # By the run that this one waited for, or by this one.
            return read(place, listing) or _keep(place, listing)
    except OSError as error:
        if is_exhausted(error):
            raise
        output.note(
            f"Note: the decoded images cannot be kept in {place} ({error.strerror or error}): "
            "each start decodes them again"
        )
        return _decode(listing)


def _keep(place: Path, listing: ClassFiles) -> Cached:
    pixels, digest, hashes = decoded = _decode(listing)
    with files.replacing(place) as beside, open(beside, "wb") as file:
        # Not through a mapping: on a full disk that would end the process.
        np.save(file, pixels)
        np.save(file, [listing.key, digest])
        np.save(file, hashes)
    return read(place, listing) or decoded


def _decode(listing: ClassFiles) -> Cached:
    pixels = listing.decode()
    return pixels, digest_of(listing.names, listing.counts, pixels), hashes_of(pixels)


def read(place: Path, listing: ClassFiles) -> Cached | None:
    """The Cached of a file, its pixels mapped; None if it is missing, not whole, or of other
    images."""
    try:
        # "c": TensorFlow borrows only memory that may be written. A write copies the page.
        pixels = np.load(place, mmap_mode="c")
        with open(place, "rb") as file:
            file.seek(pixels.offset + pixels.nbytes)
            (key, digest), hashes = np.load(file), np.load(file)
    except (OSError, ValueError, EOFError):
        return None
    return (pixels, str(digest), hashes) if key == listing.key else None
