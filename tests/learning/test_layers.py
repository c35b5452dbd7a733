"""All ways to convolve compute the same."""

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile.learning import layers


def with_gradients(function, x, kernel, weights):
    with tf.GradientTape() as tape:
        tape.watch((x, kernel))
        y = function(x, kernel)
        total = tf.reduce_sum(y * weights)
    return y, *tape.gradient(total, (x, kernel))


@pytest.mark.parametrize(("stride", "direct"), [(1, False), (1, True), (2, False), (2, True)])
@pytest.mark.parametrize("size", [5, 6])
def test_convolutions_agree_with_float64(stride, direct, size):
    """Two tasks, beside TensorFlow's own convolution in float64."""
    generator = np.random.default_rng(0)
    outputs = -(-size // stride)
    shapes = [(2, 3, size, size, 4), (2, 3, 3, 4, 5), (2, 3, outputs, outputs, 5)]
    arrays = [generator.normal(size=shape) for shape in shapes]
    found = with_gradients(
        lambda x, kernel: layers.convolve(x, kernel, stride, direct),
        *(tf.constant(array, tf.float32) for array in arrays),
    )
    for task in range(2):
        own = [tf.constant(array[task]) for array in arrays]
        expected = with_gradients(lambda x, k: tf.nn.conv2d(x, k, stride, "SAME"), *own)
        for one, other in zip(found, expected):
            np.testing.assert_allclose(one[task], other, rtol=0, atol=2e-5)
