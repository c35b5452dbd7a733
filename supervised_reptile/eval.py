"""Accuracy over many tasks, with its confidence interval, and the final report."""

import concurrent.futures
import contextlib
import dataclasses
import math
import os

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from supervised_reptile import runs
from supervised_reptile.reptile import tree_map
from supervised_reptile.sampling import Population, Purpose, evaluation_tasks

TASKS_AT_ONCE = 2
CALLS_AT_ONCE = 8
PATCHES_BYTES = 2**30
TITLES = {"train": "Train", "val": "Validation", "test": "Test"}


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """mean: correct predictions of all. confidence: half the width of the 95 % interval of the
    mean over tasks; None for a single task."""

    mean: float
    confidence: float | None
    tasks: int


def summarize(correct, classes):
    """The Accuracy of tasks: correct predictions of each [tasks], of so many."""
    correct = np.asarray(correct)
    confidence = None
    if len(correct) > 1:
        confidence = float(1.96 * np.std(correct / classes, ddof=1) / math.sqrt(len(correct)))
    return Accuracy(int(correct.sum()) / (len(correct) * classes), confidence, len(correct))


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


def evaluate(algorithm, learner, rows, population, purpose):
    """The Accuracy of a learner on the tasks of a population. rows: uint8 [images, ...]."""
    config, model = algorithm.config, algorithm.model
    samples, step = config.evaluation.eval_samples, tasks_at_once(model, config)

    def count(start):
        tasks = evaluation_tasks(config, population, purpose, range(start, start + step))
        found = algorithm.count_correct(learner, rows, tree_map(tf.constant, tasks)).numpy()
        # The last call keeps its length, so that nothing is compiled anew.
        return found[: samples - start]

    correct = []
    with (
        concurrent.futures.ThreadPoolExecutor(calls_at_once(model, config)) as pool,
        contextlib.closing(pool.map(count, range(0, samples, step))) as results,
        tqdm(total=samples, unit=" tasks", disable=None, leave=False) as progress,
    ):
        for found in results:
            correct.extend(found)
            progress.update(len(found))
    return summarize(correct, config.task.classes)


def report(algorithm, learner, images, rows, directory, iteration):
    """Evaluate on every split, print the final lines and record them in the run's directory."""
    print("Evaluating...", flush=True)
    accuracies = {}
    for split in images.splits:
        purpose = Purpose[f"FINAL_{split.upper()}"]
        population = Population.of(images, split)
        accuracy = evaluate(algorithm, learner, rows, population, purpose)
        print(f"{TITLES[split]} accuracy: {accuracy.mean}", flush=True)
        if accuracy.confidence is not None:
            print(
                f"  +/- {accuracy.confidence:.5f} (95% confidence over {accuracy.tasks} tasks)",
                flush=True,
            )
        accuracies[split] = accuracy
    runs.append_result(directory, algorithm.config, iteration, accuracies, images.provenance)
