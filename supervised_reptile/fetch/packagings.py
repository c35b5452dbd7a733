"""The packagings in which people share miniImageNet, and the images in each."""

import csv
import io
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from supervised_reptile.data.folders import IMAGENET, is_image
from supervised_reptile.data.miniimagenet import SPLITS
from supervised_reptile.fetch import pickles
from supervised_reptile.fetch.archives import Archive
from supervised_reptile.system.errors import UnsoundError
from supervised_reptile.system.output import some

PARTS = set(SPLITS.values())
PICKLE = re.compile(r"mini-imagenet-cache-(train|val|validation|test)\.pkl")
# The files of train_phase_val and train_phase_test hold other images of the training classes.
LABELLED = re.compile(r"miniImageNet_category_split_(?:(train)_phase_train|(val|test))\.pickle")
LIST = re.compile(r"(train|val|test)\.csv")
COLUMNS = (("filename", "label"), ("image_name", "class_name"))  # of lists: file, class
SHAPE = (84, 84, 3)
Picture = tuple[str, str, str, bytes]  # split ("": that of the class), class, file name, content
Indices = dict[str, list[int]]  # of the images of a pickle, by class
Files = dict[str, PurePosixPath]  # by split


def read(archive: Archive) -> tuple[str, Iterator[Picture]]:
    """The name of an Archive's packaging, and its images as (split, class, file name, bytes).

    Raises UnsoundError if it is none that is known.
    """
    for name, find, images in PACKAGINGS:
        if found := find(archive):
            return name, images(archive, found)
    there = some(list(archive.members), 3) or "nothing"
    raise UnsoundError(
        f"{archive.name} holds neither train/, val/ and test/ with class folders, nor the 100 "
        "class folders side by side, nor images with train.csv, val.csv and test.csv, nor the "
        f"pickles of all three sets; found {there}"
    )


def _find_all_three(name: re.Pattern[str], archive: Archive) -> Files | None:
    """The files of the three splits, by the split that is in their names."""
    matches = ((path, name.fullmatch(path.name)) for path in archive.members)
    found = {SPLITS[match[match.lastindex or 0]]: path for path, match in matches if match}
    return found if found.keys() == PARTS else None


def _pickled_images(
    indices_of: Callable[[dict[str, Any]], tuple[np.ndarray, Indices]],
    archive: Archive,
    found: Files,
) -> Iterator[Picture]:
    for split, path in found.items():
        with archive.open(path) as file:
            try:
                content = pickles.load(file)
                images, classes = indices_of(content if isinstance(content, dict) else {})
            except UnsoundError as error:
                raise UnsoundError(f"{path.name}: {error}") from None
        for name, indices in classes.items():
            for number, index in enumerate(indices):
                yield split, name, f"{name}_{number:03}.png", _png(images[index])


def _by_class_dict(content: dict[str, Any]) -> tuple[np.ndarray, Indices]:
    """The images and the indices by class of a pickle with image_data and class_dict."""
    images, classes = _take(content, "image_data", "class_dict")
    _check_images("image_data", images)
    if not (isinstance(classes, dict) and all(isinstance(name, str) for name in classes)):
        raise UnsoundError("class_dict is no dictionary of names")
    lists = {name: np.asarray(members).tolist() for name, members in classes.items()}
    indices = [index for members in lists.values() for index in members]
    if sorted(indices) != list(range(len(images))):
        raise UnsoundError("the indices of class_dict are not those of the images, each once")
    return images, lists


