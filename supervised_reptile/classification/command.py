"""Classifying images: for a command line, and for a program that wants the answers."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from supervised_reptile import plan
from supervised_reptile.args import Classifying
from supervised_reptile.classification import answers, examples, page
from supervised_reptile.classification.answers import Answer
from supervised_reptile.classification.examples import Examples
from supervised_reptile.data.formats import FORMATS
from supervised_reptile.plan import SavedModel
from supervised_reptile.runs import record
from supervised_reptile.system import files, output
from supervised_reptile.system.errors import RefusedError
from supervised_reptile.system.quiet import quiet


def classify(
    checkpoint: str,
    labelled: str | Mapping[str, Sequence[str]],
    unlabelled: str | Sequence[str],
    repeats: int = 1,
    dataset: str | None = None,
    **flags: Any,
) -> list[Answer]:
    """What images are taken for by a model that learns new classes from a few examples.

        from supervised_reptile.classification.command import classify

        answers = classify(
            "experiments/models/o15",
            {"cat": ["cat1.png", "cat2.png"], "dog": ["dog1.png"]},  # or a folder of folders
            ["new1.png", "new2.png"],  # or a folder, or an image
            repeats=10,
        )
        for answer in answers:
            print(answer.path, answer.best, answer.probability, answer.runner_up)

    checkpoint: the folder of a run, or one checkpoint in it. repeats: adaptations, which differ in
    the order of their mini-batches, whose probabilities are averaged. dataset: "omniglot" or
    "miniimagenet", for a checkpoint without run.json. flags: as on the command line, such as
    seed=1, eval_iters=100, transductive=True.
    Raises RefusedError if the model, the examples or the flags are not as they have to be.
    """
    prefix = record.find_checkpoint(checkpoint)
    recorded = record.read(prefix.parent)
    name = recorded.config.dataset if recorded else dataset
    if name is None:
        raise RefusedError(f"{prefix.parent} has no run.json: say which dataset it was trained on")
    model = plan.saved_model(name, {"checkpoint": checkpoint, **flags})
    if isinstance(labelled, str) and isinstance(unlabelled, str):
        return answer(model, examples.find(labelled, unlabelled), repeats)
    if isinstance(labelled, str) or isinstance(unlabelled, str):
        raise RefusedError("give folders for both the labelled and the unlabelled images, or files")
    return answer(model, Examples(labelled, unlabelled), repeats)


def answer(model: SavedModel, given: Examples, repeats: int) -> list[Answer]:
    """The Answer to each query. Raises RefusedError as `classify` does."""
    _check_number(model, given)
    with quiet():
        from supervised_reptile.learning import classification, models
        from supervised_reptile.runs import checkpoints

    network = models.MODELS[model.config.dataset]
    state = checkpoints.restore(model.prefix, network, model.config)
    support, queries = examples.read(given, FORMATS[model.config.dataset])
    classifier = classification.Classifier(network, model.config, state)
    found = list(classifier.probabilities(support, given.labels, queries, repeats))
    return [
        Answer(path, _by_class(list(given.support), row), truth)
        for path, row, truth in zip(
            given.queries, np.mean(found, axis=0), given.truth or itertools.repeat(None)
        )
    ]


def _check_number(model: SavedModel, given: Examples) -> None:
    classes, known = len(given.support), model.config.task.classes
    if not 2 <= classes <= known:
        raise RefusedError(
            f"--classify: there are {classes} classes of examples, but the model in "
            f"{model.prefix.parent} tells 2 to {known} apart"
        )


def _by_class(names: Sequence[str], row: np.ndarray) -> dict[str, float]:
    order = np.argsort(-row, kind="stable")
    return {names[index]: float(row[index]) for index in order}


def carry_out(model: SavedModel, asked: Classifying) -> None:
    """Print the answers, and write the files that are asked for."""
    given = examples.find(*asked.classify)
    plan.announce(model, plan.ADAPTING)
    found = answer(model, given, asked.repeats)
    for each in found:
        output.say(answers.line(each))
    if given.truth:
        for text in answers.summary(found):
            output.say(text)
    if asked.json:
        files.write_atomically(Path(asked.json), answers.as_json(found))
    if asked.page:
        files.write_atomically(Path(asked.page), page.page(given, found))
