"""Small data folders, and reading them."""

import numpy as np
import pytest

from supervised_reptile.data import decoding, image_set
from supervised_reptile.data.decoding import Format
from supervised_reptile.data.folders import Folder

SPLIT = {"train": ["c0", "c1"], "test": ["c2"]}


@pytest.fixture
def in_this_process(monkeypatch):
    """Without further processes, which take longer to start than a few images to read."""

    def refuse(*arguments, **options):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(decoding.concurrent.futures, "ProcessPoolExecutor", refuse)


@pytest.fixture
def folder(tmp_path, save_image):
    """Classes of 3, 1 and 2 images; the pixels of an image say which it is."""
    for index, names in enumerate((("0.png", "1.PNG", "2.png"), ("0.png",), ("0.png", "1.PNG"))):
        for number, name in enumerate(names):
            path = tmp_path / "data" / f"c{index}" / name
            save_image(path, np.full((4, 4), 10 * index + number))
    save_image(tmp_path / "data" / "c0" / ".hidden.png", np.zeros((4, 4)))
    (tmp_path / "data" / "c1" / "notes.txt").write_text("not an image")
    return tmp_path / "data"


@pytest.fixture
def read(folder):
    """A function that reads these classes, or those of another split."""

    def images(split=SPLIT):
        classes = {found.name: found for found in Folder(folder).folders}
        return image_set.read_folders(Folder(folder), classes, split, Format(4, "L"))

    return images
