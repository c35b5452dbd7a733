"""Drawing tasks and mini-batches, as arrays of indices.

Whatever is random is a pure function of (seed, purpose, iteration): a draw never depends on what
was drawn before it. All functions draw for several iterations at once, along the first axis.
Images are named by their index in ``ImageSet.pixels``.
"""

import enum
import typing
from collections.abc import Iterable, Sequence

import numpy as np

from supervised_reptile.args import Config
from supervised_reptile.data.image_set import ImageSet


class Purpose(enum.IntEnum):
    """The purposes of random numbers; each has a stream of its own."""

    INITIAL_VALUES = 0
    TRAINING = 1
    INTERVAL_TRAIN = 2
    INTERVAL_VAL = 3
    INTERVAL_TEST = 4
    FINAL_TRAIN = 5
    FINAL_VAL = 6
    FINAL_TEST = 7
    CLASSIFYING = 8


class Population(typing.NamedTuple):
    """The classes of one split of an ImageSet and their images, to draw from.

    counts: int [classes], images of each class. first: int [classes], the index of its first image.
    """

    counts: np.ndarray
    first: np.ndarray

    @classmethod
    def of(cls, images: ImageSet, split: str) -> "Population":
        """The population of a split of an ImageSet."""
        classes = slice(images.splits[split].start, images.splits[split].stop)
        return cls(images.counts[classes], images.first[classes])


class Batches(typing.NamedTuple):
    """Mini-batches: indices of images and labels, both int32 [..., tasks, steps, batch]."""

    indices: np.ndarray
    labels: np.ndarray


class TrainingTasks(typing.NamedTuple):
    """Tasks to train on. last: for FOML the one mini-batch whose step counts, else ()."""

    batches: Batches
    last: Batches | tuple[()]


class EvaluationTasks(typing.NamedTuple):
    """Tasks of evaluations: what to adapt to, and the queries.

    batches: Batches of the support sets. queries: int32 indices [..., tasks, passes, images] of the
    forward passes; the query images stand at the end of each.
    """

    batches: Batches
    queries: np.ndarray


class Draws:
    """Uniform random numbers for several iterations of one purpose."""

    def __init__(self, seed: int, purpose: Purpose, iterations: Iterable[int]) -> None:
        self._generators = [generator(seed, purpose, iteration) for iteration in iterations]

    def uniform(self, *shape: int) -> np.ndarray:
        """The next numbers in [0, 1), as float64 [iterations, *shape]."""
        return np.stack([source.random(shape) for source in self._generators])


def generator(seed: int, purpose: Purpose, iteration: int = 0) -> np.random.Generator:
    """The random numbers of (seed, purpose, iteration), by a counter-based generator."""
    return np.random.Generator(
        np.random.Philox(key=[seed, int(purpose)], counter=[0, 0, 0, iteration])
    )


def distinct(uniform: np.ndarray, count: int | np.ndarray) -> np.ndarray:
    """Ordered draws without repeats: uniform numbers [..., k] to integers below count [...].

    The j-th draw has count - j values left; skipping the earlier draws in ascending order turns
    its place among those left into its value.
    """
    drawn = np.empty(uniform.shape, np.int64)
    for j in range(uniform.shape[-1]):
        value = (uniform[..., j] * (count - j)).astype(np.int64)
        for earlier in np.moveaxis(np.sort(drawn[..., :j], axis=-1), -1, 0):
            value += value >= earlier
        drawn[..., j] = value
    return drawn


def draw_images(
    population: Population, tasks: int, classes: int, shots: int, draws: Draws
) -> np.ndarray:
    """Indices of the images of tasks: distinct classes, distinct images of each.

    Returns int64 [iterations, tasks, classes, shots].
    """
    chosen = distinct(draws.uniform(tasks, classes), len(population.counts))
    images = distinct(draws.uniform(tasks, classes, shots), population.counts[chosen])
    return population.first[chosen][..., None] + images


