"""Reading folders of images: order, padding, where they came from, and what is refused."""

import os
import shutil

import numpy as np
import pytest

from supervised_reptile.data import folders, provenance
from supervised_reptile.data import image_set as image_sets
from supervised_reptile.system.errors import RefusedError

pytestmark = pytest.mark.usefixtures("in_this_process")


def test_images_of_every_size_and_suffix_are_read(folder, read, save_image):
    for suffix in folders.SUFFIXES:
        save_image(folder / "c1" / f"a{suffix}", np.full((5, 7), 50))
    found = read({"train": ["c1"]})
    assert found.counts.tolist() == [1 + len(folders.SUFFIXES)]
    assert (abs(found.pixels[1:].astype(int) - 50) < 3).all()


def test_where_the_images_came_from_is_passed_on(folder, read):
    found = read()
    assert found.origin == {"source": f"{folder}, a folder without origin.json"}
    assert found.provenance == {"origin": found.origin, "digest": found.digest}
    provenance.write(folder, "https://example.org", "archives", "12ab")
    found = read().origin
    assert found["source"] == "https://example.org" and found["digest"] == "12ab"
    assert set(found) == {"source", "packaging", "digest", "date"}


@pytest.mark.parametrize(
    ("source", "recorded"),
    [
        ("https://me:secret@example.org:8080/a?b=c", "https://example.org:8080/a?b=c"),
        ("https://example.org/me@home/", "https://example.org/me@home/"),
        ("file:///data/archive.tar", "file:///data/archive.tar"),
    ],
)
def test_the_origin_records_no_password(tmp_path, source, recorded):
    provenance.write(tmp_path, source, "archives", "12ab")
    assert provenance.read(tmp_path)["source"] == recorded


def test_classes_are_read_in_the_order_of_the_split_one_after_another(read):
    found = read({"train": ["c2", "c0"], "test": ["c1"]})
    assert found.names == ("c2", "c0", "c1")
    assert found.counts.tolist() == [2, 3, 1]
    assert found.splits == {"train": range(0, 2), "test": range(2, 3)}
    assert found.pixels.shape == (6, 4, 4, 1)
    assert found.pixels[:, 0, 0, 0].tolist() == [20, 21, 0, 1, 2, 10]
    assert found.first.tolist() == [0, 2, 5]
    assert [len(found.of_class(index)) for index in range(3)] == [2, 3, 1]
    assert (found.of_class(1) == found.pixels[2:5]).all()


def test_images_that_all_look_the_same_are_named_by_class_and_refused_in_all(
    folder, read, save_image, capsys
):
    for path in folder.glob("c0/[0-9]*"):
        save_image(path, np.full((4, 4), 7))
    read()
    warning = "within each of these classes all images are the same: c0\n"
    assert capsys.readouterr().err.endswith(warning)
    for path in folder.glob("c?/[0-9]*"):
        save_image(path, np.full((4, 4), 7))
    with pytest.raises(RefusedError, match="all images look the same"):
        read()


def test_test_images_that_are_also_training_images_are_counted(folder, read, capsys):
    """At each start, whatever they are called; not those of the paper's own data."""
    for name in ("7.png", "8.png"):
        shutil.copy(folder / "c0" / "0.png", folder / "c2" / name)
    split = {"train": ["c0"], "val": ["c1"], "test": ["c2"]}
    warning = f"Warning: {folder}: 2 of 4 test images are also training images: this is"
    for _ in range(2):
        read(split)
        assert capsys.readouterr().err.startswith(warning)
    os.symlink(folder / "c0", folder / "c3")
    read({**split, "val": ["c3"]})
    assert ": 3 of 3 val images and 2 of 4 test images are also" in capsys.readouterr().err
    for quiet in ({"train": ["c0", "c2"], "test": ["c1"]}, {"test": ["c0", "c2"]}):
        read(quiet)
    provenance.write(folder, "https://example.org", "archives", "12ab")
    read(split)
    assert not capsys.readouterr().err


def test_a_model_is_tested_on_classes_that_it_has_not_seen():
    split = {"train": ["a", "b"], "val": ["c"], "test": ["d"]}
    other = image_sets.other_split
    assert other(split, ["a", "b", "c", "d"], ["d"]) == split
    assert other(split, ["a", "b", "c", "d", "e"], ["e"]) == {**split, "test": ["d", "e"]}
    assert other(split, ["x", "y"], ["y"]) == {"test": ["y"]}
    assert other(split, ["b", "d", "x"], ["b", "d", "x"]) == {"train": ["b"], "test": ["d", "x"]}
