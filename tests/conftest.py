"""Small data that many tests share."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

from supervised_reptile import images


@pytest.fixture
def image_set():
    """A function that makes an ImageSet of random pixels."""

    def make(classes, shots, size=28, channels=1, counts=None):
        """classes: number of classes by split. shots: images per class."""
        total = sum(classes.values())
        pixels = np.random.default_rng(0).integers(
            0, 256, (total, shots, size, size, channels), dtype=np.uint8
        )
        return images.ImageSet(
            pixels=pixels,
            names=tuple(f"class{index}" for index in range(total)),
            counts=np.full(total, shots) if counts is None else np.array(counts),
            splits=images.ranges({split: range(n) for split, n in classes.items()}),
        )

    return make
