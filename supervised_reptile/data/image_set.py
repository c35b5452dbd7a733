"""Images of classes in one uint8 array, read from folders or from their cache."""

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from tqdm import tqdm

from supervised_reptile.data import cache, decoding, provenance
from supervised_reptile.data.formats import Format
from supervised_reptile.system.errors import RefusedError

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
Split = dict[str, list[str]]  # names of classes, before augmentation, by "train", "val", "test"


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """All classes of a run, those of one split side by side.

    pixels: uint8 [classes, images, height, width, channels]; a class with fewer images than
        others is padded with zeros, which are never drawn.
    names: the name of each class. counts: int [classes], its number of images.
    splits: from the name of a split ("train", "val", "test") to its range of classes.
    origin: where the images came from. digest: cache.digest_of the data folder, before any split
        or augmentation.
    """

    pixels: np.ndarray
    names: tuple[str, ...]
    counts: np.ndarray
    splits: dict[str, range]
    origin: dict[str, str] = dataclasses.field(default_factory=dict)
    digest: str = ""

    @property
    def flat_pixels(self) -> np.ndarray:
        """The pixels as uint8 [classes * images, height, width, channels]."""
        return self.pixels.reshape(-1, *self.pixels.shape[2:])

    @property
    def provenance(self) -> dict[str, Any]:
        """What a run's records say of its data."""
        return {"origin": self.origin, "digest": self.digest}


def ranges(split: Mapping[str, Sized]) -> dict[str, range]:
    """Where the classes of each split lie if they follow one another: a range by split."""
    result, start = {}, 0
    for name, members in split.items():
        result[name] = range(start, start + len(members))
        start += len(members)
    return result


@dataclasses.dataclass(frozen=True)
class ClassFiles:
    """The image files of a data folder.

    names: of the classes. files: the paths of each. key: changes with the names, sizes and times
    of the files, and with the Pillow that decodes them.
    """

    names: tuple[str, ...]
    files: list[list[str]]
    key: str

    @property
    def counts(self) -> np.ndarray:
        """int [classes], the number of images of each."""
        return np.array([len(paths) for paths in self.files])


def list_files(folders: Mapping[str, Path]) -> ClassFiles:
    """The ClassFiles of class folders by name. Raises RefusedError for one without images."""
    key, files = hashlib.sha256(f"Pillow {PIL.__version__}\n".encode()), []
    for name, folder in folders.items():
        entries = image_files(folder)
        for entry in entries:
            status = entry.stat()
            line = f"{name}/{entry.name} {status.st_size} {status.st_mtime_ns}\n"
            key.update(os.fsencode(line))
        files.append([entry.path for entry in entries])
    return ClassFiles(tuple(folders), files, key.hexdigest())


def read_folders(
    data_dir: str | Path, folders: Mapping[str, Path], split: Split, format: Format
) -> ImageSet:
    """An ImageSet of the given split.

    folders: from the name of a class to its folder, all that the data folder holds.
    Raises RefusedError naming the file or folder for an empty class or an unreadable image.
    """
    check_present(split, folders, data_dir)
    source = provenance.read(data_dir)
    listing = list_files(folders)
    size = format.size
    shape = (len(folders), int(listing.counts.max()), size, size, format.channels)

    @contextlib.contextmanager
    def decode() -> Iterator[Iterable[np.ndarray]]:
        with decoding.read_classes(listing.files, format) as arrays:
            yield tqdm(arrays, "Reading images", len(folders), unit=" classes", disable=None)

    cached = cache.load(data_dir, f"{size}-{format.mode}.pixels", listing, shape, decode)
    whole = ImageSet(cached.pixels, listing.names, listing.counts, {}, source, cached.digest)
    return select(whole, split)


def select(whole: ImageSet, split: Split) -> ImageSet:
    """The ImageSet of a split, given class names by split, of all classes that there are."""
    chosen = tuple(name for members in split.values() for name in members)
    if chosen == whole.names:  # then the pixels stay mapped
        return dataclasses.replace(whole, splits=ranges(split))
    places = {name: index for index, name in enumerate(whole.names)}
    indices = [places[name] for name in chosen]
    return dataclasses.replace(
        whole,
        pixels=whole.pixels[indices],
        names=chosen,
        counts=whole.counts[indices],
        splits=ranges(split),
    )


def select_generated(pixels: np.ndarray, names: Sequence[str], split: Split) -> ImageSet:
    """An ImageSet of the named classes of generated images, [classes, images, ...]."""
    check_present(split, names, "--synthetic")
    counts = np.full(len(names), pixels.shape[1])
    digest = cache.digest_of(names, counts, pixels)
    source = {"source": "generated (--synthetic)"}
    return select(ImageSet(pixels, tuple(names), counts, {}, source, digest), split)


def check_present(split: Split, names: Container[str], where: str | Path) -> None:
    """Raise RefusedError if classes of the split of an earlier run are missing."""
    missing = [name for members in split.values() for name in members if name not in names]
    if missing:
        raise RefusedError(
            f"{where} lacks {len(missing)} classes that the run was split into, {missing[0]} "
            "among them: give the data that the run was trained on"
        )


def check_folder(folder: str | Path, advice: str) -> str | Path:
    """Return the folder. Raises RefusedError if it is missing or holds no folders."""
    if not os.path.isdir(folder):
        problem = "does not exist"
    elif not subfolders(folder):
        problem = "holds no folders of images"
    else:
        return folder
    raise RefusedError(
        f"the data folder {folder} {problem}: {advice}, name another folder with --data-dir, "
        "or try the program with --synthetic"
    )


def subfolders(folder: str | Path) -> list[Path]:
    """The folders in a folder, sorted by name, hidden ones left out."""
    entries = (entry for entry in Path(folder).iterdir() if entry.name[0] != ".")
    return sorted((entry for entry in entries if entry.is_dir()), key=lambda entry: entry.name)


def is_image(name: str) -> bool:
    """Whether a file of that name counts as an image, everywhere in the program."""
    return name[0] != "." and os.path.splitext(name)[1].lower() in SUFFIXES


def image_files(folder: str | Path) -> "list[os.DirEntry[str]]":
    """The images of a class as os.DirEntry, sorted by name. Raises RefusedError without any."""
    entries = (entry for entry in os.scandir(folder) if is_image(entry.name))
    files = sorted(entries, key=lambda entry: entry.name)
    if not files:
        raise RefusedError(
            f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}): fill it, or remove it"
        )
    return files
