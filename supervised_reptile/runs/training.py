"""The training run: schedule, progress, evaluation along the way, checkpoints."""

import contextlib
import functools
import os
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from supervised_reptile.args import Config, OuterLoop
from supervised_reptile.data.image_set import ImageSet
from supervised_reptile.learning import evaluation, sampling
from supervised_reptile.learning.reptile import Chunk, Guesses, Reptile, tree_map
from supervised_reptile.learning.sampling import EvaluationTasks, Population, Purpose
from supervised_reptile.learning.state import State, is_finite
from supervised_reptile.runs import checkpoints, record
from supervised_reptile.runs.tensorboard import Events, Overview, scalar
from supervised_reptile.system import output, signals
from supervised_reptile.system.bar import Bar
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


class Progress(contextlib.ExitStack):
    """Printed lines, TensorBoard's curves, a progress bar.

    closed: whether nobody reads the printed lines any more.
    """

    closed = False

    def __init__(self, config: Config, images: ImageSet, done: int, folder: os.PathLike) -> None:
        """done: meta-iterations that were done before. folder: of the run."""
        super().__init__()
        self._overview = Overview(config, images, done - 1, folder)
        self._curves = {split: Events(folder, done - 1, split) for split in images.splits}
        for events in (self._overview, *self._curves.values()):
            self.callback(events.close)
        self._bar = self.enter_context(Bar(config.outer.meta_iters, done, "meta-iterations"))

    def advance(self, done: int) -> None:
        """Show how many meta-iterations are done."""
        self._bar.advance(done)

    def report(
        self, iteration: int, accuracy: Mapping[str, float], step_size: float, loss: float
    ) -> None:
        """Print and log the accuracy by split after a meta-iteration; log the others."""
        line = f"batch {iteration}: train={accuracy['train']:f} test={accuracy['test']:f}"
        self._bar.step_aside()
        try:
            output.say(line)
        except BrokenPipeError:
            self.closed = True
        for split, curve in self._curves.items():
            curve.write(iteration, scalar("accuracy", accuracy[split]))
        self._overview.add(iteration, accuracy, step_size, loss)

    def sync(self) -> None:
        """Wait until all points are on the disk."""
        for events in (self._overview, *self._curves.values()):
            events.sync()


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
            at_once, saved = 1, time.monotonic()
            chunk = draw_chunk(config, images, upcoming(config, done, at_once))
        with signals.deferred(STOPPING, lambda: lost(folder)) as pending:
            while done < total and not pending.number and not progress.closed:
                begin, last = time.perf_counter(), done + chunk.length - 1
                after, loss = reptile.train(state, pixels, chunk)
                # While a GPU is at work:
                following = draw_chunk(config, images, upcoming(config, last + 1, at_once))
                check_finite(reptile, state, pixels, chunk, done, after)
                at_once = affordable(chunk.length, time.perf_counter() - begin)
                state, chunk, done = after, following, last + 1
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
    nothing = draw_chunk(reptile.config, images, range(0))
    # Pieces are compiled when they are first needed: the result of this meta-iteration is dropped.
    chunk = nothing._replace(length=int(reptile.model.in_pieces))
    evaluation.interruptible(
        functools.partial(reptile.train, state, pixels, chunk),
        functools.partial(evaluate_interval, reptile, state, images, pixels, 0),
    )


def lost(folder: os.PathLike) -> str:
    """The message of a run that leaves without saving."""
    numbers = record.checkpoints(folder)
    rest = f"after model.ckpt-{numbers[-1]} is lost" if numbers else "is lost"
    return f"Left without saving: what was trained {rest}"


def clock(earlier: float | None) -> Callable[[], float | None]:
    """A function that returns the seconds of training so far, or None if an earlier part did not
    record its own."""
    begun = time.monotonic()
    return lambda: None if earlier is None else earlier + time.monotonic() - begun


def upcoming(config: Config, done: int, at_once: int) -> range:
    """The meta-iterations of the next compiled call: none after one at which something is due."""
    due = (config.evaluation.eval_interval, config.run.checkpoint_interval)
    stops = [-(-done // interval) * interval + 1 for interval in due]
    return range(done, min(*stops, done + at_once, config.outer.meta_iters))


def affordable(count: int, seconds: float) -> int:
    """How many meta-iterations the next call has time for, if so many took so long."""
    return max(1, min(ITERATIONS_AT_ONCE, int(SECONDS_AT_ONCE * count / seconds)))


def draw_chunk(config: Config, images: ImageSet, iterations: range) -> Chunk:
    """The Chunk of some meta-iterations. Its arrays are filled up with zeros."""
    drawn = iterations or range(1)
    tasks = sampling.training_tasks(config, Population.of(images, "train"), drawn)
    sizes = np.array([step_size(config.outer, i) for i in drawn], np.float32)

    def fill(array: np.ndarray) -> np.ndarray:
        return np.pad(array, [(0, ITERATIONS_AT_ONCE - len(drawn))] + [(0, 0)] * (array.ndim - 1))

    return Chunk(tree_map(fill, tasks), fill(sizes), len(iterations))


def check_finite(
    reptile: Reptile, before: State, pixels: tf.Tensor, chunk: Chunk, first: int, after: State
) -> None:
    """Raise FailedError if the State that a Chunk led to is not finite, naming where it began."""
    if is_finite(after):
        return
    shorter = (chunk._replace(length=n) for n in range(1, chunk.length))
    finite = [is_finite(reptile.train(before, pixels, each).state) for each in shorter]
    broken = [*finite, False].index(False)
    raise FailedError(
        "parameters or second moments are no longer finite after meta-iteration "
        f"{first + broken} (outer step size {chunk.step_sizes[broken]:g}, inner "
        f"{reptile.config.inner.learning_rate:g}): start another run with a smaller "
        "--learning-rate or --meta-step; checkpoints of this one are finite"
    )


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