def _by_labels(content: dict[str, Any]) -> tuple[np.ndarray, Indices]:
    """The images and the indices by class of a pickle with data, labels and catname2label."""
    images, labels = _take(content, "data", "labels")
    _check_images("data", images)
    names = content.get("catname2label")
    if not isinstance(names, dict):
        raise UnsoundError("without catname2label, the names of its classes cannot be known")
    by_label = {
        label: name
        for name, label in names.items()
        if isinstance(name, str) and isinstance(label, (int, np.integer))
    }
    if len(by_label) != len(names):
        raise UnsoundError("catname2label does not give each name a label of its own")
    numbers = np.asarray(labels)
    if numbers.shape != images.shape[:1] or numbers.dtype.kind not in "iu":
        raise UnsoundError("labels is no list of one whole number for each image")
    lists: Indices = {}
    for index, label in enumerate(numbers.tolist()):
        if label not in by_label:
            raise UnsoundError(f"catname2label has no name for the label {label}")
        lists.setdefault(by_label[label], []).append(index)
    return images, lists


def _take(content: dict[str, Any], *keys: str) -> list[Any]:
    if not content.keys() >= set(keys):
        raise UnsoundError(f"no dictionary with {' and '.join(keys)}")
    return [content[key] for key in keys]


def _check_images(name: str, images: object) -> None:
    if not (isinstance(images, np.ndarray) and images.dtype == np.uint8):
        raise UnsoundError(f"{name} is no array of uint8")
    if images.shape[1:] != SHAPE:
        raise UnsoundError(f"{name} has the shape {images.shape}, not n×84×84×3")


def _png(pixels: np.ndarray) -> bytes:
    """An image without loss, for the reader takes files. Little compressed: it is much faster."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def _listed_images(archive: Archive, found: Files) -> Iterator[Picture]:
    places = {(path.parent.name, path.name): path for path in archive.members}
    wanted: dict[PurePosixPath, tuple[str, str]] = {}
    for split, path in found.items():
        missing = []
        for file, name in _rows(archive, path):
            # They lie in images/, or in a folder for each class.
            if place := places.get(("images", file)) or places.get((name, file)):
                wanted[place] = split, name
            else:
                missing.append(file)
        if missing:
            raise UnsoundError(f"{path.name} lists what images/ lacks: {some(missing)}")
    for path in archive.members:  # in stored order: a compressed archive cannot go back
        if path in wanted:
            yield (*wanted[path], path.name, archive.read(path))


def _rows(archive: Archive, path: PurePosixPath) -> list[tuple[str, str]]:
    """The file and the class in each row of a list, which may begin with a byte order mark."""
    text = archive.read(path).decode("utf-8-sig", errors="replace")
    rows = list(csv.DictReader(io.StringIO(text)))
    for file, name in COLUMNS:
        if rows and {file, name} <= rows[0].keys():
            return [(row[file], row[name]) for row in rows]
    raise UnsoundError(f"{path.name} has no rows of filename,label or class_name,image_name")


def _find_folders(archive: Archive) -> list[PurePosixPath] | None:
    found = [path for path in archive.members if _split_of(path) and is_image(path.name)]
    return found if {_split_of(path) for path in found} == PARTS else None


def _find_unsplit_folders(archive: Archive) -> list[PurePosixPath] | None:
    found = [
        path
        for path in archive.members
        if IMAGENET.fullmatch(path.parent.name) and is_image(path.name)
    ]
    return None if any(map(_split_of, found)) else found


def _split_of(path: PurePosixPath) -> str:
    """The split in whose folder an image's class folder lies, "" if it lies in none."""
    return SPLITS.get(path.parent.parent.name, "")


def _images_in_folders(archive: Archive, found: list[PurePosixPath]) -> Iterator[Picture]:
    for path in found:
        yield _split_of(path), path.parent.name, path.name, archive.read(path)


# The name, what finds it in an Archive, and what reads the images of what was found.
PACKAGINGS: tuple[tuple[str, Callable, Callable], ...] = (
    ("pickles", partial(_find_all_three, PICKLE), partial(_pickled_images, _by_class_dict)),
    (
        "pickles with labels",
        partial(_find_all_three, LABELLED),
        partial(_pickled_images, _by_labels),
    ),
    ("images/ with lists", partial(_find_all_three, LIST), _listed_images),
    ("class folders", _find_folders, _images_in_folders),
    ("class folders without a split", _find_unsplit_folders, _images_in_folders),
)
