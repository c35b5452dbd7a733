"""Pixels of every kind of image file, compared with Pillow's own and with hand-made values."""

import itertools
import os
import signal
import threading

import numpy as np
import pytest
from PIL import Image, ImageOps

from supervised_reptile.data import decoding, image_set, provenance
from supervised_reptile.data.decoding import Format
from supervised_reptile.data.folders import Folder
from supervised_reptile.system.errors import FailedError, RefusedError


def read_image(path, format):
    (pixels,) = decoding.pixels_of([decoding.read_class([str(path)], format)])
    return pixels[0]


MODES = ("1", "L", "RGB", "P", "CMYK", "RGBA", "LA")


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


def test_a_thread_of_another_program_reads_images_too():
    """Signals cannot be deferred there, and stay what they are to that program."""
    before, found = signal.getsignal(signal.SIGINT), []

    def read():
        with decoding.on_all_cores(abs, [-1, 2]) as results:
            found.extend(results)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert found == [1, 2] and signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("target", ["L", "RGB"])
@pytest.mark.parametrize("size", [28, 84])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("width, height", [(105, 105), (500, 375), (20, 31), (1, 1)])
def test_pixels_are_nearest_neighbours_in_every_mode(tmp_path, mode, size, target, width, height):
    suffix = "tiff" if mode == "CMYK" else "png"
    path = save(tmp_path / f"a.{suffix}", mode, width, height)
    found = read_image(path, Format(size, target))
    with Image.open(path) as image:
        assert image.mode == mode
        # Nearest neighbour picks pixels, so it may as well pick them after the conversion.
        converted = np.asarray(image.convert(target))
    picked = converted[nearest(height, size)][:, nearest(width, size)]
    assert found.dtype == np.uint8
    assert found.shape == (size, size, len(target))
    assert (found == picked.reshape(found.shape)).all()


def test_colours_worked_out_by_hand(tmp_path):
    # Grey is 0.299 red + 0.587 green + 0.114 blue; RGB of CMYK is (255 - colour)(255 - black)/255.
    Image.new("RGB", (2, 2), (200, 100, 50)).save(tmp_path / "rgb.png")
    assert (read_image(tmp_path / "rgb.png", Format(1, "L")) == 124).all()
    Image.new("CMYK", (2, 2), (0, 51, 255, 51)).save(tmp_path / "cmyk.tiff")
    assert read_image(tmp_path / "cmyk.tiff", Format(1, "RGB")).tolist() == [[[204, 163, 0]]]
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 9, 8, 7])
    palette.save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png", Format(1, "RGB")).tolist() == [[[9, 8, 7]]]
    Image.new("L", (2, 2), 77).save(tmp_path / "l.png")
    assert read_image(tmp_path / "l.png", Format(1, "RGB")).tolist() == [[[77, 77, 77]]]


@pytest.mark.parametrize("as_shown", [True, False])
@pytest.mark.parametrize("kind", [np.uint16, np.int32, np.float32])
def test_more_than_eight_bits_per_value_are_refused(tmp_path, kind, as_shown):
    """They would need a range that the file does not tell."""
    Image.fromarray(np.full((6, 6), 4095, kind)).save(tmp_path / "a.tiff")
    with pytest.raises(RefusedError, match=r"1 of the .*a\.tiff .*convert it to 8 bits"):
        read_image(tmp_path / "a.tiff", Format(6, "L", as_shown))


SHOWN = Format(6, "L", as_shown=True)


