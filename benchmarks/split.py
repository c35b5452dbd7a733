"""How much the accuracy of a model depends on which characters are the test characters.

    python benchmarks/split.py [--checkpoint experiments/models/o120] [--tasks 2500]

Evaluates on test tasks, and prints the accuracy and the standard deviation that it would have over
random choices of as many of all 1,623 characters, without that of drawing tasks. An error belongs
to two characters: the one of the query and the one that it is taken for. So a set's error is, to
first order, the mean over its characters of both rates together, which differ from character to
character; the covariance of two halves of the tasks says by how much (the first term of Hoeffding's
decomposition). That other characters would be left for training is not in it.
"""

import argparse
import pathlib

import numpy as np

from supervised_reptile.devices.choice import quiet

with quiet():
    import tensorflow as tf

from supervised_reptile import plan
from supervised_reptile.data import omniglot
from supervised_reptile.fetch.omniglot import CHARACTERS
from supervised_reptile.learning import evaluation, models, sampling
from supervised_reptile.learning.reptile import Reptile
from supervised_reptile.learning.sampling import Population, Purpose
from supervised_reptile.runs import checkpoints

HALVES = 20  # ways of halving the tasks, to average over


def main():
    """Print a line for each kind of prediction."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkpoint", type=pathlib.Path, default="experiments/models/o120")
    parser.add_argument("--tasks", type=int, default=2500)
    asked = parser.parse_args()
    # Passes that end with one query each say which class it is of.
    flags = {"checkpoint": asked.checkpoint, "transductive": False}
    saved = plan.saved_model("omniglot", flags)
    own = saved.recorded
    images, _ = omniglot.load(saved.config.run, own.config.run.seed, own.split)
    population = Population.of(images, "test")
    tasks, guesses = evaluate(saved, population, tf.constant(images.pixels), asked.tasks)
    for name, found in guesses.items():
        right = np.mean(found == np.arange(found.shape[1]))
        deviation = 100 * of_split(tasks, found, len(population.counts))
        print(f"{name}: accuracy {100 * right:.2f} %, split ± {deviation:.2f} points")


def evaluate(saved, population, pixels, count):
    """The classes of tasks, int [tasks, ways], and by name what their queries are taken for."""

    def draw(index):
        return sampling.evaluation_tasks(saved.config, population, Purpose.FINAL_TEST, [index])

    reptile = Reptile(models.OMNIGLOT, saved.config)
    state = checkpoints.restore(saved.prefix, models.OMNIGLOT, saved.config)
    found = list(evaluation.guesses(reptile, state, pixels, draw, range(count), only_finite=True))
    queries = np.concatenate([draw(index).queries[:, :, -1] for index in range(count)])
    tasks = np.searchsorted(population.first, queries, "right") - 1
    names = ("reported", "transductive")
    return tasks, {name: np.stack([getattr(one, name) for one in found]) for name in names}


def of_split(tasks, guesses, classes):
    """The standard deviation of the accuracy over random choices of so many characters."""
    order = np.random.default_rng(0)
    covariances = []
    for _ in range(HALVES):
        first, second = np.array_split(order.permutation(len(tasks)), 2)
        halves = [rates(tasks[half], guesses[half], classes) for half in (first, second)]
        covariances.append(np.cov(*halves)[0, 1])
    return np.sqrt(np.mean(covariances) / classes * (1 - classes / CHARACTERS))


def rates(tasks, guesses, classes):
    """Of each class, how often it is mistaken, and another for it, per task that it is in."""
    wrong = guesses != np.arange(tasks.shape[1])
    taken_for = np.take_along_axis(tasks, guesses, axis=1)
    errors = np.bincount(tasks[wrong], minlength=classes)
    errors = errors + np.bincount(taken_for[wrong], minlength=classes)
    return errors / np.maximum(np.bincount(tasks.ravel(), minlength=classes), 1)


if __name__ == "__main__":
    main()
