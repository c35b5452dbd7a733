"""The final evaluation: many tasks of every set, reported and recorded; it can be interrupted."""

import contextlib
import os

import tensorflow as tf

from supervised_reptile.data.image_set import ImageSet
from supervised_reptile.learning import evaluation, sampling
from supervised_reptile.learning.accuracy import SetResult, summarize
from supervised_reptile.learning.reptile import Reptile
from supervised_reptile.learning.sampling import EvaluationTasks, Population, Purpose
from supervised_reptile.learning.state import State
from supervised_reptile.runs import record, results, tensorboard, training
from supervised_reptile.runs.results import Tally
from supervised_reptile.runs.training import Trained
from supervised_reptile.system import output, signals
from supervised_reptile.system.bar import Bar
from supervised_reptile.system.errors import LostError


def evaluate(
    reptile: Reptile,
    state: State,
    pixels: tf.Tensor,
    population: Population,
    purpose: Purpose,
    tally: Tally | None = None,
) -> SetResult:
    """The result of a State on the tasks of a population. pixels: uint8 [images, ...].

    tally: of an unfinished evaluation, to continue and to save.
    """
    config, tally = reptile.config, tally or Tally()
    samples, correct = config.evaluation.eval_samples, tally.correct[purpose.name]
    del correct[samples:]
    name = results.TITLES[purpose.name.split("_")[-1].lower()]
    todo = range(len(correct), samples)

    def draw(index: int) -> EvaluationTasks:
        return sampling.evaluation_tasks(config, population, purpose, [index])

    with (
        contextlib.closing(
            evaluation.guesses(reptile, state, pixels, draw, todo, only_finite=True)
        ) as guesses,
        Bar(samples, len(correct), "tasks", name) as progress,
    ):
        for found in guesses:
            classes = (found.reported, found.transductive)
            correct.append([evaluation.correct(each) for each in classes])
            tally.keep()
            progress.advance(len(correct))
    return summarize(correct, config.task.classes, config.evaluation.transductive)


def report(
    reptile: Reptile, trained: Trained, images: ImageSet, pixels: tf.Tensor, folder: os.PathLike
) -> None:
    """Evaluate on the sets that the flags name, print the final lines and record the results.

    All is kept in the directory: what a training run has evaluated, too, until it is recorded; a
    resumed one continues from that.
    """
    config, found = reptile.config, {}
    part = record.part(reptile.devices.describe())
    tally = Tally(None if config.run.pretrained else folder, trained.iteration, part)
    output.say("Evaluating...")
    try:
        for split in (one for one in config.final_sets if one in images.splits):
            purpose = Purpose[f"FINAL_{split.upper()}"]
            population = Population.of(images, split)
            found[split] = evaluate(reptile, trained.state, pixels, population, purpose, tally)
            results.show(split, found[split], config.evaluation.transductive)
    except (signals.Interrupted, LostError):
        with contextlib.suppress(OSError):  # What is not kept is done again.
            tally.keep(at_once=True)
        raise
    circumstances = {
        "data": images.provenance,
        "seconds": {"training": trained.seconds, "evaluation": tally.seconds()},
        **part,
        **({"assumed": list(trained.assumed)} if trained.assumed else {}),
        **({"parts": tally.parts} if len(tally.parts) > 1 else {}),
    }
    if not config.run.pretrained and config.outer.meta_iters:
        # Of the task that TensorBoard shows. The evaluation has compiled all that this calls.
        guesses = training.guess_interval(reptile, trained.state, images, pixels, 0)
        tensorboard.finish(folder, config, found, images, guesses["test"].reported)
    results.append(folder, config, trained.iteration, found, circumstances)
    tally.remove()
