"""Generated stand-ins for Omniglot and miniImageNet.

With them the program can be tried without a download. They have the shapes of the real data. On
characters, nearest neighbours score much what they score on real ones; textures are somewhat easier
than real images, but no easier by raw pixels or mean colour. They are no substitute when results
are to be reported.

Image ``i`` of class ``c`` depends only on the seed, ``c`` and ``i``, so a smaller set is the
beginning of a larger one.
"""

from typing import NamedTuple

import numpy as np

from supervised_reptile.data.decoding import CHARACTERS, PHOTOGRAPHS

_CHARACTERS, _TEXTURES = 0, 1  # keeps the two data sets of one seed independent
_CHARACTER_SIDE, _TEXTURE_SIDE = CHARACTERS.size, PHOTOGRAPHS.size
_KNOTS = 6  # control points of a stroke


def characters(seed: int, classes: int = 1623, images: int = 20) -> np.ndarray:
    """Return characters like Omniglot's: a class is one to four strokes of a pen.

    The images of a class are drawings by different hands: strokes and their control points shift
    a little, and the whole is moved, scaled, slanted and rotated.

    Returns:
        uint8 [classes, images, 28, 28, 1]; 255 is paper, 0 is ink.
    """
    drawings = np.full((classes, images, _CHARACTER_SIDE, _CHARACTER_SIDE, 1), 255, np.uint8)
    image = np.arange(images)[:, np.newaxis]
    for c in range(classes):
        rng = np.random.default_rng([seed, _CHARACTERS, c])
        pen = _redraw(rng, _character(rng), images)
        for edge in (-0.15, 0.15):  # of a nib, held aslant, that is a little wider than a pixel
            pixel = (pen + edge).astype(int)
            drawings[c, image, pixel[..., 0], pixel[..., 1]] = 0
    return drawings


def _character(rng: np.random.Generator) -> np.ndarray:
    """Return control points, [strokes, knots, 2], that fill most of a box of side 1 around 0."""
    strokes = [_stroke(rng)]
    for _ in range(rng.choice(4, p=[0.1, 0.2, 0.3, 0.4])):
        # The strokes of a real character mostly touch.
        touched = strokes[rng.integers(len(strokes))][rng.integers(_KNOTS)]
        stroke = _stroke(rng)
        strokes.append(stroke - stroke[rng.integers(_KNOTS)] + touched)
    points = np.stack(strokes)
    low, extent = points.min((0, 1)), np.ptp(points, (0, 1))
    # Half-way between keeping the proportions and filling the box, lest a character be a dash.
    return (points - low - extent / 2) / np.sqrt(extent * extent.max())


def _stroke(rng: np.random.Generator) -> np.ndarray:
    """Return the control points, [knots, 2], of a line, an arc, a loop or a squiggle."""
    steps = _KNOTS - 1
    turns = [
        np.zeros(steps),
        np.full(steps, rng.uniform(0.3, 0.8)),
        np.full(steps, 2 * np.pi / steps),
        rng.normal(0, 1.3, steps),
    ][rng.choice(4, p=[0.3, 0.3, 0.1, 0.3])]
    start = rng.normal(rng.integers(8) * np.pi / 4, 0.15)  # near upright, level or diagonal
    heading = start + rng.choice([-1, 1]) * np.cumsum(turns)
    walk = rng.uniform(0.5, 1.5) * np.stack([np.cos(heading), np.sin(heading)], axis=-1)
    return np.concatenate([np.zeros((1, 2)), np.cumsum(walk, axis=0)])


def _redraw(rng: np.random.Generator, strokes: np.ndarray, images: int) -> np.ndarray:
    """Return where the pen passes in each drawing, [images, samples, 2], in pixels."""
    # All the chance in a drawing is one row, so that more drawings leave the first ones alone.
    noise = rng.standard_normal((images, 6 + 2 * len(strokes) + strokes.size))
    hand, shift, wobble = np.split(noise, [6, 6 + 2 * len(strokes)], axis=1)
    strokes = strokes + 0.04 * shift.reshape(images, -1, 1, 2)
    strokes = strokes + 0.03 * wobble.reshape(strokes.shape)
    size, aspect, slant, rotation = np.array([[0.18], [0.12], [0.15], [0.1]]) * hand[:, :4].T
    affine = np.array([[np.exp(aspect), slant - rotation], [rotation, np.exp(-aspect)]])
    affine = 16.5 * np.exp(size) * affine  # real characters are about 16 pixels high and wide
    pen = _SMOOTH @ strokes @ affine.transpose(2, 0, 1)[:, np.newaxis]
    centre = _CHARACTER_SIDE / 2 + 1.65 * hand[:, np.newaxis, 4:]
    pen = centre + pen.reshape(images, -1, 2)
    # Where it would leave the frame, the drawing is shrunk, then moved.
    first, last = 1.5, _CHARACTER_SIDE - 1.5  # a margin wider than half the pen
    shrink = np.minimum(1, (last - first) / np.ptp(pen, axis=1).max(axis=-1))
    pen = pen * shrink[:, np.newaxis, np.newaxis]
    low, high = pen.min(axis=1, keepdims=True), pen.max(axis=1, keepdims=True)
    return pen + np.maximum(first - low, 0) - np.maximum(high - last, 0)


