"""The training run: schedule, evaluation along the way, checkpoints."""

import functools
import os
import time
import typing
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from supervised_reptile.args import Config, OuterLoop
from supervised_reptile.data.image_set import ImageSet
from supervised_reptile.learning import evaluation, sampling
from supervised_reptile.learning.reptile import Guesses, Reptile, tree_map
from supervised_reptile.learning.sampling import EvaluationTasks, Population, Purpose, TrainingTasks
from supervised_reptile.learning.state import State, is_finite
from supervised_reptile.runs import checkpoints, record
from supervised_reptile.runs.progress import Progress
from supervised_reptile.system import signals
from supervised_reptile.system.errors import FailedError

ITERATIONS_AT_ONCE = 10
SECONDS_UNSAVED = 600  # on a slow machine, a kill would cost hours
SECONDS_AT_ONCE = 1  # so that a signal is heeded soon
STOPPING = "Stopping: this step is finished and saved first (again: leave at once, without saving)"


class Trained(typing.NamedTuple):
    """A State to evaluate.

    iteration: its last meta-iteration, None if it is untrained or that is not known. seconds: how
    long its training took, None where that is not known. assumed: flags of its training and
    evaluation that nobody has given or recorded, by name.
    """

    state: State
    iteration: int | None
    seconds: float | None = None
    assumed: Sequence[str] = ()


def step_size(outer: OuterLoop, iteration: int) -> float:
    """The outer step size, linear from the first meta-iteration to the (never reached) n-th."""
    done = iteration / outer.meta_iters
    return done * outer.meta_step_final + (1 - done) * outer.meta_step


def train(
    reptile: Reptile,
    state: State,
    images: ImageSet,
    pixels: tf.Tensor,
    done: int = 0,
    folder: os.PathLike | None = None,
) -> Trained:
    """Train from a State until the last meta-iteration.

    pixels: those of the images, as tensors. done: meta-iterations already done. folder: of the run,
    where it is not what --checkpoint says.
    Raises Interrupted when told to stop, after saving a checkpoint, and FailedError when
    standard output is closed, or when numbers stop being finite.
    """
    config, last = reptile.config, done - 1
    total, folder = config.outer.meta_iters, folder or Path(config.run.checkpoint)
    seconds = clock(record.training_seconds(folder, started=done > 0))

    def save() -> None:
        progress.sync()  # first, since points after a checkpoint are cut off
        record.keep_training_seconds(folder, seconds())
        checkpoints.save(folder, last, state, config.run.keep_checkpoints)

    with Progress(config, images, done, folder) as progress:
        if done < total:
            compile_ahead(reptile, state, images, pixels)
            record.add_part(folder, record.part(reptile.devices.describe()))
            at_once, chunk, saved = 1, drawn(config, images, done, 1), time.monotonic()
        with signals.deferred(STOPPING, lambda: lost(folder)) as pending:
            while done < total and not pending.number and not progress.closed:
                begin, last = time.perf_counter(), chunk.iterations[-1]
                after, loss = reptile.train(
                    state, pixels, chunk.tasks, chunk.sizes, len(chunk.iterations)
                )
                done = last + 1
                following = drawn(config, images, done, at_once)  # while a GPU is at work
                check_finite(reptile, state, pixels, chunk, after)
                at_once = affordable(len(chunk.iterations), time.perf_counter() - begin)
                state, chunk = after, following
                progress.advance(done)
                if last % config.evaluation.eval_interval == 0:
                    accuracy = evaluate_interval(reptile, state, images, pixels, last)
                    progress.report(last, accuracy, step_size(config.outer, last), float(loss))
                due = last % config.run.checkpoint_interval == 0 or last == total - 1
                if due or time.monotonic() - saved > SECONDS_UNSAVED:
                    save()
                    saved = time.monotonic()
            if done and (pending.number or progress.closed):
                save()
    outcome = f"saved as {folder}/model.ckpt-{last}" if done else ""
    if pending.number:
        raise signals.Interrupted(pending.number, outcome)
    if progress.closed:
        raise FailedError(f"standard output was closed; {outcome}; continue with --resume")
    return Trained(state, config.outer.last, seconds())


