"""Cleaned drawings: the same strokes with any pen on any paper; and what is named as unlike
Omniglot."""

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageDraw

from supervised_reptile.args import Config
from supervised_reptile.data import cache, decoding, omniglot, provenance
from supervised_reptile.data.cleaning import cleaned, oddities
from supervised_reptile.data.decoding import Format
from supervised_reptile.data.folders import Folder
from supervised_reptile.system.errors import RefusedError

CLEAN = Format(28, "L", as_shown=True, clean=True)
CHARACTER = np.array([(0.2, 0.9), (0, 0.4), (0.5, 0), (0.9, 0.3), (0.6, 1), (1, 1)])


def drawn(size=200, pen=7, paper=255, ink=0, side=0.6, corner=(0.2, 0.2), mode="L"):
    image = Image.new(mode, (size, size), paper)
    line = [tuple(point) for point in (CHARACTER * side + corner) * size]
    ImageDraw.Draw(image).line(line, fill=ink, width=pen, joint="curve")
    return image


def altered(change, noise=0, **style):
    """With other light: change(pixels, x from 0 to 1), and noise."""
    pixels = np.asarray(drawn(**style).convert("RGB"), float)
    random = np.random.default_rng(0).normal(0, noise, pixels.shape)
    changed = change(pixels, np.linspace(0, 1, len(pixels))[None, :, None]) + random
    return Image.fromarray(changed.clip(0, 255).astype(np.uint8))


STYLES = {
    "black": drawn(),
    "as small as the network's": drawn(size=28, pen=1),
    "wide": drawn(size=1000, pen=60),
    "thin": drawn(size=1000, pen=5),
    "very thick": drawn(pen=24),
    "in a corner": drawn(size=800, pen=5, side=0.15, corner=(0.01, 0.8)),
    "red on yellow": drawn(paper=(255, 255, 0), ink=(139, 0, 0), mode="RGB"),
    "yellow on white": drawn(paper=(255, 255, 255), ink=(255, 230, 0), mode="RGB"),
    "chalk": altered(lambda pixels, x: pixels, noise=12, paper=40, ink=220),
    "pencil": altered(lambda pixels, x: pixels, noise=5, paper=236, ink=150),
    "in a shadow": altered(lambda pixels, x: pixels * np.where(x < 0.5, 0.55, 0.9 - 0.2 * x), 4),
}


def resized(image):
    return np.asarray(image.resize((28, 28), Image.Resampling.NEAREST))


def pixels_of(image):
    return resized(cleaned(image)) == 0


def near(ink):
    """Within one pixel of ink."""
    return np.any([np.roll(ink, (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)], axis=0)


@pytest.mark.parametrize("style", STYLES)
def test_the_strokes_are_the_same_in_every_style(style):
    """Those of the same line, drawn as wide as Omniglot's in the middle of 105 pixels."""
    expected = resized(drawn(105, 5, side=1 / 1.3, corner=(0.15 / 1.3,) * 2)) == 0
    found = pixels_of(STYLES[style])
    assert abs(found.sum() / expected.sum() - 1) < 0.25
    assert (near(expected) | ~found).mean() > 0.98
    assert (near(found) | ~expected).mean() > 0.98


@pytest.mark.parametrize("paper", [0, 40, 255])
@pytest.mark.parametrize("noise", [0, 8])
@pytest.mark.parametrize("dimmed", [0, 0.4])
def test_paper_alone_is_blank(paper, noise, dimmed):
    image = altered(lambda pixels, x: pixels * (1 - dimmed * x), noise, paper=paper, ink=paper)
    with pytest.raises(ValueError, match="blank"):
        cleaned(image)


def test_files_are_cleaned_as_they_are_shown(tmp_path):
    ink = Image.new("LA", (200, 200))
    ink.putalpha(drawn(paper=0, ink=255).transpose(Image.Transpose.ROTATE_90))
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise
    ink.save(tmp_path / "a.png", exif=exif)
    Image.new("L", (9, 9), 255).save(tmp_path / "b.png")
    pixels, problems, _ = decoding.read_class(
        [str(tmp_path / name) for name in ("a.png", "b.png")], CLEAN
    )
    assert ((pixels[0, ..., 0] == 0) == pixels_of(drawn())).all()
    assert problems == [f"{tmp_path}/b.png (blank: no drawing can be told from the paper)"]


def test_omniglots_own_look_like_themselves_and_others_do_not():
    kinds = {
        "blank": Image.new("L", (28, 28), 200),
        "low contrast": drawn(paper=150),
        "light on dark": drawn(paper=0, ink=255),
        "thin strokes": drawn(size=1000, pen=4),
        "thick strokes": drawn(pen=34),
        "small": drawn(side=0.1),
    }
    images = [resized(image) for image in (drawn(105, 5), *kinds.values())]
    found = oddities(np.stack(images)[..., None])
    assert list(found) == list(kinds)
    assert (np.stack(list(found.values()))[:, 1:] == np.eye(len(kinds), dtype=bool)).all()
    assert not np.any([odd[0] for odd in found.values()])


def test_cleaned_images_have_a_cache_of_their_own(tmp_path, save_image, in_this_process):
    save_image(tmp_path / "a" / "1.png", drawn(paper=0, ink=255))
    classes = {"a": Folder(tmp_path / "a")}
    for _ in range(2):
        for clean, ink in ((False, 255), (True, 0)):
            listing = cache.list_files(classes, Format(28, "L", clean=clean), {})
            pixels, _, _ = cache.load(tmp_path, listing)
            assert (pixels == ink).mean() < 0.3
            assert cache.read(cache.place_of(tmp_path, listing), listing)
    assert len(list((tmp_path / cache.FOLDER).glob("*.npy"))) == 2


def test_the_drawings_of_a_run_are_cleaned(tmp_path, save_image, in_this_process):
    save_image(tmp_path / "a" / "1.png", STYLES["chalk"])
    save_image(tmp_path / "b" / "1.png", STYLES["thin"])
    flags = {"data_dir": str(tmp_path), "clean": True, "train_classes": 1}
    images, _ = omniglot.load(Config.of("omniglot", flags).run, 0)
    for index in (0, images.splits["test"].start):  # unrotated
        ink = images.of_class(index)[0, ..., 0] == 0
        assert (near(pixels_of(drawn())) | ~ink).mean() > 0.98 and ink.sum() > 50


def test_the_papers_own_data_are_never_cleaned(tmp_path):
    run = Config.of("omniglot", {"data_dir": str(tmp_path), "clean": True}).run
    provenance.write(tmp_path, "https://example.org", "archives", omniglot.DIGEST)
    for refused in (run, dataclasses.replace(run, synthetic=True)):
        with pytest.raises(RefusedError, match="--clean is for your own drawings"):
            omniglot.load(refused, 0)