@pytest.fixture
def ink():
    """White is paper, black is ink."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 2, (6, 6), np.uint8) * 255)


def transparent(ink, mode):
    """The ink in black on nothing."""
    if mode == "P":
        image = Image.fromarray(np.asarray(ink) // 255)
        image.putpalette([0, 0, 0, 0, 0, 0])
        image.info["transparency"] = 1
        return image
    image = Image.new(mode, ink.size, 0)
    image.putalpha(ImageOps.invert(ink))
    return image


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        *[("png", mode) for mode in ("RGBA", "LA", "P")],
        *[("webp", "RGBA"), ("gif", "P"), ("gif", "RGBA"), ("tiff", "RGBA"), ("tiff", "LA")],
    ],
)
def test_own_images_are_put_on_white_where_they_are_transparent(tmp_path, ink, suffix, mode):
    options = {"lossless": True} if suffix == "webp" else {}
    transparent(ink, mode).save(tmp_path / f"a.{suffix}", **options)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        assert image.has_transparency_data
    found = read_image(tmp_path / f"a.{suffix}", SHOWN)
    assert (found[..., 0] == np.asarray(ink)).all()
    assert (read_image(tmp_path / f"a.{suffix}", Format(6, "L"))[..., 0] == 0).all()


def test_an_image_of_a_program_stays_as_it_is(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # to be turned
    Image.new("L", (4, 9)).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        decoding.read_class([image], SHOWN)
        assert image.size == (4, 9) and image.getexif()[274] == 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_own_photographs_stand_upright_and_the_papers_stay_as_stored(tmp_path, orientation):
    pixels = np.arange(36, dtype=np.uint8).reshape(6, 6)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    upright = {  # what lies at the top and at the left of the stored image, by the EXIF standard
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.T,
        6: np.rot90(pixels, -1),
        7: pixels[::-1, ::-1].T,
        8: np.rot90(pixels),
    }[orientation]
    assert (read_image(tmp_path / "a.png", SHOWN)[..., 0] == upright).all()
    assert (read_image(tmp_path / "a.png", Format(6, "L"))[..., 0] == pixels).all()


def test_images_are_the_papers_if_they_were_fetched_or_are_imagenets(
    tmp_path, ink, in_this_process
):
    """Others are the user's own."""

    def first(*names):
        for name in names:
            (tmp_path / name).mkdir(exist_ok=True)
            transparent(ink, "RGBA").save(tmp_path / name / "a.png")
            Image.new("L", (6, 6), 9).save(tmp_path / name / "b.png")
        classes = {name: Folder(tmp_path / name) for name in names}
        read = image_set.read_folders
        return read(Folder(tmp_path), classes, {"train": list(names)}, Format(6, "L")).pixels[0]

    assert (first("n01532829", "n13133613") == 0).all()
    assert (first("n01532829", "cat") == first("cat", "n0153282")).all()
    assert (first("cat")[..., 0] == np.asarray(ink)).all()
    provenance.write(tmp_path, "https://example.org", "archives", "12ab")
    assert (first("cat") == 0).all()


def test_all_unreadable_images_are_counted_and_the_first_few_named(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(10)]
    for path in paths[:7]:
        path.touch()
    for path in paths[7:]:
        Image.new("L", (3, 3)).save(path)
    classes = [paths[:1], paths[1:8], paths[8:]]
    with pytest.raises(RefusedError, match=r"^7 of the images cannot .*/0\.png \(") as caught:
        list(decoding.pixels_of(decoding.read_class(files, SHOWN) for files in classes))
    end = "/4.png (empty, or of no known kind) and 2 more: replace or remove what is broken"
    assert str(caught.value).endswith(end)


@pytest.mark.parametrize("suffix", ["png", "jpeg", "gif"])
@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "a program in PostScript"])
def test_what_is_not_a_whole_image_is_refused_by_name(tmp_path, suffix, damage):
    path = save(tmp_path / f"a.{suffix}", "RGB")
    whole = path.read_bytes()
    others = {"empty": b"", "text": b"<p>", "truncated": whole[: len(whole) // 2]}
    path.write_bytes(others.get(damage, b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"))
    reason = "" if damage == "truncated" else r" \(empty, or of no known kind\)"
    with pytest.raises(RefusedError, match=rf"1 of the images .* read: .*a\.{suffix}{reason}"):
        read_image(path, Format(4, "L"))


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        *itertools.product(["jpeg", "png"], [0.5, 0.97, 0, 1]),
        *itertools.product(["webp", "tiff", "bmp"], [0.5, 0.97, 1]),
    ],
)
def test_zeros_in_the_place_of_an_images_end_are_noticed(tmp_path, capsys, kind, kept):
    """Pillow reads JPEG files without their end, and PNG files without their last 16 bytes: 0."""
    path = save(tmp_path / f"a.{kind}", "RGB")
    whole = path.read_bytes()
    first = whole[: int(kept * len(whole)) or -16]
    lost = bytes(len(whole) - len(first))
    path.write_bytes(first + lost)
    if kept < 1 and kind in ("jpeg", "png"):
        with pytest.raises(RefusedError, match=rf"1 of the images cannot be read: .*a\.{kind}"):
            read_image(path, SHOWN)
        return
    read_image(path, SHOWN)
    warning = "Warning: 1 of the images end in zeros, a third of the file or more, as"
    assert capsys.readouterr().err.startswith(warning) == (kept == 0.5)


@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("added", [bytes(900), b"a film", bytes(900) + b"a film"])
def test_what_cameras_add_after_the_end_does_no_harm(tmp_path, capsys, kind, added):
    path = save(tmp_path / f"a.{kind}", "RGB")
    expected = read_image(path, SHOWN)
    path.write_bytes(path.read_bytes() + added)
    assert (read_image(path, SHOWN) == expected).all() and not capsys.readouterr().err


def test_a_killed_reader_is_a_failure_and_no_endless_wait():
    with (
        pytest.raises(FailedError, match="memory"),
        decoding.on_all_cores(os._exit, [1]) as results,
    ):
        list(results)