def compile_ahead(reptile: Reptile, state: State, images: ImageSet, pixels: tf.Tensor) -> None:
    """Compile what training calls, while there is nothing to lose: a signal need not wait."""
    first = drawn(reptile.config, images, 0, 1)
    evaluation.interruptible(
        # The compiled call takes the number of meta-iterations: none are made.
        functools.partial(reptile.train, state, pixels, first.tasks, first.sizes, 0),
        functools.partial(evaluate_interval, reptile, state, images, pixels, 0),
    )


def lost(folder: os.PathLike) -> str:
    """What is said of a run that leaves without saving."""
    numbers = record.checkpoints(folder)
    rest = f"after model.ckpt-{numbers[-1]} is lost" if numbers else "is lost"
    return f"Left without saving: what was trained {rest}"


def clock(earlier: float | None) -> Callable[[], float | None]:
    """What tells for how many seconds a run has been trained, from those of its earlier part on;
    None if these are not known."""
    begun = time.monotonic()
    return lambda: None if earlier is None else earlier + time.monotonic() - begun


def next_stop(config: Config, done: int, at_once: int) -> int:
    """The last meta-iteration of the next compiled call, at which something may be due."""
    due = (config.evaluation.eval_interval, config.run.checkpoint_interval)
    stops = [-(-done // interval) * interval for interval in due]
    return min(*stops, done + at_once - 1, config.outer.meta_iters - 1)


def affordable(count: int, seconds: float) -> int:
    """How many meta-iterations the next call has time for, if so many took so long."""
    return max(1, min(ITERATIONS_AT_ONCE, int(SECONDS_AT_ONCE * count / seconds)))


class Chunk(typing.NamedTuple):
    """The meta-iterations of a compiled call. tasks, sizes: see `inputs`."""

    iterations: range
    tasks: TrainingTasks
    sizes: np.ndarray


def drawn(config: Config, images: ImageSet, done: int, at_once: int) -> Chunk:
    """The next Chunk, of no meta-iterations after the last."""
    iterations = range(done, next_stop(config, done, at_once) + 1)
    return Chunk(iterations, *inputs(config, images, iterations or range(1)))


def check_finite(
    reptile: Reptile, before: State, pixels: tf.Tensor, chunk: Chunk, after: State
) -> None:
    """Raise FailedError if the State that a Chunk led to is not finite, naming where it began."""
    if is_finite(after):
        return
    train = functools.partial(reptile.train, before, pixels, chunk.tasks, chunk.sizes)
    last = len(chunk.iterations) - 1
    broken = next(n for n in range(last + 1) if n == last or not is_finite(train(n + 1).state))
    raise FailedError(
        "parameters or second moments are no longer finite after meta-iteration "
        f"{chunk.iterations[broken]} (outer step size {chunk.sizes[broken]:g}, inner "
        f"{reptile.config.inner.learning_rate:g}): start another run with a smaller "
        "--learning-rate or --meta-step; checkpoints of this one are finite"
    )


def inputs(config: Config, images: ImageSet, iterations: range) -> tuple[TrainingTasks, np.ndarray]:
    """Tasks and step sizes of meta-iterations, as the compiled call takes them.

    The arrays are filled up with zeros to the length that they always have.
    """
    tasks = sampling.training_tasks(config, Population.of(images, "train"), iterations)
    sizes = np.array([step_size(config.outer, i) for i in iterations], np.float32)
    missing = ITERATIONS_AT_ONCE - len(iterations)

    def fill(array: np.ndarray) -> np.ndarray:
        return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))

    return tree_map(fill, tasks), fill(sizes)


def evaluate_interval(
    reptile: Reptile, state: State, images: ImageSet, pixels: tf.Tensor, iteration: int
) -> dict[str, float]:
    """Accuracy on one task of each split, by split."""
    guesses = guess_interval(reptile, state, images, pixels, iteration)
    return {
        split: evaluation.correct(found.reported) / len(found.reported)
        for split, found in guesses.items()
    }


def guess_interval(
    reptile: Reptile, state: State, images: ImageSet, pixels: tf.Tensor, iteration: int
) -> dict[str, Guesses]:
    """The Guesses of one task of each split, by split."""

    def draw(split: str) -> EvaluationTasks:
        purpose = Purpose[f"INTERVAL_{split.upper()}"]
        population = Population.of(images, split)
        return sampling.evaluation_tasks(reptile.config, population, purpose, [iteration])

    splits = list(images.splits)
    found = evaluation.guesses(reptile, state, pixels, draw, splits)
    return dict(zip(splits, found, strict=True))
