"""Reading folders of images: order, padding, where they came from, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from supervised_reptile.data import image_set as image_sets
from supervised_reptile.data import provenance
from supervised_reptile.data.formats import Format
from supervised_reptile.system.errors import RefusedError


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path):
    """Classes of 3, 1 and 2 images; the pixels of an image say which it is."""
    for index, count in enumerate((3, 1, 2)):
        for number in range(count):
            suffix = ("png", "PNG", "jpeg")[number]
            save(
                tmp_path / f"c{index}" / f"{number}.{suffix}", np.full((4, 4), 10 * index + number)
            )
    save(tmp_path / "c0" / ".hidden.png", np.zeros((4, 4)))
    (tmp_path / "c1" / "notes.txt").write_text("not an image")
    return {f"c{index}": tmp_path / f"c{index}" for index in range(3)}


def read(folders, split):
    return image_sets.read_folders(folders["c0"].parent, folders, split, Format(4, "L"))


def test_images_of_every_size_and_suffix_are_read(folders):
    suffixes = sorted(image_sets.SUFFIXES)
    for suffix in suffixes:
        save(folders["c1"] / f"a{suffix}", np.full((5, 7), 50))
    found = read(folders, {"train": ["c1"]})
    assert found.counts.tolist() == [1 + len(suffixes)]
    assert (abs(found.pixels[0, 1:].astype(int) - 50) < 3).all()


def test_where_the_images_came_from_is_passed_on(folders):
    split, folder = {"train": ["c0"]}, folders["c0"].parent
    found = read(folders, split)
    assert found.origin == {"source": f"{folder}, a folder without origin.json"}
    assert found.provenance == {"origin": found.origin, "digest": found.digest}
    provenance.write(folder, "https://example.org", "archives", "12ab")
    found = read(folders, split).origin
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


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"source": "x"})])
def test_a_damaged_origin_is_refused_by_name(folders, content):
    (folders["c0"].parent / "origin.json").write_text(content)
    with pytest.raises(RefusedError, match=r"origin\.json is damaged"):
        read(folders, {"train": ["c0"]})


def test_classes_are_read_in_the_order_of_the_split_and_padded(folders):
    found = read(folders, {"train": ["c2", "c0"], "test": ["c1"]})
    assert found.names == ("c2", "c0", "c1")
    assert found.counts.tolist() == [2, 3, 1]
    assert found.splits == {"train": range(0, 2), "test": range(2, 3)}
    assert found.pixels.shape == (3, 3, 4, 4, 1)
    assert found.pixels[:, :, 0, 0, 0].tolist() == [[20, 21, 0], [0, 1, 2], [10, 0, 0]]
    assert (found.flat_pixels[3:6] == found.pixels[1]).all()


def test_a_truncated_image_is_refused_by_name(folders):
    path = folders["c2"] / "0.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(RefusedError, match=r"c2/0\.png cannot be read"):
        read(folders, {"train": ["c0", "c1", "c2"]})


def test_a_class_without_images_is_refused_by_name(folders):
    shutil.rmtree(folders["c1"])
    folders["c1"].mkdir()
    with pytest.raises(RefusedError, match="c1 holds no images"):
        read(folders, {"train": ["c1"]})


def test_a_missing_or_empty_data_folder_says_how_to_get_data(tmp_path):
    (tmp_path / "file.txt").touch()
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RefusedError, match=r"advice.*--synthetic"):
            image_sets.check_folder(folder, "advice")


def test_select_takes_classes_by_name():
    pixels = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1, 1)
    split = {"train": ["d", "b"], "test": ["a"]}
    found = image_sets.select_generated(pixels, ["a", "b", "c", "d"], split)
    assert found.pixels.ravel().tolist() == [3, 1, 0]
    assert "--synthetic" in found.origin["source"] and len(found.digest) == 64
    with pytest.raises(RefusedError, match="lacks 1 classes"):
        image_sets.select_generated(pixels, ["a", "b", "c", "d"], {"train": ["e"]})
