"""What is found in a data folder, what is passed over, and what is refused."""

import os

import numpy as np
import pytest
from PIL import Image

from supervised_reptile.args import Run
from supervised_reptile.data import folders, miniimagenet, omniglot
from supervised_reptile.system.errors import RefusedError

pytestmark = pytest.mark.usefixtures("in_this_process")


def fill(folder, images=2):
    """Make a class folder with that many images."""
    folder.mkdir(parents=True)
    for number in range(images):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 9), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def characters(folder):
    return list(omniglot.find_characters(folders.root(str(folder), "omniglot")))


def photographs(folder):
    return miniimagenet.find_classes(folders.root(str(folder), "miniimagenet"))[1]


NAMES = ["Greek/alpha", "Greek/beta", "Latin/a"]


@pytest.fixture
def alphabets(tmp_path):
    for name in NAMES:
        fill(tmp_path / "d" / name)
    return tmp_path / "d"


@pytest.fixture
def splits(tmp_path):
    for name in ("train/a", "train/b", "val/c", "test/d"):
        fill(tmp_path / "d" / name)
    return tmp_path / "d"


def test_omniglot_as_unpacked_is_omniglot(alphabets, tmp_path):
    """Both archives' folders, as unzip and torchvision leave them, one level higher, too."""
    unpacked = tmp_path / "up" / "omniglot-py"
    (unpacked / "images_evaluation").mkdir(parents=True)
    (unpacked / "images_background").mkdir()
    (alphabets / "Latin").rename(unpacked / "images_background" / "Latin")
    (alphabets / "Greek").rename(unpacked / "images_evaluation" / "Greek")
    (unpacked / "images_background.zip").touch()
    assert characters(unpacked) == characters(tmp_path / "up") == NAMES


def test_one_name_in_both_archives_is_refused(tmp_path):
    for archive, names in (("images_background", "ab"), ("images_evaluation", "bc")):
        for name in names:
            fill(tmp_path / archive / "Greek" / name)
    with pytest.raises(RefusedError, match=r"evaluation/Greek/b and .*background/Greek/b are one"):
        characters(tmp_path)


@pytest.mark.parametrize("find", [characters, lambda folder: list(photographs(folder)["test"])])
def test_names_are_composed_and_sorted_so_however_a_system_writes_them(tmp_path, find):
    """A decomposed é sorts before f, a composed one after z."""
    cafe, other = "caf\u00e9", "cafz"
    for name in ("cafe\u0301", other):
        for part in ("train", "val", "test") if find is not characters else ("",):
            fill(tmp_path / "d" / part / (name if part in ("", "test") else f"{part} {name}"))
    assert find(tmp_path / "d") == [other, cafe]
    fill(next((tmp_path / "d").rglob("caf?*")).with_name(cafe))
    with pytest.raises(RefusedError, match="are one class by their names"):
        find(tmp_path / "d")


def test_a_class_without_images_is_refused_on_every_level(alphabets):
    for folder in (alphabets, alphabets / "Greek"):
        (alphabets / "Greek" / "empty").mkdir(exist_ok=True)
        with pytest.raises(RefusedError, match=r"Greek/empty holds no images"):
            omniglot.load(Run(data_dir=str(folder), train_classes=1), seed=0)


def test_one_level_of_class_folders_will_do_for_characters(alphabets):
    assert characters(alphabets / "Greek") == ["alpha", "beta"]


def test_classes_on_two_levels_are_refused(alphabets):
    fill(alphabets / "Flat")
    with pytest.raises(RefusedError, match=r"found .*d/Flat/0.png, .*d/Greek/alpha/0.png: put all"):
        characters(alphabets)


def test_a_folder_too_high_or_too_deep_is_found_or_named(alphabets, splits, tmp_path):
    assert characters(tmp_path) and photographs(tmp_path)["test"] == ["d"]
    fill(tmp_path / "other" / "data" / "group" / "class")
    with pytest.raises(RefusedError, match=f"found {tmp_path}/.*: put .* the folder above"):
        characters(tmp_path)
    with pytest.raises(RefusedError, match="or name the folder above"):
        photographs(splits / "val")
    with pytest.raises(RefusedError, match=r"alpha holds images, not folders.*the folder above"):
        characters(alphabets / "Greek" / "alpha")


def test_validation_is_val(splits):
    (splits / "val").rename(splits / "validation")
    assert photographs(splits) == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    fill(splits / "val" / "e")
    with pytest.raises(RefusedError, match="has both val/ and validation/"):
        photographs(splits)


def test_miniimagenets_own_classes_side_by_side_have_their_split(tmp_path):
    """As Kaggle has them; the names are of Ravi and Larochelle's lists."""
    split = {"train": ["n01532829", "n13133613"], "val": ["n01855672"], "test": ["n01930112"]}
    for names in split.values():
        for name in names:
            fill(tmp_path / "d" / name)
    assert photographs(tmp_path / "d") == split
    fill(tmp_path / "d" / "n00000001")
    with pytest.raises(RefusedError, match=r"expected train/, val/ and test/"):
        photographs(tmp_path / "d")


def test_advice_to_fetch_is_given_for_the_folder_that_fetching_fills_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefusedError, match=r"\./fetch_data\.sh omniglot, .* --synthetic"):
        omniglot.load(Run(data_dir="data/omniglot"), seed=0)
    (tmp_path / "mine").mkdir()
    for name, problem in (("mine", "holds no folders of images"), ("yours", "does not exist, or")):
        with pytest.raises(RefusedError, match=f"{name} {problem}.*: check the path") as refusal:
            omniglot.load(Run(data_dir=name), seed=0)
        assert "fetch" not in str(refusal.value)


@pytest.mark.parametrize("link", ["Greek/gamma", "Cyrillic", "Greek/alpha/9.png"])
def test_a_link_to_nowhere_is_refused_by_name(alphabets, link):
    os.symlink("/unmounted/somewhere", alphabets / link)
    with pytest.raises(RefusedError, match=f"{link} is a link to /unmounted/somewhere, which"):
        omniglot.load(Run(data_dir=str(alphabets), train_classes=1), seed=0)


def test_what_is_passed_over_is_counted_by_kind(alphabets):
    for name in ("Greek/alpha/a.jfif", "Greek/beta/b.jfif", "Latin/notes.txt", "README", ".x"):
        (alphabets / name).touch()
    fill(alphabets / "Latin" / "a" / "more", 3)
    Image.new("L", (5, 5)).save(alphabets / "Greek" / "cover.png")
    fill(alphabets / "__MACOSX" / "Greek")
    found, _ = omniglot.load(Run(data_dir=str(alphabets), train_classes=1), seed=0)
    assert found.passed_over == {
        ".jfif": 2,
        ".txt": 1,
        "README": 1,
        "images in folders within classes": 3,
        "images outside class folders": 1,
    }
    assert str(found) == (
        "train 1 classes, each in 4 rotations, with 2 images, test 2 classes with 4 images; "
        "passed over: 2 .jfif, 1 .txt, 1 README, 3 images in folders within classes, 1 images "
        "outside class folders"
    )
