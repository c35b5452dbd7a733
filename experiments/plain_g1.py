"""Curve g1 of section 6.2 without this program: Keras layers, automatic gradients, its own draws.

    python experiments/plain_g1.py data/omniglot

Prints the accuracy on test characters along the way, with the figure's 5 inner steps and with 50.
"""

import os
import pathlib
import sys

import numpy as np
import tensorflow as tf
from PIL import Image

ITERATIONS, CLASSES, SHOTS, RATE, META_STEP = 40000, 5, 5, 0.003, 0.25
POINTS = (0, 500, 2000, 5000, 10000, 20000, 30000, 40000)

rng = np.random.default_rng(5)
blocks = [
    layer
    for _ in range(4)
    for layer in (
        tf.keras.layers.Conv2D(64, 3, 2, "same"),
        tf.keras.layers.BatchNormalization(),
        tf.keras.layers.ReLU(),
    )
]
network = tf.keras.Sequential(
    [
        tf.keras.Input((28, 28, 1)),
        *blocks,
        tf.keras.layers.Flatten(),
        tf.keras.layers.Dense(CLASSES),
    ]
)


@tf.function
def logits(images):
    return network(tf.cast(images, tf.float32)[..., None] / 255, training=True)


@tf.function
def sgd_step(images, labels, rate):
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits(images))
        loss = tf.reduce_sum(losses)
    variables = network.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(loss, variables)):
        variable.assign_sub(rate * gradient)


def read(root):
    """uint8 [characters, 20, 28, 28]."""
    folders = sorted(path for path in pathlib.Path(root).glob("[!.]*/*") if path.is_dir())
    return np.stack([[read_image(file) for file in sorted(folder.iterdir())] for folder in folders])


def read_image(file):
    return np.asarray(Image.open(file).resize((28, 28), Image.Resampling.NEAREST).convert("L"))


def draw(characters, images):
    """A task, [classes, images, 28, 28]."""
    chosen = rng.choice(len(characters), CLASSES, replace=False)
    return np.stack([characters[i][rng.choice(20, images, replace=False)] for i in chosen])


def accuracy(characters, tasks, steps):
    """Share of queries that are right, each beside the support images, after so many steps."""
    right, labels = 0, np.repeat(np.arange(CLASSES), SHOTS)
    before = [variable.numpy() for variable in network.trainable_variables]
    for _ in range(tasks):
        task = draw(characters, SHOTS + 1)
        support, queries = task[:, :SHOTS].reshape(-1, 28, 28), task[:, SHOTS]
        for _ in range(steps):
            sgd_step(support, labels, tf.constant(RATE))
        for label, query in enumerate(queries):
            scores = logits(np.concatenate([support, query[None]]))[-1]
            right += int(np.argmax(scores) == label)
        for variable, value in zip(network.trainable_variables, before):
            variable.assign(value)
    return right / tasks / CLASSES


def main():
    drawn = rng.permutation(read(sys.argv[1]))
    train, test = drawn[:1200], drawn[1200:]
    train = np.concatenate([np.rot90(train, turns, (2, 3)) for turns in range(4)])
    labels = np.repeat(np.arange(CLASSES), SHOTS)
    for iteration in range(ITERATIONS + 1):
        if iteration in POINTS:
            found = accuracy(test, 100, 5), accuracy(test, 40, 50)
            print(f"{iteration}: {found[0]:.3f}, with 50 steps {found[1]:.3f}", flush=True)
        # An outer step along the one inner step is a smaller inner step.
        rate = META_STEP * (1 - iteration / ITERATIONS) * RATE
        images = draw(train, SHOTS).reshape(-1, 28, 28)
        sgd_step(images, labels, tf.constant(rate, tf.float32))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
