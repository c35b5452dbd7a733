"""miniImageNet's folders."""

import numpy as np
import pytest

from supervised_reptile.args import Run
from supervised_reptile.data import miniimagenet
from supervised_reptile.data.folders import Folder
from supervised_reptile.system.errors import RefusedError

pytestmark = pytest.mark.usefixtures("in_this_process")


@pytest.fixture
def folder(tmp_path, save_image):
    """One class of two images for validation and for testing, two for training."""
    for place in ("train/n01", "train/n02", "val/n03", "test/n04"):
        for number in range(2):
            pixels = np.full((90, 120, 3), int(place[-1]) * 10 + number)
            save_image(tmp_path / place / f"{number}.JPEG", pixels)
    return tmp_path


def test_folders_become_classes(folder):
    found, split = miniimagenet.load(Run(data_dir=str(folder)), seed=0)
    assert split == {"train": ["n01", "n02"], "val": ["n03"], "test": ["n04"]}
    assert found.splits == {"train": range(0, 2), "val": range(2, 3), "test": range(3, 4)}
    assert found.pixels.shape == (8, 84, 84, 3)
    assert found.pixels[1::2, 0, 0, 0].tolist() == [11, 21, 31, 41]


def test_the_recorded_split_holds_wherever_the_folders_lie_now(folder):
    recorded = {"train": ["n01", "n02"], "val": ["n03"], "test": ["n04"]}
    (folder / "train" / "n02").rename(folder / "test" / "n02")
    found, _ = miniimagenet.load(Run(data_dir=str(folder)), 0, recorded)
    assert found.names == ("n01", "n02", "n03", "n04")
    assert found.splits["test"] == range(3, 4)


def test_a_class_in_two_splits_is_refused(folder):
    (folder / "test" / "n01").mkdir()
    with pytest.raises(RefusedError, match="one split"):
        miniimagenet.find_classes(Folder(folder))


def test_a_missing_split_is_refused(folder):
    for path in (folder / "val" / "n03").iterdir():
        path.unlink()
    with pytest.raises(RefusedError, match="n03 holds no images"):
        miniimagenet.load(Run(data_dir=str(folder)), seed=0)
    (folder / "val" / "n03").rmdir()
    reason = r"expected train/, val/ and test/.* but val/ has none; found test/, train/, val/"
    with pytest.raises(RefusedError, match=reason):
        miniimagenet.load(Run(data_dir=str(folder)), seed=0)


def test_generated_classes_have_the_split_of_the_real_ones(monkeypatch):
    monkeypatch.setattr(miniimagenet, "SYNTHETIC_IMAGES", 1)
    found, split = miniimagenet.load(Run(synthetic=True), seed=0)
    sizes = {name: len(members) for name, members in split.items()}
    assert sizes == {"train": 64, "val": 16, "test": 20}
    assert found.pixels.shape[1:] == (84, 84, 3)


def test_other_classes_than_a_models_test_it_if_they_are_for_testing(folder):
    recorded = {"train": ["n91", "n92"], "val": ["n93"], "test": ["n94"]}
    run = Run(data_dir=str(folder))
    found, split = miniimagenet.load(run, 0, recorded, other_classes=True)
    assert split == {"test": ["n04"]} and found.names == ("n04",)
    flat = Run(data_dir=str(folder / "train"))
    assert miniimagenet.load(flat, 0, recorded, other_classes=True)[1] == {"test": ["n01", "n02"]}
    with pytest.raises(RefusedError, match="name the folder above"):
        miniimagenet.load(flat, seed=0)
