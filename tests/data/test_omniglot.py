"""Omniglot's folders, split and rotations."""

import dataclasses
import hashlib
import pathlib
import zipfile

import numpy as np
import pytest

from supervised_reptile.args import Run
from supervised_reptile.data import image_set as image_sets
from supervised_reptile.data import omniglot
from supervised_reptile.system.errors import RefusedError

pytestmark = pytest.mark.usefixtures("in_this_process")

NAMES = [f"{alphabet}/character0{n}" for alphabet in ("Greek", "Latin") for n in (1, 2)]
ARCHIVES = pathlib.Path(__file__).parents[3] / "shared" / "data" / "omniglot"


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
    split = omniglot.draw_split(characters, 0, 1200)
    assert (len(split["train"]), len(split["test"])) == (1200, 423)
    assert split["train"][0] == "Japanese_(hiragana)/character47"
    assert split["train"][-1] == "Grantha/character18"
    assert split["test"][0] == "Malayalam/character17"
    assert digest(split) == "dcff671f2e8f2eeabdea69dd131182ee60d29dd79aa4b2f1fce4ab0017ff960b"
    other = digest(omniglot.draw_split(characters, 1, 1200))
    assert other == "3dfcf2bce87c9b5b11aacfc7a0ce04bda523ea1e937ae0beea2fdbce7026ef7e"


def test_training_classes_are_turned_counter_clockwise_and_test_classes_are_not():
    drawings = [[[1, 2], [3, 4]], [[11, 12], [13, 14]], [[21, 22], [23, 24]]]
    pixels, split = np.uint8(drawings).reshape(3, 1, 2, 2, 1), {"train": ["a", "b"], "test": ["c"]}
    unrotated = image_sets.select_generated(pixels, ["a", "b", "c"], split)
    found = omniglot.rotate_training_classes(unrotated)
    assert found.splits == {"train": range(8), "test": range(8, 9)}
    assert len(set(found.names)) == 9 and found.names[-1] == "c"
    by_name = dict(zip(found.names, found.pixels[:, :, :, 0].tolist()))
    assert by_name["a"] == [[1, 2], [3, 4]]
    assert by_name["a turned by 90"] == [[2, 4], [1, 3]]
    assert by_name["a turned by 180"] == [[4, 3], [2, 1]]
    assert by_name["b turned by 270"] == [[13, 11], [14, 12]]
    assert by_name["c"] == [[21, 22], [23, 24]]


def test_turned_classes_have_their_own_images_however_many_these_are():
    pixels, splits = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1), {"train": "ab", "test": "c"}
    counts = np.array([3, 1, 1])
    uneven = image_sets.ImageSet(pixels, ("a", "b", "c"), counts, image_sets.ranges(splits))
    found = omniglot.rotate_training_classes(uneven)
    images = [found.of_class(number).ravel().tolist() for number in range(9)]
    assert images == [[0, 1, 2], [3]] * 4 + [[4]]


@pytest.fixture
def small(tmp_path, save_image):
    """Two alphabets of two characters; three of the four are for training."""
    for place, name in enumerate(NAMES):
        for drawing in range(2):
            pixels = np.full((105, 105), 10 + 20 * place + 10 * drawing)
            save_image(tmp_path / name / f"{drawing}.png", pixels)
    return tmp_path


def run_on(folder, train_classes=3):
    return Run(data_dir=str(folder), train_classes=train_classes)


def test_folders_become_classes_with_their_split(small):
    found, split = omniglot.load(run_on(small), seed=0)
    assert sorted(split["train"] + split["test"]) == NAMES
    assert found.pixels.shape == (26, 28, 28, 1)
    for index, name in enumerate([*split["train"] * 4, *split["test"]]):
        first = 10 + 20 * NAMES.index(name)
        assert (found.of_class(index)[0] == first).all()
        assert (found.of_class(index)[1] == first + 10).all()


def test_turned_classes_are_not_counted_as_classes(small):
    found, split = omniglot.load(run_on(small), seed=0)
    assert str(found) == (
        "train 3 classes, each in 4 rotations, with 6 images, test 1 classes with 2 images"
    )
    plain, same = omniglot.load(dataclasses.replace(run_on(small), rotations=False), seed=0)
    assert str(plain) == "train 3 classes with 6 images, test 1 classes with 2 images"
    assert (same, plain.digest) == (split, found.digest)
    assert list(plain.names) == split["train"] + split["test"]


def test_other_characters_than_a_models_all_test_it_and_are_not_turned(small):
    recorded = {"train": ["Cyrillic/a", "Cyrillic/b"], "test": ["Cyrillic/c"]}
    with pytest.raises(RefusedError, match="lacks 3 classes"):
        omniglot.load(run_on(small), 0, recorded)
    found, split = omniglot.load(run_on(small), 0, recorded, other_classes=True)
    assert found.splits == {"test": range(4)} and list(found.names) == split["test"]
    assert split == {"test": NAMES}
    recorded["train"].append("Latin/character01")
    found, split = omniglot.load(run_on(small), 0, recorded, other_classes=True)
    assert split["train"] == ["Latin/character01"] and len(split["test"]) == 3
    assert found.splits == {"train": range(4), "test": range(4, 7)}


@pytest.mark.parametrize("number", [4, 5, 1200])
def test_a_split_without_test_classes_is_refused(small, number):
    message = rf"--train-classes {number}: there are only 4 characters.*choose fewer"
    with pytest.raises(RefusedError, match=message):
        omniglot.load(run_on(small, number), seed=0)


def test_generated_characters_are_split_as_drawn_ones_are():
    found, split = omniglot.load(Run(synthetic=True), seed=0)
    assert (len(split["train"]), len(split["test"])) == (1200, 423)
    assert len(found.splits["train"]) == 4800
