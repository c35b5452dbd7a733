"""Reading folders of images: pixels, order, padding, and what is refused."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from supervised_reptile import images
from supervised_reptile.errors import FailedError, RefusedError


def save(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    (image.convert(mode) if mode else image).save(path)


def test_pixels_are_resized_with_nearest_neighbour_by_hand(tmp_path):
    # The middle of output pixel i lies at (i + 1/2) * 9/3 of the input: columns 1, 4 and 7.
    pixels = np.arange(81).reshape(9, 9)
    save(tmp_path / "a.png", pixels)
    found = images.read_image(tmp_path / "a.png", 3, "L")
    assert found.tolist() == pixels[[1, 4, 7]][:, [1, 4, 7]].tolist()


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "P", "RGBA"])
def test_every_kind_of_image_is_resized_before_it_is_converted(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (105, 105, 3))
    save(tmp_path / "a.png", pixels, mode)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == mode
        whole = np.asarray(image.convert("RGB"))
    # Nearest neighbour picks pixels, so it may as well pick them after the conversion.
    places = np.floor((np.arange(28) + 0.5) * 105 / 28).astype(int)
    found = images.read_image(tmp_path / "a.png", 28, "RGB")
    assert (found == whole[places][:, places]).all()


def test_one_bit_images_become_black_and_white(tmp_path):
    save(tmp_path / "a.png", np.eye(28) * 255, "1")
    assert (images.read_image(tmp_path / "a.png", 28, "L") == np.eye(28) * 255).all()


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


def test_classes_are_read_in_the_order_of_the_split_and_padded(folders):
    found = images.read_folders(folders, {"train": ["c2", "c0"], "test": ["c1"]}, 4, "L")
    assert found.names == ("c2", "c0", "c1")
    assert found.counts.tolist() == [2, 3, 1]
    assert found.splits == {"train": range(0, 2), "test": range(2, 3)}
    assert found.pixels.shape == (3, 3, 4, 4, 1)
    assert found.pixels[:, :, 0, 0, 0].tolist() == [[20, 21, 0], [0, 1, 2], [10, 0, 0]]
    assert (found.rows[3:6] == found.pixels[1]).all()


def test_a_truncated_image_is_refused_by_name(folders):
    path = folders["c2"] / "0.png"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(RefusedError, match=r"c2/0\.png cannot be read"):
        images.read_folders(folders, {"train": ["c0", "c1", "c2"]}, 4, "L")


def test_a_killed_reader_is_a_failure_and_no_endless_wait(folders):
    with pytest.raises(FailedError, match="memory"), images._on_all_cores(os._exit, [1]) as results:
        list(results)


def test_an_empty_file_is_refused_by_name(folders):
    (folders["c0"] / "1.PNG").write_bytes(b"")
    with pytest.raises(RefusedError, match=r"c0/1\.PNG"):
        images.read_class(images.image_files(folders["c0"]), 4, "L")


def test_a_class_without_images_is_refused_by_name(folders):
    shutil.rmtree(folders["c1"])
    folders["c1"].mkdir()
    with pytest.raises(RefusedError, match="c1 holds no images"):
        images.read_folders(folders, {"train": ["c1"]}, 4, "L")


def test_a_missing_or_empty_data_folder_says_how_to_get_data(tmp_path):
    (tmp_path / "file.txt").touch()
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RefusedError, match=r"advice.*--synthetic"):
            images.check_folder(folder, "advice")


def test_select_takes_classes_by_name():
    pixels = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1, 1)
    found = images.select(pixels, ["a", "b", "c", "d"], {"train": ["d", "b"], "test": ["a"]})
    assert found.pixels.ravel().tolist() == [3, 1, 0]
    with pytest.raises(RefusedError, match="lacks 1 classes"):
        images.select(pixels, ["a", "b", "c", "d"], {"train": ["e"]})
