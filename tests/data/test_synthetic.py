"""The generated data sets: form, reproducibility, and difficulty next to the real characters.

The figures called real were measured with the functions of this file on the whole of Omniglot at
28 by 28 (nearest neighbour).
"""

import numpy as np
import pytest

from supervised_reptile.data.synthetic import characters, textures


@pytest.fixture(scope="module")
def drawn():
    return characters(0, 400)


def few_shot_accuracy(features: np.ndarray, shots: int) -> float:
    """Return the percentage of queries that are nearest to the mean support of their class.

    400 tasks of 5 ways, 5 queries each; ``features`` is [classes, images, ...].
    """
    features = features.reshape(*features.shape[:2], -1).astype(np.float32)
    rng = np.random.default_rng(0)
    correct = []
    for _ in range(400):
        classes = rng.choice(len(features), (5, 1), replace=False)
        images = rng.permutation(features.shape[1])
        support = features[classes, images[:shots]].mean(axis=1)
        query = features[classes, images[shots : shots + 5]]
        distance = np.square(query[:, :, np.newaxis] - support).sum(axis=-1)  # [class, query, way]
        correct.append(distance.argmin(axis=-1) == np.arange(5)[:, np.newaxis])
    return 100 * np.mean(correct)


def ink(images: np.ndarray) -> np.ndarray:
    """Return float32 [classes, images, 28, 28] with 1 for ink and 0 for paper."""
    return (images[..., 0] == 0).astype(np.float32)


def centred_and_coarse(images: np.ndarray) -> np.ndarray:
    """Return the ink, moved until its centroid is in the middle, as means of 4 by 4 pixels."""
    drawings = ink(images).reshape(-1, 28, 28)
    centred = [np.roll(d, 14 - np.argwhere(d).mean(axis=0).astype(int), (0, 1)) for d in drawings]
    coarse = np.reshape(centred, (-1, 7, 4, 7, 4)).mean(axis=(2, 4))
    return coarse.reshape(*images.shape[:2], 49)


def test_characters_have_omniglots_form():
    images = characters(0)
    assert images.shape == (1623, 20, 28, 28, 1)
    assert images.dtype == np.uint8
    assert set(np.unique(images)) == {0, 255}


@pytest.mark.parametrize("generate", [characters, textures])
def test_a_seed_determines_the_images(generate):
    np.testing.assert_array_equal(generate(3, 4, 5), generate(3, 4, 5))


@pytest.mark.parametrize("generate", [characters, textures])
def test_a_smaller_set_is_the_beginning_of_a_larger_one(generate):
    np.testing.assert_array_equal(generate(3, 2, 3), generate(3, 4, 5)[:2, :3])


@pytest.mark.parametrize("generate", [characters, textures])
def test_no_two_images_of_any_seed_or_class_are_equal(generate):
    images = np.concatenate([generate(seed, 10, 10) for seed in (0, 1, 2)])
    distinct = {image.tobytes() for image in images.reshape(300, -1)}
    assert len(distinct) == 300


def test_characters_have_about_as_much_ink_as_real_ones(drawn):
    share = 100 * ink(drawn).mean(axis=(2, 3))
    assert share.mean() == pytest.approx(8.0, abs=1)  # real: 8.0
    assert 1 < share.min() < share.max() < 30  # real: 0.1 to 22


def test_characters_are_about_as_hard_as_real_ones(drawn):
    coarse = centred_and_coarse(drawn)
    assert few_shot_accuracy(ink(drawn), shots=1) == pytest.approx(37, abs=7)  # real: 37
    assert few_shot_accuracy(coarse, shots=1) == pytest.approx(73, abs=6)  # real: 73
    assert few_shot_accuracy(coarse, shots=5) == pytest.approx(90, abs=5)  # real: 90
