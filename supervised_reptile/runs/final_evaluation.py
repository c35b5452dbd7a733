"""The final evaluation: many tasks of every set, reported and recorded; it can be interrupted."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from supervised_reptile.classification.classifier import Classifier
from supervised_reptile.data.image_set import ImageSet
from supervised_reptile.devices.replicas import Pixels, Replicas
from supervised_reptile.learning import parallel
from supervised_reptile.learning.evaluation import count_side_by_side
from supervised_reptile.learning.reptile import Reptile
from supervised_reptile.learning.sampling import (
    EvaluationTasks,
    Population,
    Purpose,
    evaluation_tasks,
)
from supervised_reptile.learning.state import State
from supervised_reptile.runs import overview, pictures, record, results
from supervised_reptile.runs.progress import Bar
from supervised_reptile.runs.results import SetResult, Tally
from supervised_reptile.runs.training import Trained
from supervised_reptile.system import output, signals
from supervised_reptile.system.errors import LostError

SIGNAL_TASKS = 32  # after how many tasks processes tell one another of a signal


def evaluate(
    reptile: Reptile,
    state: State,
    pixels: Pixels,
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
    # What was counted before, the first process knows.
    known = int(reptile.replicas.exchange([len(correct)])[0, 0])
    correct += [[0, 0]] * (known - len(correct))
    name = results.TITLES[purpose.name.split("_")[-1].lower()]
    todo = range(len(correct), samples)

    def draw(index: int) -> EvaluationTasks:
        return evaluation_tasks(config, population, purpose, [index])

    with (
        contextlib.closing(
            count_side_by_side(reptile, state, pixels, draw, todo, only_finite=True)
        ) as counts,
        Bar(samples, len(correct), "tasks", name) as progress,
    ):
        for found in _until_a_signal(counts, reptile.replicas):
            correct.append(found)
            tally.keep()
            progress.advance(len(correct))
            if len(correct) == todo.start + 1:
                progress.compiled()
    return results.summarize(correct, config.task.classes, config.evaluation.transductive)


def _until_a_signal(counts: Iterable[list[int]], replicas: Replicas) -> Iterator[list[int]]:
    """The counts, until a process is told to stop: then all raise Interrupted at the same one."""
    if replicas.processes == 1:
        yield from counts
        return
    with signals.deferred() as pending:
        for index, found in enumerate(counts):
            yield found
            heard = pending.number or 0
            if index % SIGNAL_TASKS == 0 and (number := replicas.exchange([heard]).max()):
                raise signals.Interrupted(int(number))
    if pending.number:
        raise signals.Interrupted(pending.number)


def report(
    reptile: Reptile, trained: Trained, images: ImageSet, pixels: Pixels, directory: Path
) -> None:
    """Evaluate on every split, print the final lines and record them in the run's directory.

    What a training run has evaluated is kept there until then; a resumed one continues from it.
    """
    config, found = reptile.config, {}
    tally = Tally(None if config.run.pretrained else directory / record.TALLY, trained.iteration)
    output.say("Evaluating...")
    try:
        for split in images.splits:
            purpose = Purpose[f"FINAL_{split.upper()}"]
            population = Population.of(images, split)
            found[split] = evaluate(reptile, trained.state, pixels, population, purpose, tally)
            results.show(split, found[split])
    except (signals.Interrupted, LostError):
        with contextlib.suppress(OSError):  # What is not kept is done again.
            tally.keep(at_once=True)
        raise
    circumstances = {
        "data": images.provenance,
        "seconds": {"training": trained.seconds, "evaluation": tally.seconds()},
        "machine": reptile.replicas.describe(),
        **({"assumed": list(trained.assumed)} if trained.assumed else {}),
    }
    if not config.run.pretrained and config.outer.meta_iters:
        overview.finish(config, found, images, _guesses(reptile, trained.state, images))
    results.append(directory, config, trained.iteration, found, circumstances)
    tally.remove()


def _guesses(reptile: Reptile, state: State, images: ImageSet) -> np.ndarray:
    """What the queries of the task that TensorBoard shows are taken for, int [classes]."""
    task = pictures.evaluation_task(reptile.config, images, "test")
    support, queries = images.pixels[task[:, :-1].ravel()], images.pixels[task[:, -1]]
    labels = np.repeat(np.arange(len(task)), task.shape[1] - 1)
    classifier = Classifier(reptile.model, reptile.config, state)
    ((found,),) = parallel.apart(lambda: list(classifier.probabilities(support, labels, queries)))
    return found.argmax(axis=1)
