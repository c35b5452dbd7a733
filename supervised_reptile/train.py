"""The training run: schedule, evaluation, printed lines, summaries, checkpoints."""

import time

import numpy as np

from supervised_reptile import checkpoints, runs, signals
from supervised_reptile.errors import FailedError
from supervised_reptile.eval import count_correct
from supervised_reptile.journal import Journal
from supervised_reptile.reptile import tree_map
from supervised_reptile.sampling import Population, Purpose, evaluation_tasks, training_tasks

ITERATIONS_AT_ONCE = 10
SECONDS_AT_ONCE = 1  # so that a signal is heeded soon


def step_size(outer, iteration):
    """The outer step size, linear from the first meta-iteration to the (never reached) n-th."""
    done = iteration / outer.meta_iters
    return done * outer.meta_step_final + (1 - done) * outer.meta_step


def train(algorithm, learner, images, rows, done=0):
    """Train from a learner. Returns it after the last meta-iteration, and the seconds that training
    took in all, None where they are not known of an earlier part.

    images: the ImageSet, rows: its rows as a tensor. done: meta-iterations that the learner has
    behind it.
    Raises Interrupted when told to stop, after saving a checkpoint, and FailedError when nobody
    reads the printed lines any more, or when numbers stop being finite.
    """
    config, last, at_once = algorithm.config, done - 1, 1
    total, directory = config.outer.meta_iters, config.run.checkpoint
    clock = Clock(runs.training_seconds(directory, started=done > 0))
    with signals.deferred() as pending, Journal(directory, images.splits, done, total) as journal:
        while done < total and not (pending or journal.closed):
            begin, last = time.perf_counter(), next_stop(config, done, at_once)
            learner = advance(algorithm, learner, images, rows, done, last)
            at_once = affordable(last + 1 - done, time.perf_counter() - begin)
            done = last + 1
            journal.advance(done)
            if last % config.evaluation.eval_interval == 0:
                journal.report(last, evaluate_interval(algorithm, learner, images, rows, last))
            if last % config.run.checkpoint_interval == 0 or last == total - 1:
                save(journal, config, last, learner, clock)
        if done and (pending or journal.closed):
            save(journal, config, last, learner, clock)
    saved = f"saved as {directory}/model.ckpt-{last}" if done else ""
    if pending:
        raise signals.Interrupted(pending.number, saved)
    if journal.closed:
        raise FailedError(f"standard output was closed; {saved}, where --resume goes on")
    return learner, clock.seconds()


class Clock:
    """How long a run has been trained for, from an earlier part's seconds on; None: unknown."""

    def __init__(self, earlier):
        self._earlier, self._begun = earlier, time.monotonic()

    def seconds(self):
        """Seconds until now, None if they are not known of an earlier part."""
        if self._earlier is None:
            return None
        return self._earlier + time.monotonic() - self._begun


def save(journal, config, iteration, learner, clock):
    """Save a checkpoint; first the points up to it, since those after it are cut off."""
    journal.sync()
    runs.keep_training_seconds(config.run.checkpoint, clock.seconds())
    checkpoints.save(config.run.checkpoint, iteration, learner, config.run.keep_checkpoints)


def next_stop(config, done, at_once):
    """The last meta-iteration of the next compiled call, at which something may be due."""
    due = (config.evaluation.eval_interval, config.run.checkpoint_interval)
    stops = [-(-done // interval) * interval for interval in due]
    return min(*stops, done + at_once - 1, config.outer.meta_iters - 1)


def affordable(count, seconds):
    """How many meta-iterations the next call has time for, if so many took so long."""
    return max(1, min(ITERATIONS_AT_ONCE, int(SECONDS_AT_ONCE * count / seconds)))


def advance(algorithm, learner, images, rows, first, last):
    """The learner after meta-iterations first ... last. Raises FailedError if it is not finite."""
    tasks, sizes = inputs(algorithm.config, images, first, last)

    def after(count):
        return algorithm.train(learner, rows, tasks, sizes, count)

    advanced = after(last + 1 - first)
    if checkpoints.is_finite(advanced):
        return advanced
    counts = range(1, last + 2 - first)
    broken = next(n for n in counts if not checkpoints.is_finite(after(n))) - 1
    raise FailedError(
        f"parameters or second moments are no longer finite after meta-iteration {first + broken} "
        f"(outer step size {sizes[broken]:g}, inner {algorithm.config.inner.learning_rate:g}): "
        "start another run with a smaller --learning-rate or --meta-step; checkpoints of this one "
        "are finite"
    )


def inputs(config, images, first, last):
    """Tasks and step sizes of meta-iterations first ... last, as the compiled call takes them.

    The arrays are filled up with zeros to the length that they always have.
    """
    iterations = range(first, last + 1)
    tasks = training_tasks(config, Population.of(images, "train"), iterations)
    sizes = np.array([step_size(config.outer, i) for i in iterations], np.float32)
    missing = ITERATIONS_AT_ONCE - len(iterations)

    def fill(array):
        return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))

    return tree_map(fill, tasks), fill(sizes)


def evaluate_interval(algorithm, learner, images, rows, iteration):
    """Accuracy on one task of each split, by split."""
    config = algorithm.config

    def draw(split):
        purpose = Purpose[f"INTERVAL_{split.upper()}"]
        return evaluation_tasks(config, Population.of(images, split), purpose, [iteration])

    counts = count_correct(algorithm, learner, rows, draw, images.splits)
    return {
        split: correct / config.task.classes
        for split, (correct, _) in zip(images.splits, counts, strict=True)
    }
