"""The packagings in which people share miniImageNet, and the images in each."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from supervised_reptile.data.folders import is_image
from supervised_reptile.fetch import checks, pickles
from supervised_reptile.fetch.archives import Archive
from supervised_reptile.system.errors import UnsoundError

SPLITS = ("train", "val", "test")
PICKLE = re.compile(r"mini-imagenet-cache-(train|val|validation|test)\.pkl")
SHAPE = (84, 84, 3)
Picture = tuple[str, str, str, bytes]  # split, class, file name, content


def read(archive: Archive) -> tuple[str, Iterator[Picture]]:
    """The name of an Archive's packaging, and its images as (split, class, file name, bytes).

    Raises UnsoundError if it is none that is known.
    """
    for name, find, images in PACKAGINGS:
        if found := find(archive):
            return name, images(archive, found)
    raise UnsoundError(
        f"{archive.name} holds neither train/, val/ and test/ with class folders, nor images/ with "
        "train.csv, val.csv and test.csv, nor the pickles mini-imagenet-cache-*.pkl of all three"
    )


def _find_pickles(archive: Archive) -> dict[str, PurePosixPath] | None:
    matches = {path: PICKLE.fullmatch(path.name) for path in archive.members}
    found = {match[1].replace("validation", "val"): p for p, match in matches.items() if match}
    return found if set(found) == set(SPLITS) else None


def _pickled_images(archive: Archive, found: dict[str, PurePosixPath]) -> Iterator[Picture]:
    for split, path in found.items():
        with archive.open(path) as file:
            try:
                images, classes = _check_content(pickles.load(file))
            except UnsoundError as error:
                raise UnsoundError(f"{path.name}: {error}") from None
        for name, indices in classes.items():
            for number, index in enumerate(indices):
                yield split, name, f"{name}_{number:03}.png", _png(images[index])


def _check_content(content: object) -> tuple[np.ndarray, dict[str, Any]]:
    """The images and the indices by class of one pickle."""
    if not isinstance(content, dict) or not {"image_data", "class_dict"} <= content.keys():
        raise UnsoundError("no dictionary with image_data and class_dict")
    images, classes = content["image_data"], content["class_dict"]
    if not (isinstance(images, np.ndarray) and images.dtype == np.uint8):
        raise UnsoundError("image_data is no array of uint8")
    if images.shape[1:] != SHAPE:
        raise UnsoundError(f"image_data has the shape {images.shape}, not n×84×84×3")
    if not (isinstance(classes, dict) and all(isinstance(name, str) for name in classes)):
        raise UnsoundError("class_dict is no dictionary of names")
    indices = [index for members in classes.values() for index in np.asarray(members).tolist()]
    if sorted(indices) != list(range(len(images))):
        raise UnsoundError("the indices of class_dict are not those of the images, each once")
    return images, classes


def _png(pixels: np.ndarray) -> bytes:
    """An image without loss, for the reader takes files. Little compressed: it is much faster."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _find_lists(archive: Archive) -> dict[str, PurePosixPath] | None:
    found = {path.stem: path for path in archive.members if path.name in LISTS}
    return found if set(found) == set(SPLITS) else None


LISTS = {f"{split}.csv" for split in SPLITS}


def _listed_images(archive: Archive, found: dict[str, PurePosixPath]) -> Iterator[Picture]:
    paths = {path.name: path for path in archive.members if path.parent.name == "images"}
    wanted: dict[PurePosixPath, tuple[str, str]] = {}
    for split, path in found.items():
        rows = list(csv.DictReader(io.StringIO(archive.read(path).decode(errors="replace"))))
        if not rows or not {"filename", "label"} <= rows[0].keys():
            raise UnsoundError(f"{path.name} has no rows of filename,label")
        missing = [row["filename"] for row in rows if row["filename"] not in paths]
        if missing:
            raise UnsoundError(f"{path.name} lists what images/ lacks: {checks.some(missing)}")
        wanted |= {paths[row["filename"]]: (split, row["label"]) for row in rows}
    for path in archive.members:  # in stored order: a compressed archive cannot go back
        if path in wanted:
            yield (*wanted[path], path.name, archive.read(path))


def _find_folders(archive: Archive) -> list[PurePosixPath] | None:
    found = [
        path
        for path in archive.members
        if len(path.parts) > 2 and path.parts[-3] in SPLITS and is_image(path.name)
    ]
    return found if {path.parts[-3] for path in found} == set(SPLITS) else None


def _images_in_folders(archive: Archive, found: list[PurePosixPath]) -> Iterator[Picture]:
    for path in found:
        split, name, file = path.parts[-3:]
        yield split, name, file, archive.read(path)


PACKAGINGS: tuple[tuple[str, Callable, Callable], ...] = (
    ("pickles", _find_pickles, _pickled_images),
    ("images/ with lists", _find_lists, _listed_images),
    ("class folders", _find_folders, _images_in_folders),
)
