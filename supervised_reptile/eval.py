"""Accuracy over many tasks, with its confidence interval, and the final report."""

import concurrent.futures
import contextlib
import os
import pathlib

import tensorflow as tf
from tqdm import tqdm

from supervised_reptile import runs, signals
from supervised_reptile.reptile import tree_map
from supervised_reptile.results import Tally, append, show, summarize
from supervised_reptile.sampling import Population, Purpose, evaluation_tasks

TASKS_AT_ONCE = 2
CALLS_AT_ONCE = 8
PATCHES_BYTES = 2**30


def fits(model, config, tasks):
    """Whether memory allows so many tasks side by side, whose queries make up one call."""
    task, evaluation = config.task, config.evaluation
    beside = 1 if evaluation.transductive else task.classes * task.shots + 1
    images = max(evaluation.eval_batch, task.classes * beside)
    return tasks * images * model.patch_bytes <= PATCHES_BYTES


def tasks_at_once(model, config):
    """How many tasks of the final evaluation go side by side."""
    wanted = min(TASKS_AT_ONCE, config.evaluation.eval_samples)
    return next((tasks for tasks in range(wanted, 1, -1) if fits(model, config, tasks)), 1)


def calls_at_once(model, config):
    """How many compiled calls run at the same time.

    One call alone leaves cores idle: its operations are too small to be shared out among them.
    """
    tasks, wanted = tasks_at_once(model, config), min(CALLS_AT_ONCE, os.cpu_count() or 1)
    return next((calls for calls in range(wanted, 1, -1) if fits(model, config, calls * tasks)), 1)


def evaluate(algorithm, learner, rows, population, purpose, tally=None):
    """The Accuracy of a learner on the tasks of a population. rows: uint8 [images, ...].

    tally: the Tally of an evaluation under way, to go on with and to keep.
    """
    config, model = algorithm.config, algorithm.model
    samples, step = config.evaluation.eval_samples, tasks_at_once(model, config)

    def count(start):
        tasks = evaluation_tasks(config, population, purpose, range(start, start + step))
        found = algorithm.count_correct(learner, rows, tree_map(tf.constant, tasks)).numpy()
        # The last call keeps its length, so that nothing is compiled anew.
        return found[: samples - start]

    tally = tally or Tally()
    correct = tally.correct[purpose.name]
    # Only whole calls are gone on with, so that all have the length that they always have.
    del correct[samples if len(correct) >= samples else len(correct) // step * step :]
    with (
        concurrent.futures.ThreadPoolExecutor(calls_at_once(model, config)) as pool,
        contextlib.closing(pool.map(count, range(len(correct), samples, step))) as results,
        tqdm(
            total=samples, initial=len(correct), unit=" tasks", disable=None, leave=False
        ) as progress,
    ):
        for found in results:
            correct.extend(found.tolist())
            tally.keep()
            progress.update(len(found))
    return summarize(correct, config.task.classes)


def report(algorithm, learner, images, rows, directory, iteration):
    """Evaluate on every split, print the final lines and record them in the run's directory.

    What a training run has evaluated is kept there until then, and gone on with.
    """
    config, accuracies = algorithm.config, {}
    path = None if config.run.pretrained else pathlib.Path(directory) / runs.PROGRESS
    tally = Tally(path, [iteration, tasks_at_once(algorithm.model, config)])
    print("Evaluating...", flush=True)
    try:
        for split in images.splits:
            purpose = Purpose[f"FINAL_{split.upper()}"]
            population = Population.of(images, split)
            accuracies[split] = evaluate(algorithm, learner, rows, population, purpose, tally)
            show(split, accuracies[split])
    except signals.Interrupted:
        tally.keep(at_once=True)
        raise
    append(directory, config, iteration, accuracies, images.provenance)
    tally.remove()
