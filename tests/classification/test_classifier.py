"""Classifying, compared with a plain loop in TensorFlow's operations, with automatic gradients."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.classification import classifier as classifiers
from supervised_reptile.classification.classifier import Classifier
from supervised_reptile.learning import models
from supervised_reptile.learning.reptile import Reptile
from supervised_reptile.learning.sampling import Draws, Purpose, batches_of
from supervised_reptile.learning.state import State

SMALL = dataclasses.replace(models.OMNIGLOT, size=12, filters=4)
LABELS = np.array([0, 0, 0, 1, 2, 2])
STEPS, BATCH, RATE = 4, 4, 0.01


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (11, 12, 12, 1), np.uint8)


def classifier(**flags):
    """Of a network for five classes, and its parameters."""
    given = {"classes": 5, "eval_iters": STEPS, "eval_batch": BATCH, "learning_rate": RATE}
    config = Config.of("omniglot", {**given, "pretrained": True, **flags})
    state = Reptile(SMALL, config).new_state()
    if not config.inner.sgd:
        moments = {name: tf.fill(value.shape, 0.5) for name, value in state.parameters.items()}
        state = State(state.parameters, moments, tf.constant(0.9))
    return Classifier(SMALL, config, state), state


def network(parameters, pixels):
    """Logits, by TensorFlow's own convolution and batch norm."""
    x = tf.cast(pixels, tf.float32) / 255
    for block in range(4):
        convolution, norm = models.layer_names(block)
        x = tf.nn.conv2d(x, parameters[f"{convolution}/kernel"], 2, "SAME")
        mean, variance = tf.nn.moments(x, [0, 1, 2])
        gamma, beta = parameters[f"{norm}/gamma"], parameters[f"{norm}/beta"]
        x = tf.nn.relu(tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3))
    return tf.reshape(x, [len(x), -1]) @ parameters["dense/kernel"] + parameters["dense/bias"]


def plain(state, images, repeat, seed, sgd):
    """Probabilities [queries, 3]: outputs 3 and 4 are left out of every sum over classes."""
    order = batches_of(
        np.arange(6)[None, None],
        LABELS,
        STEPS,
        BATCH,
        False,
        Draws(seed, Purpose.CLASSIFYING, [repeat]),
    )
    values = {name: tf.Variable(value) for name, value in state.parameters.items()}
    moments, power = dict(state.second_moments), 0.9
    for rows, labels in zip(order.indices[0, 0], order.labels[0, 0]):
        assert (LABELS[rows] == labels).all()
        with tf.GradientTape() as tape:
            scores = network(values, images[rows])[:, :3]
            loss = -tf.reduce_sum(tf.nn.log_softmax(scores) * tf.one_hot(labels, 3))
        for name, gradient in zip(values, tape.gradient(loss, list(values.values()))):
            gradient = tf.zeros_like(values[name]) if gradient is None else gradient
            if sgd:
                values[name].assign_sub(RATE * gradient)
                continue
            moments[name] = 0.999 * moments[name] + 0.001 * gradient**2
            step = RATE * np.sqrt(1 - power)
            values[name].assign_sub(step * gradient / (tf.sqrt(moments[name]) + 1e-8))
        power *= 0.999
    beside = [np.concatenate([images[:6], images[query : query + 1]]) for query in range(6, 11)]
    one_by_one = [tf.nn.softmax(network(values, batch)[-1, :3]) for batch in beside]
    return np.stack(one_by_one), tf.nn.softmax(network(values, images[6:])[:, :3]).numpy()


@pytest.mark.parametrize("sgd", [pytest.param(True, marks=pytest.mark.slow), False])
@pytest.mark.parametrize("transductive", [True, False])
def test_it_is_a_plain_loop_whose_spare_outputs_take_no_part(images, sgd, transductive):
    found, state = classifier(sgd=sgd, transductive=transductive, seed=3)
    given = found.probabilities(images[:6], LABELS, images[6:], repeats=2)
    for repeat, probabilities in enumerate(given):
        expected = plain(state, images, repeat, 3, sgd)[transductive]
        assert probabilities.shape == (5, 3)
        np.testing.assert_allclose(probabilities, expected, rtol=0, atol=2e-5)
    assert repeat == 1


@pytest.mark.slow
def test_how_many_queries_a_call_answers_changes_nothing(images, monkeypatch):
    found, _ = classifier()
    (together,) = found.probabilities(images[:6], LABELS, images[6:])
    monkeypatch.setattr(classifiers, "AT_ONCE", 2)
    (in_parts,) = found.probabilities(images[:6], LABELS, images[6:])
    np.testing.assert_allclose(in_parts, together, rtol=0, atol=1e-6)
