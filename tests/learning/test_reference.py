"""The real machinery beside a slow, plain float64 program written from the specification.

Three meta-iterations of FOML with a separate tail, Adam and weight decay go through the training
run itself: samplers, schedule, interval evaluation, checkpoint. The program below draws the same
random numbers, but assembles mini-batches, computes and evaluates on its own: one image list, one
variable and one step at a time.
"""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.learning import models, reptile
from supervised_reptile.learning.sampling import Draws, Population, Purpose, draw_images
from supervised_reptile.runs import checkpoints, final_evaluation, training

FLAGS = dict(
    classes=3,
    shots=2,
    train_shots=5,
    inner_batch=4,
    inner_iters=4,
    learning_rate=0.002,
    weight_decay=0.99,
    meta_step=1.0,
    meta_step_final=0.25,
    meta_batch=2,
    meta_iters=3,
    eval_batch=4,
    eval_iters=4,
    eval_interval=1,
    eval_samples=3,
    foml=True,
    foml_tail=2,
    seed=5,
)


class PlainLearner:
    """The specification, step by step, in float64."""

    def __init__(self, parameters):
        self.theta = {name: np.float64(value) for name, value in parameters.items()}
        self.v = {name: np.zeros_like(value) for name, value in self.theta.items()}
        self.t = 0

    def logits(self, theta, x):
        for block in range(4):
            suffix = f"_{block}" if block else ""
            x = tf.nn.conv2d(x, theta[f"conv2d{suffix}/kernel"], 2, "SAME")
            x += theta[f"conv2d{suffix}/bias"]
            mean, variance = tf.nn.moments(x, [0, 1, 2])
            x = (x - mean) / tf.sqrt(variance + 1e-3)
            norm = f"batch_normalization{suffix}"
            x = tf.nn.relu(x * theta[f"{norm}/gamma"] + theta[f"{norm}/beta"])
        return tf.reshape(x, [len(x), -1]) @ theta["dense/kernel"] + theta["dense/bias"]

    def step(self, images, labels):
        theta = {name: tf.constant(0.99 * value) for name, value in self.theta.items()}
        with tf.GradientTape() as tape:
            tape.watch(theta)
            log_softmax = tf.nn.log_softmax(self.logits(theta, images))
            loss = -sum(log_softmax[index, label] for index, label in enumerate(labels))
        gradients = tape.gradient(loss, theta)
        # True gradients of the biases before batch norm are zero; so they are here.
        g = {
            name: 0 * value if name.startswith("conv") and "bias" in name else value.numpy()
            for name, value in gradients.items()
        }
        self.t += 1
        factor = 0.002 * np.sqrt(1 - 0.999**self.t)
        self.v = {name: 0.999 * self.v[name] + 0.001 * g[name] ** 2 for name in g}
        self.theta = {
            name: value.numpy() - factor * g[name] / (np.sqrt(self.v[name]) + 1e-8)
            for name, value in theta.items()
        }


def walk(uniform, size, steps, batch):
    """Mini-batches as positions in the set: shuffle, fill batches, shuffle again at the end."""
    batches, current, shuffles = [], [], iter(uniform)
    while True:
        numbers = next(shuffles)
        for position in sorted(range(size), key=lambda p: numbers[p]):
            current.append(position)
            if len(current) == batch:
                batches.append(current)
                current = []
            if len(batches) == steps:
                return batches


def plain_training(learner, images):
    """Yields, after each meta-iteration, the accuracy on train and test."""
    pixels = images.pixels / 255.0
    for i in range(3):
        epsilon = (i / 3) * 0.25 + (1 - i / 3) * 1.0
        draws = Draws(5, Purpose.TRAINING, [i])
        tasks = draw_images(Population.of(images, "train"), 2, 3, 5, draws)[0]
        shuffles = draws.uniform(2, 2, 9)[0]  # 3 steps of 4 from 9 images: two passes
        start, moves = learner.theta, []
        for indices, uniform in zip(tasks, shuffles):
            learner.theta = start
            rest, tail = indices[:, :3].ravel(), indices[:, 3:].ravel()
            for batch in walk(uniform, 9, 3, 4):
                learner.step(pixels[rest[batch]], [position // 3 for position in batch])
            before = learner.theta
            learner.step(pixels[tail], [0, 0, 1, 1, 2, 2])
            moves.append({name: learner.theta[name] - before[name] for name in before})
        learner.theta = {
            name: value + epsilon * (moves[0][name] + moves[1][name]) / 2
            for name, value in start.items()
        }
        yield [plain_accuracy(learner, images, pixels, split, i) for split in images.splits]


def plain_accuracy(learner, images, pixels, split, i):
    """Accuracy on the interval evaluation's one task, non-transductive."""
    draws = Draws(5, Purpose[f"INTERVAL_{split.upper()}"], [i])
    indices = draw_images(Population.of(images, split), 1, 3, 3, draws)[0, 0]
    support, queries = indices[:, :2].ravel(), indices[:, 2]
    saved = learner.theta, learner.v, learner.t
    for batch in walk(draws.uniform(1, 3, 6)[0, 0], 6, 4, 4):
        learner.step(pixels[support[batch]], [position // 2 for position in batch])
    right = 0
    for label, query in enumerate(queries):
        logits = learner.logits(learner.theta, pixels[[*support, query]])
        right += int(np.argmax(logits[-1]) == label)
    learner.theta, learner.v, learner.t = saved
    return right / 3


@pytest.fixture(scope="module")
def algorithm():
    """Compiled once for this module, with fewer filters."""
    model = dataclasses.replace(models.OMNIGLOT, filters=16)
    return reptile.Reptile(model, Config.of("omniglot", FLAGS))


def test_training_run_agrees_with_the_plain_program(algorithm, image_set, tmp_path, capsys):
    images = image_set({"train": 8, "test": 5}, shots=7)
    config = Config.of("omniglot", {**FLAGS, "checkpoint": str(tmp_path)})
    algorithm.config = config
    state = algorithm.new_state()
    start = {name: value.numpy() for name, value in state.parameters.items()}
    plain = PlainLearner(start)
    lines = [
        f"batch {i}: train={seen:f} test={unseen:f}"
        for i, (seen, unseen) in enumerate(plain_training(plain, images))
    ]

    training.train(algorithm, state, images, tf.constant(images.pixels))

    assert capsys.readouterr().out.splitlines() == lines
    saved = checkpoints.restore(tmp_path / "model.ckpt-2", algorithm.model, config)
    moved = np.sqrt(sum(np.sum((plain.theta[n] - start[n]) ** 2) for n in start))
    error = np.sqrt(sum(np.sum((plain.theta[n] - saved.parameters[n].numpy()) ** 2) for n in start))
    assert error / moved < 1e-3
    for name in start:
        difference = np.linalg.norm(plain.v[name] - saved.second_moments[name].numpy())
        assert difference <= 1e-3 * np.linalg.norm(plain.v[name]), name
    np.testing.assert_allclose(saved.beta2_power, 0.999 ** (plain.t + 1), rtol=1e-5)


def test_the_final_report_agrees_with_the_plain_program(algorithm, image_set):
    images = image_set({"train": 8, "test": 5}, shots=7)
    state = algorithm.new_state()
    plain = PlainLearner({name: value.numpy() for name, value in state.parameters.items()})
    population = Population.of(images, "test")
    found = final_evaluation.evaluate(
        algorithm, state, tf.constant(images.pixels), population, Purpose.INTERVAL_TEST
    )
    expected = [plain_accuracy(plain, images, images.pixels / 255.0, "test", i) for i in range(3)]
    assert found.reported.mean == pytest.approx(np.mean(expected))
