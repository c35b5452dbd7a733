"""Classifying, compared with a plain loop in TensorFlow's operations, with automatic gradients."""

import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from supervised_reptile.args import Config
from supervised_reptile.classification.classifier import Classifier
from supervised_reptile.data.decoding import Format
from supervised_reptile.learning import models, sampling
from supervised_reptile.learning.reptile import Reptile, tree_map
from supervised_reptile.learning.sampling import Purpose
from supervised_reptile.learning.state import State
from supervised_reptile.system.errors import RefusedError

SMALL = dataclasses.replace(models.OMNIGLOT, format=Format(12, "L"), filters=4)
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


def plain(state, images, repeat, seed, sgd, replacement):
    """Probabilities [queries, 3]: outputs 3 and 4 are left out of every sum over classes."""
    draws = sampling.Draws(seed, Purpose.CLASSIFYING, [repeat])
    order = sampling.batches_of(np.arange(6)[None, None], LABELS, STEPS, BATCH, replacement, draws)
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
    replacement = transductive  # two cases of each
    found, state = classifier(sgd=sgd, transductive=transductive, replacement=replacement, seed=3)
    for repeat in (0, 1):
        adapted = found.adapt(images[:6], LABELS, repeat)
        expected = plain(state, images, repeat, 3, sgd, replacement)[transductive]
        np.testing.assert_allclose(adapted.probabilities(images[6:]), expected, rtol=0, atol=2e-5)


def test_a_test_task_has_the_logits_of_its_evaluation(images, monkeypatch):
    """Given its mini-batches, which an evaluation draws from another stream."""
    found, state = classifier(classes=3, shots=2, seed=5)
    population = sampling.Population(np.array([4, 4, 3]), np.array([0, 4, 8]))
    task = sampling.evaluation_tasks(found.config, population, Purpose.FINAL_TEST, [7])
    support, labels = task.queries[0, 0, :-1], np.repeat(np.arange(3), 2)
    place = np.vectorize({image: index for index, image in enumerate(support)}.get)
    batches = task.batches._replace(indices=place(task.batches.indices).astype(np.int32))
    monkeypatch.setattr(found, "_batches", lambda *given: tree_map(tf.constant, batches))
    logits = found.adapt(images[support], labels).logits(images[task.queries[0, :, -1]])
    expected = Reptile(SMALL, found.config).predict(
        state, tf.constant(images), tree_map(tf.constant, task)
    )
    np.testing.assert_allclose(logits, expected.reported[0], rtol=0, atol=2e-5)


def test_labels_may_be_names_and_images_paths_or_pillows(images, tmp_path):
    found, _ = classifier()
    expected = found.adapt(images[:6], LABELS).logits(images[6:])
    names = np.array(["a", "b", "c"])[LABELS]
    opened = [Image.fromarray(image[..., 0]) for image in images]
    for number, image in enumerate(opened):
        image.save(tmp_path / f"{number:02}.png")
    for given in (sorted(tmp_path.iterdir()), opened, list(images[..., 0])):
        adapted = found.adapt(given[:6], names)
        assert adapted.classes == ["a", "b", "c"]
        assert (adapted.logits(given[6:]) == expected).all()


def test_neither_other_examples_nor_other_questions_are_traced_again(images, monkeypatch, caplog):
    """Nor does TensorFlow warn that they are, however many models there are."""
    traced, logits = [], models.Model.logits

    def counted(model, parameters, pixels):
        traced.append(pixels.shape[2])
        return logits(model, parameters, pixels)

    monkeypatch.setattr(models.Model, "logits", counted)
    for _ in range(6):
        found, _ = classifier()
        for count in (6, 5, 4, 6):
            adapted = found.adapt(images[:count], LABELS[:count])
            adapted.logits(images[6:8]), adapted.logits(images[:1])
    batch = found.config.evaluation.eval_batch
    assert sorted(traced) == sorted([batch, 7, 6, 5] * 6) and not caplog.records


def test_only_models_of_characters_are_said_to_have_an_included_one_for_more_classes(images):
    model, _ = classifier()
    photos = Classifier(SMALL, Config.of("miniimagenet", {"pretrained": True}), None)
    for one, advice in ((model, ": take the included o120, which tells 20 apart"), (photos, "")):
        with pytest.raises(RefusedError, match=f"tells 2 to 5 apart{advice}$"):
            one.adapt(images[:6], range(6))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"labels": LABELS[:5]}, r"6 images, but labels of shape \(5,\): give one label for each"),
        ({"labels": [LABELS] * 6}, r"6 images, but labels of shape \(6, 6\)"),
        ({"labels": [1] * 6}, "the examples have 1 class, but the model in .* tells 2 to 5 apart$"),
        ({"labels": [0, "0", 1, 1, 1, 1]}, "give a name for each image, or a number for each"),
        ({"labels": [0, 0, 1, 1, 1, np.nan]}, "give a name for each image, or a number for each"),
        ({"labels": [0, 0, 1, 1, 1, None]}, "give a name for each image, or a number for each"),
        ({"repeat": 1.5}, "repeat: must be a whole number of at least 0, not 1.5"),
        ({"repeat": -1}, "repeat: must be a whole number of at least 0, not -1"),
        ({"images": [Image.new("L", (0, 9))] * 6}, "6 of the images .*it has no pixels"),
        ({"images": []}, "give a list of one image or more"),
        ({"images": "a.png"}, "give a list of one image or more"),
        ({"images": pathlib.Path("a.png")}, "give a list of one image or more"),
        ({"images": iter(["a.png"] * 6)}, "give a list of one image or more"),
        ({"images": ["a.png"] * 6}, "6 of the images cannot be read: a.png .*No such file"),
        ({"images": np.zeros((6, 12, 12))}, r"float64 of shape \(6, 12, 12\), but .* uint8"),
        ({"images": np.zeros((6, 9, 12), np.uint8)}, r"sees uint8 of shape \(images, 12, 12, 1\)"),
        ({"images": [np.zeros(n, np.uint8) for n in range(1, 7)]}, "the arrays differ in shape"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_line(images, change, reason):
    found, _ = classifier()
    with pytest.raises(RefusedError, match=reason):
        found.adapt(**{"images": images[:6], "labels": LABELS, **change})


def test_mini_batches_of_distinct_examples_need_as_many():
    found, _ = classifier(replacement=True)
    with pytest.raises(RefusedError, match="3 examples, but mini-batches of 4 different ones"):
        found.adapt(np.zeros((3, 12, 12), np.uint8), [0, 1, 2])
