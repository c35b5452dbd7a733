"""The images to learn from and the images to classify, as people have them in folders."""

import dataclasses
import os
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from supervised_reptile.data import cache, decoding
from supervised_reptile.data.cleaning import oddities
from supervised_reptile.data.decoding import CHARACTERS, Format
from supervised_reptile.data.folders import Folder, by_name, is_image
from supervised_reptile.system.errors import RefusedError
from supervised_reptile.system.output import note, some

Place = str | os.PathLike
Images = np.ndarray | Sequence[np.ndarray] | Sequence[decoding.Source]


@dataclasses.dataclass(frozen=True)
class Examples:
    """support: from the name of a class to its image files. queries: the files to classify.
    truth: the class of each, where it is known."""

    support: Mapping[str, Sequence[str]]
    queries: Sequence[str]
    truth: Sequence[str] | None = None

    @property
    def labels(self) -> np.ndarray:
        """int [support images], the number of the class of each."""
        counts = [len(files) for files in self.support.values()]
        return np.repeat(np.arange(len(counts)), counts)


def find(
    labelled: Place | Mapping[str, Sequence[str]], unlabelled: Place | Sequence[str]
) -> Examples:
    """The Examples in a folder of class folders, and in a folder of images, of class folders whose
    names are the truth, or in a single image. Image files are taken as they are: those of each
    class, and those to classify.

    Raises RefusedError for what holds no images, a class without any, or a truth that is no class.
    """
    support = labelled if isinstance(labelled, Mapping) else _classes(os.fspath(labelled))
    for name, files in support.items():
        if isinstance(files, Place) or not len(files):
            raise RefusedError(f"the class {name}: give a list of one path or more, not {files!r}")
    if not isinstance(unlabelled, Place):
        return Examples(support, unlabelled)
    unlabelled = os.fspath(unlabelled)
    if not support:
        raise RefusedError(f"--classify {labelled} holds no folders of images: one for each class")
    path = Path(unlabelled)
    if path.is_file() and is_image(path.name):
        return Examples(support, [unlabelled])
    if not path.is_dir():
        raise RefusedError(f"--classify {unlabelled} is neither an image nor a folder of images")
    folder = Folder(path)
    if files := [entry.path for entry in folder.images]:
        _say_others([folder])
        if folder.has_folders_of_images:
            raise RefusedError(
                f"--classify {unlabelled} holds images, and folders of images: keep one kind there"
            )
        return Examples(support, files)
    known = _classes(unlabelled)
    if not known:
        raise RefusedError(f"--classify {unlabelled} holds no images")
    if strangers := known.keys() - support.keys():
        raise RefusedError(
            f"--classify {unlabelled} has the class {min(strangers)}, which is none of the "
            "labelled: name its folders as those, or put all images side by side"
        )
    truth = [name for name, files in known.items() for _ in files]
    return Examples(support, [file for files in known.values() for file in files], truth)


def _classes(folder: str) -> dict[str, list[str]]:
    if not Path(folder).is_dir():
        raise RefusedError(f"--classify {folder} is no folder: check the path")
    parts = Folder(folder).folders
    named = by_name((part.name, part) for part in parts)
    classes = {name: [entry.path for entry in part.images] for name, part in named.items()}
    _say_others([Folder(folder), *parts])
    empty = [part for part in parts if not part.images]
    if empty and len(empty) < len(parts):
        raise RefusedError(
            f"--classify: the class folder {empty[0].path} holds no images: fill it, "
            "convert what is there, or remove it"
        )
    return {name: files for name, files in classes.items() if files}


def _say_others(parts: Sequence[Folder]) -> None:
    """Say which kinds of files count as no images; the first folder is named."""
    if others := sorted({kind for part in parts for kind in part.others}):
        note(f"Warning: --classify {parts[0].path}: files are passed over: {some(others)}")


def pixels_of(images: Images, format: Format) -> np.ndarray:
    """uint8 [images, *format.shape] of paths and Pillow images, as a viewer shows them, or of
    arrays like that; a single channel may be omitted.

    Raises RefusedError for what is none of these, or cannot be read.
    """
    if not isinstance(images, Sequence | np.ndarray) or isinstance(images, str) or not len(images):
        raise RefusedError("images: give a list of one image or more, or an array of them")
    if not isinstance(images[0], np.ndarray):
        shown = dataclasses.replace(format, as_shown=True)
        sources = typing.cast(Sequence[decoding.Source], images)
        (pixels,) = decoding.pixels_of([decoding.read_class(sources, shown)])
        return pixels
    try:
        array = np.asarray(images)
    except ValueError:
        raise RefusedError("images: the arrays differ in shape: make them alike") from None
    pixels = array[..., None] if array.ndim == 3 else array
    if pixels.dtype != np.uint8 or pixels.shape[1:] != format.shape:
        raise RefusedError(
            f"images: {array.dtype} of shape {array.shape}, but the network sees uint8 of shape "
            f"(images, {', '.join(map(str, format.shape))}): convert them, or give Pillow images"
        )
    return pixels


def read(examples: Examples, format: Format) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of the support images and of the queries, as a viewer shows them.

    Raises RefusedError, naming them, if images cannot be read.
    """
    support = [file for files in examples.support.values() for file in files]
    files = [*support, *examples.queries]
    pixels = pixels_of(files, format)
    for kind, odd in oddities(pixels).items() if format == CHARACTERS else ():
        if odd.any():
            named = some([file for file, is_odd in zip(files, odd) if is_odd])
            advice = "" if kind == "blank" else " (try --clean)"  # which refuses blank ones
            note(f"Warning: {kind}, unlike Omniglot: {named}{advice}")
    shown, asked = pixels[: len(support)], pixels[len(support) :]
    known, labels = cache.hashes_of(shown), examples.labels
    _, first, same = np.unique(known, return_index=True, return_inverse=True)
    if doubtful := [support[index] for index in np.flatnonzero(labels[first[same]] != labels)]:
        note(f"Warning: examples look the same as one of another class: {some(doubtful)}")
    again = np.isin(cache.hashes_of(asked), known)
    if repeated := [file for file, is_again in zip(examples.queries, again) if is_again]:
        note(
            f"Warning: {len(repeated)} of {len(asked)} images to classify look the same as an "
            f"example, so that their answers say nothing about new images: {some(repeated)}"
        )
    return shown, asked