def draw_batches(
    images: np.ndarray, steps: int, batch: int, replacement: bool, draws: Draws
) -> Batches:
    """Mini-batches of sets of images.

    images: indices [iterations, tasks, classes, shots]. Without replacement the batches walk
    through shuffles of the set, one after another, and may straddle two of them; with it, every
    batch is a fresh draw of distinct images.
    """
    *lead, classes, shots = images.shape
    labels = np.repeat(np.arange(classes), shots)
    return batches_of(images.reshape(*lead, -1), labels, steps, batch, replacement, draws)


def batches_of(
    images: np.ndarray, labels: np.ndarray, steps: int, batch: int, replacement: bool, draws: Draws
) -> Batches:
    """`draw_batches` of sets whose classes may differ in size.

    images: indices [iterations, tasks, size]. labels: int [size], the class of each.
    """
    iterations, tasks, size = images.shape
    # A uniformly random order is the order of uniform numbers.
    if replacement:
        order = np.argsort(draws.uniform(tasks, steps, size))[..., :batch]
    else:
        passes = -(-steps * batch // size)
        order = np.argsort(draws.uniform(tasks, passes, size))
        order = order.reshape(iterations, tasks, -1)[..., : steps * batch]
    order = order.reshape(iterations, tasks, steps * batch)
    indices = np.take_along_axis(images, order, axis=-1)
    shape = (iterations, tasks, steps, batch)
    return Batches(*(part.reshape(shape).astype(np.int32) for part in (indices, labels[order])))


def training_tasks(
    config: Config, population: Population, iterations: Sequence[int]
) -> TrainingTasks:
    """The meta-batches of the given iterations, as TrainingTasks [iterations, tasks, ...]."""
    task, inner, outer = config.task, config.inner, config.outer
    draws = Draws(config.run.seed, Purpose.TRAINING, iterations)
    images = draw_images(population, outer.meta_batch, task.classes, task.training_shots, draws)
    shots = task.training_shots - (outer.foml_tail or 0)
    steps = inner.inner_iters - bool(outer.foml_tail)
    batches = draw_batches(images[..., :shots], steps, inner.inner_batch, inner.replacement, draws)
    if outer.foml_tail:
        return TrainingTasks(batches, _whole_set(images[..., shots:]))
    if outer.foml:
        return TrainingTasks(
            Batches(*(part[..., :-1, :] for part in batches)),
            Batches(*(part[..., -1:, :] for part in batches)),
        )
    return TrainingTasks(batches, ())


def _whole_set(images: np.ndarray) -> Batches:
    """All images of sets [..., classes, shots] as one mini-batch each."""
    *lead, classes, shots = images.shape
    labels = np.broadcast_to(np.arange(classes)[:, None], images.shape)
    shape = (*lead, 1, classes * shots)
    return Batches(*(part.reshape(shape).astype(np.int32) for part in (images, labels)))


def evaluation_tasks(
    config: Config, population: Population, purpose: Purpose, iterations: Sequence[int]
) -> EvaluationTasks:
    """One evaluation task for each given iteration, as EvaluationTasks [iterations, ...]."""
    task, evaluation = config.task, config.evaluation
    draws = Draws(config.run.seed, purpose, iterations)
    images = draw_images(population, 1, task.classes, task.shots + 1, draws)
    support, queries = images[..., :-1], images[..., -1]
    batches = draw_batches(
        support, evaluation.eval_iters, evaluation.eval_batch, config.inner.replacement, draws
    )
    passes = queries if evaluation.transductive else _beside_support(support, queries)
    return EvaluationTasks(
        Batches(*(part[:, 0] for part in batches)),
        passes.reshape(len(iterations), -1, passes.shape[-1]).astype(np.int32),
    )


def _beside_support(support: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """A pass for each query image [..., classes]: all support images, then that one."""
    *lead, classes, shots = support.shape
    everything = np.broadcast_to(
        support.reshape(*lead, 1, classes * shots), (*lead, classes, classes * shots)
    )
    return np.concatenate([everything, queries[..., None]], axis=-1)
