"""The content of a data folder: the images, links that lead nowhere, and files to pass over."""

import collections
import functools
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from supervised_reptile.data import provenance
from supervised_reptile.system.errors import RefusedError
from supervised_reptile.system.machine import PACKAGE

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
IMAGENET = re.compile(r"n\d{8}")  # the name of a class folder of ImageNet
SYSTEMS = {"__MACOSX", provenance.NAME}  # neither classes nor worth a word
DEPTH = 6  # levels that are looked into, since a link may lead back up


def is_image(name: str) -> bool:
    """Whether a file of that name counts as an image, everywhere in the program."""
    return name[0] != "." and os.path.splitext(name)[1].lower() in SUFFIXES


def composed(name: str) -> str:
    """A name in the form in which names are compared, NFC: in a Mac's zip files, accents are
    characters of their own."""
    return unicodedata.normalize("NFC", name)


class Folder:
    """A folder, read when it is looked into. Names that start with a dot are left out.

    path, name: of the folder; the name is composed.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = composed(self.path.name)

    @functools.cached_property
    def _entries(self) -> "list[os.DirEntry[str]]":
        """Raises RefusedError for a link to nowhere, OSError if the folder cannot be read."""
        with os.scandir(self.path) as found:
            visible = (entry for entry in found if entry.name[0] != ".")
            entries = [entry for entry in visible if entry.name not in SYSTEMS]
        for entry in entries:
            if entry.is_symlink() and not os.path.exists(entry.path):
                raise RefusedError(
                    f"{entry.path} is a link to {os.readlink(entry.path)}, which does not exist: "
                    "mend the link, or remove it"
                )
        return sorted(entries, key=lambda entry: composed(entry.name))

    @functools.cached_property
    def folders(self) -> "list[Folder]":
        """The folders in it, sorted by name."""
        return [Folder(entry.path) for entry in self._entries if entry.is_dir()]

    @functools.cached_property
    def images(self) -> "list[os.DirEntry[str]]":
        """The images in it, sorted by name."""
        return [entry for entry in self._entries if is_image(entry.name) and entry.is_file()]

    @property
    def others(self) -> list[str]:
        """The kinds of the files that are no images, one for each."""
        names = [entry.name for entry in self._entries if not entry.is_dir()]
        return [os.path.splitext(name)[1] or name for name in names if not is_image(name)]

    def example(self, levels: int = DEPTH) -> Path | None:
        """The first image in it or below; None without any."""
        if self.images:
            return Path(self.images[0].path)
        below = (folder.example(levels - 1) for folder in self.folders if levels)
        return next(filter(None, below), None)

    @property
    def has_folders_of_images(self) -> bool:
        """Whether there are images in one of the folders in it."""
        return any(folder.images for folder in self.folders)

    @property
    def depth(self) -> int | None:
        """How many folders below this one that image lies; None without any."""
        example = self.example()
        return len(example.relative_to(self.path).parts) - 1 if example else None


def fetch_command() -> str:
    """The command that fetches the data: a checkout's script, or that of an installed package."""
    script = PACKAGE.with_name("fetch_data.sh")
    return "./fetch_data.sh" if script.exists() else "fetch-reptile-data"


def root(data_dir: str, dataset: str) -> Folder:
    """The data folder of a dataset. Raises RefusedError if it is missing, or holds no folders of
    images."""
    folder = Folder(data_dir)
    if not folder.path.is_dir():
        problem = "does not exist, or is no folder"
    elif folder.images:
        problem = "holds images, not folders of them: name the folder above"
    elif not folder.depth:
        problem = "holds no folders of images"
    else:
        return folder
    own = folder.path != Path("data", dataset)
    remedy = "check the path" if own else f"get the data with {fetch_command()} {dataset}"
    raise RefusedError(
        f"the data folder {data_dir} {problem}: {remedy}, name another folder with --data-dir, or "
        "try the program with --synthetic"
    )


def inner(folder: Folder) -> Folder:
    """The folder itself, or the only one in it, if images lie more than two levels below."""
    while len(folder.folders) == 1 and (folder.depth or 0) > 2:
        (folder,) = folder.folders
    return folder


def by_name(named: Iterable[tuple[str, Folder]]) -> dict[str, Folder]:
    """From the name of each class to its folder. Raises RefusedError for two of one name."""
    found: dict[str, Folder] = {}
    for name, folder in named:
        if name in found:
            raise RefusedError(
                f"{folder.path} and {found[name].path} are one class by their names, and a class "
                "belongs to one split: rename one, or put their images in one folder"
            )
        found[name] = folder
    return found


def passed_over(root: Folder, classes: Iterable[Folder]) -> dict[str, int]:
    """How many files of each kind are in a data folder, but are no images of its classes."""
    chosen = {folder.path for folder in classes}
    found: collections.Counter[str] = collections.Counter()

    def count(folder: Folder, stray: str, levels: int) -> None:
        found.update(folder.others)
        if folder.path in chosen:
            stray = "images in folders within classes"
        elif folder.images:
            found[stray] += len(folder.images)
        for below in folder.folders if levels else ():
            count(below, stray, levels - 1)

    count(root, "images outside class folders", DEPTH)
    return dict(sorted(found.items()))
