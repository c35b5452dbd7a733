"""Drawings made to look as Omniglot's: one black, even strokes on white paper, centred; and which
images do not look so."""

import itertools

import numpy as np
from PIL import Image

SIDE = 105  # pixels of Omniglot's images
MARGIN = 0.15  # on each side, of the longer side of a drawing
STROKE = 5  # pixels of SIDE that a stroke is wide
LARGEST = 210  # pixels: what is larger is averaged first
NEAR = 0.1  # of the longer side: what is seen of the paper around a pixel
CONTRAST = 0.1  # between ink and paper, at least, as a share of the paper
CLEARER = 6  # the same, in spreads of the paper
AROUND = ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))


def cleaned(image: Image.Image) -> Image.Image:
    """A drawing with any pen on any paper as Omniglot has its own: "L", SIDE pixels square.

    Its parts were chosen by measurement: docs/classifying.md. Raises ValueError for a blank one.
    """
    lines = thinned(_centred(_ink(image)))
    reach = range(-(STROKE // 2), STROKE // 2 + 1)
    strokes = np.zeros_like(lines)
    for move in itertools.product(reach, reach):
        if np.hypot(*move) <= STROKE / 2:
            strokes |= np.roll(lines, move, (0, 1))
    return Image.fromarray(np.where(strokes, 0, 255).astype(np.uint8))


def _ink(image: Image.Image) -> np.ndarray:
    """Where there is ink, bool [height, width]: what differs in any colour from the paper around
    it, which may be dark, coloured, and in a shadow."""
    scale = min(1, LARGEST / max(image.size))
    size = [max(1, round(scale * length)) for length in image.size]
    shown = image.convert("RGB").resize(size, Image.Resampling.BOX)
    colours = np.asarray(shown, np.float32).transpose(2, 0, 1)
    down, across = (_nearness(length, NEAR * max(size)) for length in colours.shape[1:])
    paper = np.ones(colours.shape[1:], np.float32)
    for _ in range(2):  # the paper around a pixel: first with the ink on it, then without
        share = down @ paper @ across + 1e-3
        around = down @ (paper * colours) @ across / share
        contrast = (np.abs(colours - around) / np.maximum(around, 32)).max(axis=0)
        threshold, difference = _otsu(contrast)
        paper = (contrast <= threshold).astype(np.float32)
    if difference < max(CONTRAST, CLEARER * contrast[contrast <= threshold].std()):
        raise ValueError("blank: no drawing can be told from the paper")
    return contrast > threshold


def _nearness(length: int, scale: float) -> np.ndarray:
    """A Gaussian's weights, float32 [length, length]."""
    places = np.arange(length, dtype=np.float32)
    return np.exp(-(((places - places[:, None]) / scale) ** 2) / 2)


def _otsu(values: np.ndarray) -> tuple[float, float]:
    """The threshold that parts values best into two groups (Otsu, 1979): the middle between their
    means. Also returns how far these are apart."""
    counts, edges = np.histogram(values, 256)
    sums = np.cumsum(counts * (edges[1:] + edges[:-1]) / 2)
    below = np.cumsum(counts)
    above = below[-1] - below
    low, high = sums / np.maximum(below, 1), (sums[-1] - sums) / np.maximum(above, 1)
    best = np.argmax(below * above * (high - low) ** 2)
    return (low[best] + high[best]) / 2, high[best] - low[best]


def _centred(ink: np.ndarray) -> np.ndarray:
    """The ink enlarged or reduced to the middle of SIDE pixels square, so that MARGIN is kept when
    its strokes are as wide as STROKE."""
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    middle = np.array([columns[0] + columns[-1] + 1, rows[0] + rows[-1] + 1]) / 2
    longest = max(np.ptp(columns) + 1, np.ptp(rows) + 1)
    lines = max(longest - _width(ink), longest / 2)
    half = lines * SIDE / (SIDE / (1 + 2 * MARGIN) - STROKE) / 2
    finer = int(np.ceil(2 * half / SIDE))  # reduced by averaging
    box = (*(middle - half), *(middle + half))
    square = Image.fromarray(np.where(ink, 255, 0).astype(np.uint8)).transform(
        (finer * SIDE,) * 2, Image.Transform.EXTENT, box, Image.Resampling.BILINEAR
    )
    return np.asarray(square.reduce(finer)) > 110


def _width(ink: np.ndarray) -> np.ndarray:
    """Of strokes, in pixels. ink: bool [..., height, width]."""
    outline = sum(np.diff(ink, axis=axis).sum(axis=(-2, -1)) for axis in (-2, -1))
    return 2 * ink.sum(axis=(-2, -1)) / np.maximum(outline, 1)


def thinned(ink: np.ndarray) -> np.ndarray:
    """Lines of one pixel in the middle of the strokes (Zhang and Suen, 1984)."""
    before = None
    while before is None or (ink != before).any():
        before = ink
        for corner in (0, 4):
            around = np.stack([np.roll(ink, move, (0, 1)) for move in AROUND])
            count = around.sum(axis=0)
            begun = (~around & np.roll(around, -1, axis=0)).sum(axis=0)
            north, east, south, west = np.roll(around, corner, axis=0)[::2]
            inner = (north & east & south) | (east & south & west)
            ink = ink & ~((count >= 2) & (count <= 6) & (begun == 1) & ~inner)
    return ink


def oddities(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Which images look like hardly any of Omniglot's 32,460, bool [images] by kind.

    pixels: uint8 [images, 28, 28, 1], as the network sees them.
    """
    grey = pixels[..., 0].astype(int)
    low, high = grey.min(axis=(1, 2)), grey.max(axis=(1, 2))
    middle = (low + high)[:, None, None] / 2
    dark = np.median(grey, axis=(1, 2)) < middle[:, 0, 0]
    ink = (grey > middle) == dark[:, None, None]
    width = _width(ink)
    lines = (ink.any(axis=axis) for axis in (1, 2))
    sides = [28 - line.argmax(axis=1) - line[:, ::-1].argmax(axis=1) for line in lines]
    blank = high - low < 255 * CONTRAST
    kinds = {
        "low contrast": high - low < 200,
        "light on dark": dark,
        "thin strokes": width < 0.55,
        "thick strokes": width > 2.3,
        "small": np.maximum(*sides) < 5,
    }
    return {"blank": blank} | {kind: found & ~blank for kind, found in kinds.items()}
