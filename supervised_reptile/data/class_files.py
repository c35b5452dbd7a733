"""The image files of classes, and how they are read."""

import contextlib
import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import PIL
from tqdm import tqdm

from supervised_reptile.data import decoding
from supervised_reptile.data.folders import SUFFIXES, Folder
from supervised_reptile.data.formats import Format
from supervised_reptile.system.errors import RefusedError

IMAGENET = re.compile(r"n\d{8}")  # a class of ImageNet


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

    @contextlib.contextmanager
    def decode(self) -> Iterator[Iterable[np.ndarray]]:
        """A context that yields the pixels of each class."""
        with decoding.read_classes(self.files, self.format) as classes:
            progress = tqdm(
                classes, "Reading images", len(self.files), unit=" classes", disable=None
            )
            yield decoding.pixels_of(progress)


def list_files(
    folders: Mapping[str, Folder], format: Format, source: Mapping[str, str]
) -> ClassFiles:
    """The ClassFiles of class folders by name, and how to read them. source: provenance.read.

    Raises RefusedError for a class without images.
    """
    if not ("digest" in source or all(IMAGENET.fullmatch(name) for name in folders)):
        format = dataclasses.replace(format, as_shown=True)
    key, files = hashlib.sha256(f"Pillow {PIL.__version__} {format}\n".encode()), []
    for name, folder in folders.items():
        if not folder.images:
            known = ", ".join(sorted(SUFFIXES))
            raise RefusedError(f"{folder.path} holds no images ({known}): fill it, or remove it")
        for entry in folder.images:
            status = entry.stat()
            # A copy can be given the size and time of another file, but not its own change time.
            line = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
            key.update(os.fsencode(f"{name}/{entry.name} {line}\n"))
        files.append([entry.path for entry in folder.images])
    return ClassFiles(tuple(folders), files, format, key.hexdigest())
