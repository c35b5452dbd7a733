"""Accuracy over many tasks, with its confidence interval, and the final report."""

import contextlib
import pathlib

import tensorflow as tf
from tqdm import tqdm

from supervised_reptile import calls, runs, signals
from supervised_reptile.reptile import tree_map
from supervised_reptile.results import Tally, append, show, summarize
from supervised_reptile.sampling import Population, Purpose, evaluation_tasks


def count_correct(algorithm, learner, rows, draw, items):
    """Yield how many queries of a task are answered correctly, for the task of each item, as
    [as the configuration asks for, transductively].

    rows: uint8 [images, ...]. draw: draw(item) is sampling.EvaluationTasks of arrays [1, ...].
    """
    task, evaluation = algorithm.config.task, algorithm.config.evaluation
    beside = 0 if evaluation.transductive else task.classes * task.shots + 1
    images = max(evaluation.eval_batch, task.classes, beside)

    def count(item):
        counts = algorithm.count_correct(learner, rows, tree_map(tf.constant, draw(item)))
        return [int(correct[0]) for correct in counts]

    return calls.side_by_side(count, items, images * algorithm.model.image_bytes)


def evaluate(algorithm, learner, rows, population, purpose, tally=None):
    """The SetResult of a learner on the tasks of a population. rows: uint8 [images, ...].

    tally: the Tally of an evaluation under way, to go on with and to keep.
    """
    config, tally = algorithm.config, tally or Tally()
    samples, correct = config.evaluation.eval_samples, tally.correct[purpose.name]
    del correct[samples:]
    todo = range(len(correct), samples)

    def draw(index):
        return evaluation_tasks(config, population, purpose, [index])

    with (
        contextlib.closing(count_correct(algorithm, learner, rows, draw, todo)) as results,
        tqdm(
            total=samples, initial=len(correct), unit=" tasks", disable=None, leave=False
        ) as progress,
    ):
        for found in results:
            correct.append(found)
            tally.keep()
            progress.update()
    return summarize(correct, config.task.classes, config.evaluation.transductive)


def report(algorithm, learner, images, rows, directory, iteration, training=None):
    """Evaluate on every split, print the final lines and record them in the run's directory.

    What a training run has evaluated is kept there until then, and gone on with.
    training: seconds that training took, None where that is not known.
    """
    config, found = algorithm.config, {}
    path = None if config.run.pretrained else pathlib.Path(directory) / runs.PROGRESS
    tally = Tally(path, iteration)
    print("Evaluating...", flush=True)
    try:
        for split in images.splits:
            purpose = Purpose[f"FINAL_{split.upper()}"]
            population = Population.of(images, split)
            found[split] = evaluate(algorithm, learner, rows, population, purpose, tally)
            show(split, found[split])
    except signals.Interrupted:
        with contextlib.suppress(OSError):  # What is not kept is done again.
            tally.keep(at_once=True)
        raise
    cost = {
        "seconds": {"training": training, "evaluation": tally.seconds()},
        "machine": runs.machine(rows.device),
    }
    append(directory, config, iteration, found, {"data": images.provenance, **cost})
    tally.remove()
