"""The training run: schedule, evaluation, printed lines, summaries, checkpoints."""

import contextlib
import os
import sys

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from supervised_reptile import checkpoints, signals
from supervised_reptile.errors import FailedError
from supervised_reptile.eval import fits
from supervised_reptile.reptile import tree_map
from supervised_reptile.sampling import Population, Purpose, evaluation_tasks, training_tasks

CHECKPOINT_INTERVAL = 100
ITERATIONS_AT_ONCE = 10


def step_size(outer, iteration):
    """The outer step size, linear from the first meta-iteration to the (never reached) n-th."""
    done = iteration / outer.meta_iters
    return done * outer.meta_step_final + (1 - done) * outer.meta_step


def train(algorithm, learner, images, rows):
    """Train from a learner, and return it after the last meta-iteration.

    images: the ImageSet, rows: its rows as a tensor.
    Raises Interrupted when told to stop, after saving a checkpoint, and FailedError when nobody
    reads the printed lines any more.
    """
    config, done = algorithm.config, 0
    total, directory = config.outer.meta_iters, config.run.checkpoint
    with signals.deferred() as pending, Journal(directory, images.splits, total) as journal:
        while done < total and not (pending or journal.closed):
            last = next_stop(config, done)
            learner = algorithm.train(learner, rows, *inputs(config, images, done, last))
            done = last + 1
            journal.advance(done)
            if last % config.evaluation.eval_interval == 0:
                journal.report(last, evaluate_interval(algorithm, learner, images, rows, last))
            if last % CHECKPOINT_INTERVAL == 0:
                checkpoints.save(directory, last, learner)
        if done and last % CHECKPOINT_INTERVAL:
            checkpoints.save(directory, last, learner)
    saved = f"saved as {directory}/model.ckpt-{last}, which --pretrained evaluates" if done else ""
    if pending:
        raise signals.Interrupted(pending.number, saved)
    if journal.closed:
        raise FailedError(f"standard output was closed; {saved}")
    return learner


def next_stop(config, done):
    """The last meta-iteration of the next compiled call, at which something may be due."""
    due = (config.evaluation.eval_interval, CHECKPOINT_INTERVAL)
    stops = [-(-done // interval) * interval for interval in due]
    return min(*stops, done + iterations_at_once(config) - 1, config.outer.meta_iters - 1)


def iterations_at_once(config):
    """How many meta-iterations a compiled call has room for."""
    return min(ITERATIONS_AT_ONCE, config.evaluation.eval_interval, CHECKPOINT_INTERVAL)


def inputs(config, images, first, last):
    """What the compiled call takes for meta-iterations first ... last."""
    iterations = range(first, first + iterations_at_once(config))
    tasks = training_tasks(config, Population.of(images, "train"), iterations)
    sizes = np.array([step_size(config.outer, i) for i in iterations], np.float32)
    return tree_map(tf.constant, tasks), tf.constant(sizes), tf.constant(last - first + 1)


def evaluate_interval(algorithm, learner, images, rows, iteration):
    """Accuracy on one task of each split, by split; side by side, where memory allows."""
    tasks = [
        evaluation_tasks(
            algorithm.config,
            Population.of(images, split),
            Purpose[f"INTERVAL_{split.upper()}"],
            [iteration],
        )
        for split in images.splits
    ]
    if fits(algorithm.model, algorithm.config, len(tasks)):
        tasks = [tree_map(lambda *parts: np.concatenate(parts), *tasks)]
    correct = np.concatenate(
        [algorithm.count_correct(learner, rows, tree_map(tf.constant, task)) for task in tasks]
    )
    return dict(zip(images.splits, correct / algorithm.config.task.classes, strict=True))


class Journal(contextlib.ExitStack):
    """What a person sees of a run: printed lines, TensorBoard's curves, a progress bar.

    closed: whether nobody reads the printed lines any more.
    """

    closed = False

    def __init__(self, directory, splits, total):
        super().__init__()
        self._writers = {
            split: self.enter_context(
                contextlib.closing(tf.summary.create_file_writer(f"{directory}/{split}"))
            )
            for split in splits
        }
        self._progress = self.enter_context(
            tqdm(total=total, unit=" meta-iterations", disable=None, dynamic_ncols=True)
        )

    def advance(self, done):
        """Show how many meta-iterations are done."""
        self._progress.update(done - self._progress.n)

    def report(self, iteration, accuracy):
        """Print and log the accuracy by split after a meta-iteration."""
        line = f"batch {iteration}: train={accuracy['train']:f} test={accuracy['test']:f}"
        with tqdm.external_write_mode(sys.stdout):
            try:
                print(line, flush=True)
            except BrokenPipeError:
                self.closed = True
                # Or Python would complain once more, when it flushes what was not written.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        for split, writer in self._writers.items():
            with writer.as_default(step=iteration):
                tf.summary.scalar("accuracy", accuracy[split])
