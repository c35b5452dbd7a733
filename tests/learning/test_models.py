"""The networks against TensorFlow's own convolution, pooling and moments, in float64."""

import math

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile.learning import models


def plain_logits(model, parameters, pixels):
    """One batch of one task, with the operations that TensorFlow has for each layer."""
    x = tf.cast(pixels, tf.float64) / 255
    for block in range(4):
        convolution, norm = models.layer_names(block)
        x = tf.nn.conv2d(x, parameters[f"{convolution}/kernel"], model.stride, "SAME")
        x += parameters[f"{convolution}/bias"]
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        gamma, beta = parameters[f"{norm}/gamma"], parameters[f"{norm}/beta"]
        x = tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)
        if model.pooled:
            x = tf.nn.max_pool2d(x, 2, 2, "SAME")
        x = tf.nn.relu(x)
    return tf.reshape(x, [len(x), -1]) @ parameters["dense/kernel"] + parameters["dense/bias"]


@pytest.fixture(params=list(models.MODELS.values()), ids=lambda model: model.name)
def model(request):
    return request.param


@pytest.fixture
def parameters(model):
    """Random values of both signs for every variable, biases, gamma and beta included."""
    generator = np.random.default_rng(1)

    def random(shape):
        return generator.uniform(0.5, 1.5, shape) * generator.choice([-1, 1], shape)

    values = model.initial_parameters(5, generator)
    return {
        name: value if "kernel" in name else random(value.shape) for name, value in values.items()
    }


def float32(parameters):
    return {name: tf.constant(value[None], tf.float32) for name, value in parameters.items()}


def float64(parameters):
    return {name: tf.constant(value, tf.float64) for name, value in parameters.items()}


def images(model, *lead):
    shape = (*lead, model.format.size, model.format.size, model.format.channels)
    # Few levels, so that neighbours are often equal and pooling has ties to break.
    return np.random.default_rng(2).integers(0, 3, shape).astype(np.uint8) * 120


def test_logits_and_gradients_agree_with_plain_layers(model, parameters):
    pixels = images(model, 6)
    weights = np.random.default_rng(3).normal(size=(6, 5))

    def scalar(function, variables, dtype):
        with tf.GradientTape() as tape:
            tape.watch(variables)
            logits = function(variables)
            total = tf.reduce_sum(logits * tf.constant(weights, dtype))
        return logits, tape.gradient(total, variables, unconnected_gradients="zero")

    found, gradients = scalar(
        lambda p: model.logits(p, pixels[None, None])[0, 0], float32(parameters), tf.float32
    )
    expected, references = scalar(
        lambda p: plain_logits(model, p, pixels), float64(parameters), tf.float64
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)
    for name, reference in references.items():
        if name.startswith("conv") and "bias" in name:
            assert np.abs(reference).max() < 1e-9  # They cannot change the output.
            continue
        error = np.linalg.norm(gradients[name][0] - tf.cast(reference, tf.float32))
        assert error < 2e-4 * np.linalg.norm(reference), name


def test_every_batch_is_normalized_by_itself(model, parameters):
    pixels = images(model, 1, 3, 4)
    together = model.logits(float32(parameters), pixels)
    for batch in range(3):
        alone = plain_logits(model, float64(parameters), pixels[0, batch])
        np.testing.assert_allclose(together[0, batch], alone, atol=1e-4)


def test_tasks_have_their_own_parameters(model, parameters):
    other = {name: 1.1 * value for name, value in parameters.items()}
    pixels = images(model, 2, 1, 4)
    both = {
        name: tf.concat([a, float32(other)[name]], 0) for name, a in float32(parameters).items()
    }
    found = model.logits(both, pixels)
    for task, values in enumerate((parameters, other)):
        alone = plain_logits(model, float64(values), pixels[task, 0])
        np.testing.assert_allclose(found[task, 0], alone, atol=1e-4)


def test_initial_values_are_glorot_uniform(model):
    values = model.initial_parameters(5, np.random.default_rng(0))
    for name, value in values.items():
        if "kernel" not in name:
            assert (value == ("gamma" in name)).all(), name
            continue
        field = math.prod(value.shape[:-2])
        limit = math.sqrt(6 / (field * value.shape[-2] + field * value.shape[-1]))
        assert np.abs(value).max() <= limit
        # The standard error of the variance of a uniform sample is sqrt(4/5n) of it.
        tolerance = 5 * math.sqrt(0.8 / value.size)
        assert np.var(value) == pytest.approx(limit**2 / 3, rel=tolerance), name