# From control points to points along their curve, [samples, knots]. A quadratic B-spline is the
# polyline through the control points, averaged over one step.
_POSITIONS = np.linspace(0, _KNOTS - 1, 60)[:, np.newaxis] + np.linspace(-0.5, 0.5, 11)
_POSITIONS = np.clip(_POSITIONS, 0, _KNOTS - 1)[..., np.newaxis]
_SMOOTH = np.maximum(0, 1 - np.abs(_POSITIONS - np.arange(_KNOTS))).mean(axis=1)


class _Motif(NamedTuple):
    """The common properties of the images of one class of textures."""

    lobes: float  # number of bulges of the outline
    bulge: float  # their height as a share of the radius
    waves: np.ndarray  # [2, 4] float32; phase of two waves per unit of x, y, radius and angle
    hues: np.ndarray  # [2] of the two colours, in turns
    lights: np.ndarray  # [2] of the two colours, mean of red, green and blue in 0 to 1


def textures(seed: int, classes: int, images: int) -> np.ndarray:
    """Return colour pictures in which a class is a motif: an outline filled with a pattern.

    Its place, size, rotation, hue and lighting vary from image to image, and so do the backdrop
    and the clutter, which are motifs of no class and so have the same statistics.

    Returns:
        uint8 [classes, images, 84, 84, 3], RGB.
    """
    pictures = np.empty((classes, images, _TEXTURE_SIDE, _TEXTURE_SIDE, 3), np.uint8)
    for c in range(classes):
        motif = _motif(np.random.default_rng([seed, _TEXTURES, c]))
        # From 1 on, since a trailing zero does not change a seed.
        rngs = [np.random.default_rng([seed, _TEXTURES, c, i]) for i in range(1, images + 1)]
        pictures[c] = np.stack([_picture(rng, motif) for rng in rngs])
    return pictures


def _motif(rng: np.random.Generator) -> _Motif:
    """Return a new motif: stripes, rings, spokes and what comes of multiplying them."""
    waves = np.zeros((2, 4), np.float32)
    waves[:, :2] = rng.normal(0, 7, (2, 2))
    waves[:, 2] = rng.normal(0, 7, 2) * (rng.random(2) < 0.4)
    waves[:, 3] = rng.integers(-4, 5, 2)
    return _Motif(
        lobes=float(rng.integers(2, 7)),
        bulge=rng.uniform(0, 0.5),
        waves=waves,
        hues=rng.random(2),
        lights=rng.uniform(0.2, 0.8, 2),
    )


_GRID = np.mgrid[-1 : 1 : _TEXTURE_SIDE * 1j, -1 : 1 : _TEXTURE_SIDE * 1j].astype(np.float32)


def _picture(rng: np.random.Generator, motif: _Motif) -> np.ndarray:
    """Return a picture, uint8 [side, side, 3], of a motif before a backdrop, among clutter."""
    picture = np.zeros((3, _TEXTURE_SIDE, _TEXTURE_SIDE), np.float32)
    for layer, size in [(_motif(rng), 4), (_motif(rng), 0.4), (_motif(rng), 0.4), (motif, 0.7)]:
        _paste(rng, picture, layer, size)
    light = rng.normal(0, 0.1, 3).astype(np.float32)  # everywhere, from above, from the right
    picture += light[0] + np.tensordot(light[1:], _GRID, 1)
    picture += 0.12 * (rng.random(picture.shape, np.float32) - 0.5)
    return (255 * np.clip(picture, 0, 1)).astype(np.uint8).transpose(1, 2, 0)


def _paste(rng: np.random.Generator, picture: np.ndarray, motif: _Motif, size: float) -> None:
    """Paint a motif of about the given radius, where 1 is half a side, over part of a picture."""
    size = float(size * np.exp(rng.normal(0, 0.25)))
    place = rng.uniform(-0.5, 0.5, (2, 1, 1)).astype(np.float32)
    turn = rng.normal(0, 0.45)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]], np.float32)
    y, x = np.tensordot(rotation / size, _GRID - place, 1)
    radius, angle = np.sqrt(x * x + y * y), np.arctan2(y, x)
    outline = 1 + motif.bulge * np.cos(motif.lobes * angle)
    inside = np.clip(20 * size * (outline - radius), 0, 1)
    waves = np.sin(np.tensordot(motif.waves, np.stack([x, y, radius, angle]), 1))
    tone = np.clip(0.5 + 2 * waves[0] * waves[1], 0, 1)
    hues = motif.hues + rng.normal(0, 0.08)
    colours = motif.lights + 0.25 * np.cos(2 * np.pi * (hues - np.arange(3)[:, np.newaxis] / 3))
    first, second = colours.astype(np.float32).T[:, :, np.newaxis, np.newaxis]
    picture += inside * (first + tone * (second - first) - picture)
