"""Classifying images: for a command line, and for a program that wants the answers."""

import itertools
import os
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from supervised_reptile.args import Classifying
from supervised_reptile.classification import answers, examples, loading
from supervised_reptile.classification.answers import Answer
from supervised_reptile.classification.examples import Examples, Place
from supervised_reptile.system import files, output
from supervised_reptile.system.errors import FailedError, RefusedError, explain

if typing.TYPE_CHECKING:
    from supervised_reptile.classification.classifier import Classifier


def classify(
    checkpoint: str,
    labelled: Place | Mapping[str, Sequence[str]],
    unlabelled: Place | Sequence[str],
    repeats: int = 1,
    dataset: str | None = None,
    **flags: Any,
) -> list[Answer]:
    """The Answer to each image, by a model that learns new classes from a few examples.

        from supervised_reptile.classification.command import classify

        answers = classify(
            "experiments/models/o15",
            {"cat": ["cat1.png", "cat2.png"], "dog": ["dog1.png"]},  # or a folder of class folders
            ["new1.png", "new2.png"],  # or a folder, or an image
            repeats=10,
        )
        for answer in answers:
            print(answer.path, answer.best, answer.probability, answer.runner_up)

    checkpoint: the folder of a run, or one checkpoint in it. repeats: adaptations, which differ in
    the order of their mini-batches, whose probabilities are averaged. dataset: "omniglot" or
    "miniimagenet", for a checkpoint without run.json. flags: as on the command line, such as
    seed=1, eval_iters=100, transductive=True.
    Raises RefusedError if the model, the examples or the flags are not as they have to be, and
    FailedError if the adapted network's outputs are not finite.
    """
    if not (isinstance(repeats, int) and repeats >= 1):
        raise RefusedError(f"repeats: must be a whole number of at least 1, not {repeats!r}")
    given = examples.find(labelled, unlabelled)
    return answer(loading.load(checkpoint, dataset, **flags), given, repeats)


def answer(model: "Classifier", given: Examples, repeats: int) -> list[Answer]:
    """The Answer to each query. Raises as `classify` does."""
    from supervised_reptile.learning import evaluation  # with TensorFlow, as the model is

    support, queries = examples.read(given, model.format)

    def ask(repeat: int) -> np.ndarray:
        return model.adapt(support, given.labels, repeat).probabilities(queries)

    (found,) = evaluation.interruptible(lambda: [ask(repeat) for repeat in range(repeats)])
    means, classes = np.mean(found, axis=0), list(given.support)
    likeliest_first = np.argsort(-means, axis=1, kind="stable")
    return [
        Answer(path, {classes[index]: float(row[index]) for index in order}, truth)
        for path, row, order, truth in zip(
            given.queries, means, likeliest_first, given.truth or itertools.repeat(None)
        )
    ]


def prepare(asked: Classifying, prefix: Path) -> Examples:
    """The Examples that a command line names. prefix: of the model's checkpoint.

    Raises RefusedError for those, or for files that cannot be written, or would take the place of
    an image, of each other, or of a file of the model; OSError for folders that cannot be read.
    """
    given = examples.find(*asked.classify)
    taken = {os.path.realpath(file) for files in given.support.values() for file in files}
    taken |= {os.path.realpath(file) for file in given.queries}
    for flag, path in (("--json", asked.json), ("--page", asked.page)):
        if not path:
            continue
        folder, place = Path(path).parent, Path(os.path.realpath(path))
        if Path(path).is_dir():
            raise RefusedError(f"{flag} {path} is a folder: name a file")
        if not folder.is_dir():
            raise RefusedError(f"{flag} {path}: there is no folder {folder}: make it first")
        if not os.access(place if place.exists() else place.parent, os.W_OK):
            raise RefusedError(f"{flag} {path} cannot be written: check its permissions")
        if place.parent == prefix.parent.resolve():
            raise RefusedError(f"{flag} {path} is in the folder of the model: name another folder")
        if str(place) in taken:
            raise RefusedError(f"{flag} {path} is an image or the other file: name another one")
        taken.add(str(place))
    return given


def carry_out(model: "Classifier", prefix: Path, given: Examples, asked: Classifying) -> None:
    """Print the answers, and write the files that are asked for. prefix: of the model's checkpoint.

    Raises as `classify` does, and FailedError or OSError where something cannot be written.
    """
    found = answer(model, given, asked.repeats)
    for each in found:
        output.say(answers.line(each))
    if given.truth:
        for text in answers.summary(found):
            output.say(text)
    if asked.json:
        _write("--json", asked.json, answers.as_json(found))
    if asked.page:
        _write("--page", asked.page, answers.page(given, found, str(prefix), model.pixels))


def _write(flag: str, path: str, text: str) -> None:
    try:
        files.write_atomically(Path(path), text)
    except OSError as error:
        raise FailedError(f"{flag} {path}: {explain(error)}") from None
