"""What both scripts do: read the flags, decide what they mean, carry it out, exit."""

import contextlib
import dataclasses
import os
import sys
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path

from supervised_reptile import args, plan
from supervised_reptile.classification import command
from supervised_reptile.data import mapping
from supervised_reptile.data.dataset import Dataset, Split
from supervised_reptile.data.image_set import ImageSet
from supervised_reptile.learning.sampling import check_data
from supervised_reptile.plan import Classification, FinishedRun, NewRun, ResumedRun, SavedModel
from supervised_reptile.runs import record, results
from supervised_reptile.system import machine, output, signals
from supervised_reptile.system.errors import (
    DamagedError,
    FailedError,
    RefusedError,
    explain,
    show_traceback,
)
from supervised_reptile.system.quiet import quiet

DEBUG = "REPTILE_DEBUG"  # an environment variable: show the traceback of what is one line


def main(dataset: Dataset, argv: Sequence[str] | None = None) -> None:
    """Run a command line on a dataset, and exit.

    The exit status is 0, 2 for what was refused before any work, 1 for a failure later, or
    128 + the number of the signal that ended it.
    """
    script = f"run_{dataset.name}.py"
    with contextlib.redirect_stderr(output.Remarks(sys.stderr)):
        _main(dataset, script, argv)


def _main(dataset: Dataset, script: str, argv: Sequence[str] | None) -> None:
    try:
        signals.raise_interrupted()
        run(dataset, script, sys.argv[1:] if argv is None else argv)
    except RefusedError as refusal:
        _leave(script, f"error: {refusal}", 2)
    except FailedError as failure:
        _leave(script, f"failed: {failure}", 1)
    except _machine_errors() as failure:
        _leave(script, f"failed: {explain(failure)}", 1)
    except signals.Interrupted as interruption:
        _leave(script, interruption, 128 + interruption.number)


def _machine_errors() -> tuple[type[BaseException], ...]:
    """What is raised when not the program but disk or memory fails, by TensorFlow too."""
    tensorflow = sys.modules.get("tensorflow")
    return (OSError, MemoryError, *([tensorflow.errors.OpError] if tensorflow else []))


def _leave(script: str, message: object, status: int) -> typing.NoReturn:
    if os.environ.get(DEBUG):
        show_traceback(sys.exc_info()[1])
    print(f"{script}: {message}", file=sys.stderr)
    sys.exit(status)


def run(dataset: Dataset, script: str, argv: Sequence[str]) -> None:
    """Decide what a command line means, and carry it out; only then does TensorFlow start.

    Raises RefusedError, FailedError or what _machine_errors names, Interrupted.
    """
    given = args.parse(script, dataset.name, argv)
    with _refused_by_path():
        decided = plan.decide(dataset.name, given)
    match decided:
        case FinishedRun():
            report_again(decided)
        case Classification(model, asked):
            with _refused_by_path():
                given_images = command.prepare(asked)
            command.carry_out(model, given_images, asked)
        case SavedModel():
            evaluate_saved(decided, *_load(dataset, decided))
        case NewRun() | ResumedRun():
            images, split = _load(dataset, decided)
            directory = decided.config.run.checkpoint
            with record.claim(directory, decided.recorded), _resumable(directory):
                train_and_evaluate(decided, images, split)


@contextlib.contextmanager
def _refused_by_path() -> Iterator[None]:
    """Refuse what an OSError names, before any work."""
    try:
        yield
    except OSError as error:
        raise RefusedError(explain(error)) from None


def _load(dataset: Dataset, decided: NewRun | ResumedRun | SavedModel) -> tuple[ImageSet, Split]:
    """The images, and their split; that of the recorded run, whatever the seed of an evaluation."""
    config, recorded = decided.config, decided.recorded
    with _refused_by_path():
        if recorded:
            other = isinstance(decided, SavedModel) and decided.own_images
            loaded = dataset.load(config.run, recorded.config.run.seed, recorded.split, other)
        else:
            loaded = dataset.load(config.run, config.run.seed)
    images, split = loaded
    check_data(config, images)
    plan.check_images(decided, images)
    where = "generated" if config.run.synthetic else config.run.data_dir
    print(f"Images ({where}): {images}", file=sys.stderr)
    if recorded and plan.are_others(recorded, images):
        note = "not those of the run; classes that it knows by name keep their part, others test"
        print(f"The images are {note}", file=sys.stderr)
        images = dataclasses.replace(images, origin={**images.origin, "images": note})
    return images, split


@contextlib.contextmanager
def _resumable(directory: str) -> Iterator[None]:
    """Say how to resume a run that ends early."""
    advice = "run the same command with --resume to continue"
    try:
        yield
    except signals.Interrupted as interruption:
        outcome = f"{interruption.outcome or f'{directory} is intact'}: {advice}"
        raise signals.Interrupted(interruption.number, outcome) from None
    except _machine_errors() as failure:
        raise FailedError(f"{explain(failure)}; {directory} is intact: {advice}") from None


def report_again(finished: FinishedRun) -> None:
    """Print the results of a finished run."""
    directory = finished.config.run.checkpoint
    print(f"{directory} holds a finished run, with these results:", file=sys.stderr)
    for split, result in finished.found.items():
        results.show(split, result)


def train_and_evaluate(decided: NewRun | ResumedRun, images: ImageSet, split: Split) -> None:
    """Train a new model, or resume a recorded one, and report its accuracies."""
    with quiet():
        from supervised_reptile.learning import models, reptile
        from supervised_reptile.runs import checkpoints, final_evaluation, training

    config, directory = decided.config, decided.config.run.checkpoint
    algorithm = reptile.Reptile(models.MODELS[config.dataset], config)
    pixels = mapping.resident(images.pixels)
    here, saved = machine.describe(pixels.device), None
    if decided.recorded:
        plan.warn_of_machine(decided.recorded, here)
        saved = checkpoints.restore_newest(directory, algorithm.model, config)
    else:
        data, commit = images.provenance, machine.commit()
        record.begin(record.Record(config, split, data, machine=here, commit=commit))
    if saved:
        state, last = saved
        print(f"Resuming after meta-iteration {last}, from {directory}", file=sys.stderr)
    else:
        state, last = algorithm.new_state(), -1
    output.say("Training...")
    trained = training.train(algorithm, state, images, pixels, last + 1)
    final_evaluation.report(algorithm, trained, images, pixels, Path(directory))


def evaluate_saved(saved: SavedModel, images: ImageSet, _: Split) -> None:
    """Report the accuracies of a saved model."""
    with quiet():
        from supervised_reptile.learning import models, reptile
        from supervised_reptile.runs import checkpoints, final_evaluation, training

    config, prefix = saved.config, saved.prefix
    algorithm = reptile.Reptile(models.MODELS[config.dataset], config)
    pixels = mapping.resident(images.pixels)
    try:
        state = checkpoints.restore(prefix, algorithm.model, config)
    except DamagedError as error:
        earlier = f"name an earlier one, --checkpoint {prefix.parent}/model.ckpt-<number>"
        raise RefusedError(f"{error}; {earlier}") from None
    plan.announce(saved)
    output.say("Restoring from checkpoint...")
    trained = training.Trained(state, record.number(prefix), assumed=saved.assumed)
    final_evaluation.report(algorithm, trained, images, pixels, prefix.parent)
