"""Pixels in a file as a tensor."""

import numpy as np

from supervised_reptile.data import mapping


def test_mapped_images_are_not_copied(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 7, 7, 1), dtype=np.uint8)
    pixels.tofile(tmp_path / "pixels")
    mapped = mapping.map_pixels(tmp_path / "pixels", pixels.shape)
    rows = mapping.as_tensor(mapped)
    np.testing.assert_array_equal(rows, pixels)
    mapped[3] += 1
    np.testing.assert_array_equal(rows, mapped)
    np.testing.assert_array_equal(mapping.as_tensor(mapped[1:]), mapped[1:])
