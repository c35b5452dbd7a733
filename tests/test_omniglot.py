"""Omniglot's folders, split and rotations."""

import hashlib
import pathlib
import zipfile

import numpy as np
import pytest
from PIL import Image

from supervised_reptile import images, omniglot
from supervised_reptile.args import Run
from supervised_reptile.errors import RefusedError

ARCHIVES = pathlib.Path(__file__).parents[2] / "shared" / "data" / "omniglot"


@pytest.fixture(scope="module")
def characters():
    """The names of all characters, from the archives."""
    if not ARCHIVES.exists():
        pytest.skip("the Omniglot archives are only in ../shared/data, which is not here")
    names = set()
    for path in ARCHIVES.glob("*.zip"):
        names |= {tuple(name.split("/")[1:3]) for name in zipfile.ZipFile(path).namelist()}
    return ["/".join(name) for name in sorted(name for name in names if len(name) == 2 and name[1])]


def digest(split):
    return hashlib.sha256("\n".join(split["train"] + split["test"]).encode()).hexdigest()


def test_the_split_is_the_authors(characters):
    assert len(characters) == 1623
    split = omniglot.draw_split(characters, 0)
    assert (len(split["train"]), len(split["test"])) == (1200, 423)
    assert split["train"][0] == "Japanese_(hiragana)/character47"
    assert split["train"][-1] == "Grantha/character18"
    assert split["test"][0] == "Malayalam/character17"
    assert digest(split) == "dcff671f2e8f2eeabdea69dd131182ee60d29dd79aa4b2f1fce4ab0017ff960b"
    other = digest(omniglot.draw_split(characters, 1))
    assert other == "3dfcf2bce87c9b5b11aacfc7a0ce04bda523ea1e937ae0beea2fdbce7026ef7e"


def test_training_classes_are_turned_counter_clockwise_and_test_classes_are_not():
    pixels = np.array([[1, 2], [3, 4]], np.uint8).reshape(1, 1, 2, 2, 1) + np.array(
        [0, 10, 20], np.uint8
    ).reshape(3, 1, 1, 1, 1)
    found = omniglot.rotate_training_classes(
        images.select(pixels, ["a", "b", "c"], {"train": ["a", "b"], "test": ["c"]})
    )
    assert found.splits == {"train": range(8), "test": range(8, 9)}
    assert len(set(found.names)) == 9 and found.names[-1] == "c"
    by_name = dict(zip(found.names, found.pixels[:, 0, :, :, 0].tolist()))
    assert by_name["a"] == [[1, 2], [3, 4]]
    assert by_name["a turned by 90"] == [[2, 4], [1, 3]]
    assert by_name["a turned by 180"] == [[4, 3], [2, 1]]
    assert by_name["b turned by 270"] == [[13, 11], [14, 12]]
    assert by_name["c"] == [[21, 22], [23, 24]]


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Two alphabets of two characters; three of the four are for training."""
    monkeypatch.setattr(omniglot, "TRAIN_CLASSES", 3)
    value = 0
    for alphabet in ("Greek", "Latin"):
        for character in ("character01", "character02"):
            folder = tmp_path / alphabet / character
            folder.mkdir(parents=True)
            for drawing in range(2):
                value += 10
                Image.fromarray(np.full((105, 105), value, np.uint8)).save(
                    folder / f"{drawing}.png"
                )
    return tmp_path


def test_folders_become_classes_with_their_split(small):
    found, split = omniglot.load(Run(data_dir=str(small)), seed=0)
    assert sorted(split["train"] + split["test"]) == [
        f"{alphabet}/character0{number}" for alphabet in ("Greek", "Latin") for number in (1, 2)
    ]
    assert found.pixels.shape == (13, 2, 28, 28, 1)
    first = {"Greek/character01": 10, "Greek/character02": 30}
    first |= {"Latin/character01": 50, "Latin/character02": 70}
    for index, name in enumerate([*split["train"] * 4, *split["test"]]):
        assert (found.pixels[index, 0] == first[name]).all()
        assert (found.pixels[index, 1] == first[name] + 10).all()


def test_a_recorded_split_is_used_whatever_the_seed(small):
    recorded = omniglot.draw_split(list(omniglot.find_characters(small)), 0)
    other = next(
        seed
        for seed in range(100)
        if omniglot.draw_split(list(omniglot.find_characters(small)), seed) != recorded
    )
    found, split = omniglot.load(Run(data_dir=str(small)), other, recorded)
    assert split == recorded
    assert found.names[found.splits["test"].start] == recorded["test"][0]


def test_too_few_characters_are_refused(small, monkeypatch):
    monkeypatch.setattr(omniglot, "TRAIN_CLASSES", 4)
    with pytest.raises(RefusedError, match=r"holds 4 characters.*fetch_data\.sh"):
        omniglot.load(Run(data_dir=str(small)), seed=0)


def test_generated_characters_are_split_as_drawn_ones_are():
    found, split = omniglot.load(Run(synthetic=True), seed=0)
    assert (len(split["train"]), len(split["test"])) == (1200, 423)
    assert len(found.splits["train"]) == 4800
