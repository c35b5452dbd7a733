"""Pixels of every kind of image file, beside Pillow's own resize and values worked out by hand."""

import os

import numpy as np
import pytest
from PIL import Image

from supervised_reptile.data import decoding
from supervised_reptile.data.formats import Format
from supervised_reptile.system.errors import FailedError, RefusedError

MODES = {
    "1": "png",
    "L": "png",
    "RGB": "png",
    "P": "png",
    "CMYK": "tiff",
    "RGBA": "png",
    "LA": "png",
}


def save(path, mode, width=105, height=105):
    """A file of random pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 4), dtype=np.uint8)
    if mode == "CMYK":
        image = Image.merge(mode, [Image.fromarray(pixels[..., band]) for band in range(4)])
    else:
        image = Image.fromarray(pixels[..., :3]).convert(mode)
    image.save(path)
    return path


def nearest(length, size):
    """The source of each output pixel: its middle lies at (i + 1/2) * length / size."""
    return np.floor((np.arange(size) + 0.5) * length / size).astype(int)


@pytest.mark.parametrize("target", ["L", "RGB"])
@pytest.mark.parametrize("size", [28, 84])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("width, height", [(105, 105), (500, 375), (84, 84), (20, 31), (1, 1)])
def test_pixels_are_those_of_pillows_nearest_neighbour(tmp_path, mode, size, target, width, height):
    path = save(tmp_path / f"a.{MODES[mode]}", mode, width, height)
    found = decoding.read_image(path, Format(size, target))
    with Image.open(path) as image:
        assert image.mode == mode
        resized = image.resize((size, size), Image.Resampling.NEAREST).convert(target)
        # Nearest neighbour picks pixels, so it may as well pick them after the conversion.
        picked = np.asarray(image.convert(target))
    picked = picked[nearest(height, size)][:, nearest(width, size)]
    assert found.dtype == np.uint8
    assert (found == np.asarray(resized)).all() and (found == picked).all()


def test_pixels_worked_out_by_hand(tmp_path):
    # The middle of output pixel i lies at (i + 1/2) * 9/3 of the input: columns 1, 4 and 7.
    pixels = np.arange(81, dtype=np.uint8).reshape(9, 9)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = decoding.read_image(tmp_path / "a.png", Format(3, "L"))
    assert found.tolist() == [[10, 13, 16], [37, 40, 43], [64, 67, 70]]


def test_colours_worked_out_by_hand(tmp_path):
    # Grey is 0.299 red + 0.587 green + 0.114 blue; RGB of CMYK is (255 - colour)(255 - black)/255.
    Image.new("RGB", (2, 2), (200, 100, 50)).save(tmp_path / "rgb.png")
    assert (decoding.read_image(tmp_path / "rgb.png", Format(1, "L")) == 124).all()
    Image.new("CMYK", (2, 2), (0, 51, 255, 51)).save(tmp_path / "cmyk.tiff")
    assert decoding.read_image(tmp_path / "cmyk.tiff", Format(1, "RGB")).tolist() == [
        [[204, 163, 0]]
    ]
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    palette.save(tmp_path / "p.png")
    assert decoding.read_image(tmp_path / "p.png", Format(1, "RGB")).tolist() == [[[9, 8, 7]]]
    Image.new("L", (2, 2), 77).save(tmp_path / "l.png")
    assert decoding.read_image(tmp_path / "l.png", Format(1, "RGB")).tolist() == [[[77, 77, 77]]]


def test_omniglots_pixels_worked_out_by_hand(tmp_path):
    """105 one-bit pixels become 28: pixel i is (i + 1/2) * 3.75 of the input, rounded down."""
    places = [1, 5, 9, 13, 16, 20, 24, 28, 31, 35, 39, 43, 46, 50]
    places += [54, 58, 61, 65, 69, 73, 76, 80, 84, 88, 91, 95, 99, 103]
    pixels = np.random.default_rng(0).integers(0, 2, (105, 105)).astype(np.uint8) * 255
    Image.fromarray(pixels).convert("1").save(tmp_path / "a.png")
    found = decoding.read_image(tmp_path / "a.png", Format(28, "L"))
    assert (found == pixels[places][:, places]).all()
    assert set(np.unique(found)) == {0, 255}


def test_sixteen_bits_become_eight_and_unknown_ranges_are_refused(tmp_path):
    pixels = np.array([[0, 255, 256, 65535]], np.uint16).repeat(4, axis=0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert decoding.read_image(tmp_path / "a.png", Format(4, "L"))[0].tolist() == [0, 0, 1, 255]
    assert decoding.read_image(tmp_path / "a.png", Format(4, "RGB"))[0, 3].tolist() == [255] * 3
    Image.fromarray(pixels.astype(np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(RefusedError, match=r"a\.tiff cannot be read.*convert it to 8 bits"):
        decoding.read_image(tmp_path / "a.tiff", Format(4, "L"))


def damaged(content):
    return {"empty": b"", "truncated": content[: len(content) // 2], "text": b"<html></html>"}


@pytest.mark.parametrize("suffix", ["png", "jpeg", "gif", "bmp"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "text"])
def test_what_is_not_a_whole_image_is_refused_by_name(tmp_path, suffix, damage):
    path = save(tmp_path / f"a.{suffix}", "RGB")
    path.write_bytes(damaged(path.read_bytes())[damage])
    with pytest.raises(RefusedError, match=rf"a\.{suffix} cannot be read as an image"):
        decoding.read_class([path], Format(4, "L"))


def test_a_killed_reader_is_a_failure_and_no_endless_wait():
    with (
        pytest.raises(FailedError, match="memory"),
        decoding.on_all_cores(os._exit, [1]) as results,
    ):
        list(results)
