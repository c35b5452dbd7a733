"""The images to learn from and the images to classify, as people have them in folders."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from supervised_reptile.data import decoding
from supervised_reptile.data.cleaning import oddities
from supervised_reptile.data.folders import Folder, is_image
from supervised_reptile.data.formats import CHARACTERS, Format
from supervised_reptile.system.errors import RefusedError
from supervised_reptile.system.output import some


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


def find(labelled: str | Mapping[str, Sequence[str]], unlabelled: str | Sequence[str]) -> Examples:
    """The Examples in a folder of class folders, and in a folder of images, of class folders whose
    names are the truth, or in a single image. Image files are taken as they are: those of each
    class, and those to classify.

    Raises RefusedError for what holds no images, or for a truth that is no class.
    """
    support = _classes(labelled) if isinstance(labelled, str) else labelled
    if not isinstance(unlabelled, str):
        return Examples(support, unlabelled)
    if not support:
        raise RefusedError(f"--classify {labelled} holds no folders of images: one for each class")
    path = Path(unlabelled)
    if path.is_file() and is_image(path.name):
        return Examples(support, [unlabelled])
    if not path.is_dir():
        raise RefusedError(f"--classify {unlabelled} is neither an image nor a folder of images")
    folder = Folder(path)
    if files := [entry.path for entry in folder.images]:
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
    classes = {part.name: [entry.path for entry in part.images] for part in parts}
    empty = [part for part in parts if not part.images]
    if empty and len(empty) < len(parts):
        raise RefusedError(
            f"--classify: the class folder {empty[0].path} holds no images: fill it, "
            "convert what is there, or remove it"
        )
    return {name: files for name, files in classes.items() if files}


def read(examples: Examples, format: Format) -> tuple[np.ndarray, np.ndarray]:
    """The pixels of the support images and of the queries, as a viewer shows them.

    Raises RefusedError, naming them, if images cannot be read.
    """
    support = [file for files in examples.support.values() for file in files]
    shown = dataclasses.replace(format, as_shown=True)
    files = [*support, *examples.queries]
    found = decoding.read_class(files, shown)
    (pixels,) = decoding.pixels_of([found])
    if format == CHARACTERS:
        for kind, odd in oddities(pixels).items():
            if odd.any():
                named = some([file for file, is_odd in zip(files, odd) if is_odd])
                print(f"Warning: {kind}, unlike Omniglot: {named} (try --clean)", file=sys.stderr)
    return pixels[: len(support)], pixels[len(support) :]
