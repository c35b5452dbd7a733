"""What both scripts do: read the flags, decide what they mean, carry it out, exit."""

import contextlib
import dataclasses
import os
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from supervised_reptile import args, plan, sharing
from supervised_reptile.classification import command
from supervised_reptile.data.image_set import Dataset, ImageSet, Split
from supervised_reptile.devices import cluster
from supervised_reptile.learning import parallel
from supervised_reptile.learning.sampling import check_data
from supervised_reptile.plan import Classification, FinishedRun, NewRun, ResumedRun, SavedModel
from supervised_reptile.runs import record, results
from supervised_reptile.sharing import Prepared
from supervised_reptile.system import machine, output, signals
from supervised_reptile.system.errors import (
    DamagedError,
    FailedError,
    LostError,
    RefusedError,
    explain,
    show_traceback,
)
from supervised_reptile.system.quiet import quiet

if typing.TYPE_CHECKING:
    from supervised_reptile.devices.replicas import Pixels, Replicas
    from supervised_reptile.learning.reptile import Reptile
    from supervised_reptile.learning.state import State

DEBUG = "REPTILE_DEBUG"  # an environment variable: show the traceback of what is one line


def main(dataset: Dataset, argv: Sequence[str] | None = None) -> None:
    """Run a command line on a dataset, and exit.

    The exit status is 0, 2 for what was refused before any work, 1 for a failure later, or
    128 + the number of the signal that ended it.
    """
    script = f"run_{dataset.name}.py"
    argv = sys.argv[1:] if argv is None else argv
    with contextlib.redirect_stderr(output.Remarks(sys.stderr)):
        number = cluster.process() if "--distribute" in argv else 0
        whose = f"process {number} " if number else ""
        try:
            signals.raise_interrupted()
            run(dataset, script, argv)
        except RefusedError as refusal:
            # All processes of a run refuse alike: the first one says why.
            _leave(script, "" if number else f"error: {refusal}", 2)
        except FailedError as failure:
            _leave(script, f"{whose}failed: {failure}", 1)
        except _machine_errors() as failure:
            _leave(script, f"{whose}failed: {explain(failure)}", 1)
        except signals.Interrupted as interruption:
            _leave(script, f"{whose}{interruption}", 128 + interruption.number)


def _machine_errors(*others: type[BaseException]) -> tuple[type[BaseException], ...]:
    """What is raised when not the program but disk or memory fails, by TensorFlow too."""
    tensorflow = sys.modules.get("tensorflow")
    return (OSError, MemoryError, *others, *([tensorflow.errors.OpError] if tensorflow else []))


def _leave(script: str, message: object, status: int) -> typing.NoReturn:
    if os.environ.get(DEBUG):
        show_traceback(sys.exc_info()[1])
    if message:
        print(f"{script}: {message}", file=sys.stderr)
    if parallel.are_running():  # which exiting would wait for
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def run(dataset: Dataset, script: str, argv: Sequence[str]) -> None:
    """Decide what a command line means, and carry it out; only then does TensorFlow start, unless
    several processes have to agree.

    Raises RefusedError, FailedError or what _machine_errors names, Interrupted.
    """
    given = args.parse(script, dataset.name, argv)
    computing, given = args.part(args.Computing, given)
    if not computing.distribute:
        # A GPU that is asked for may have to be refused: before images are read.
        early = _alone(computing) if computing.device.startswith("gpu") or computing.tf32 else None
        carry_out(_prepare(dataset, given), lambda: early or _alone(computing))
        return
    if "classify" in given:
        raise RefusedError("--classify is work for one process: omit --distribute")
    replicas = _join(computing)
    with sharing.silent(replicas):
        prepared = sharing.alike(replicas, lambda: _prepare(dataset, given))
        sharing.check_same(replicas, prepared)
        carry_out(prepared, lambda: replicas)


def _prepare(dataset: Dataset, given: dict) -> Prepared:
    """What flags mean, and the images for it. Raises RefusedError, for what an OSError names too:
    no work has been done yet."""
    try:
        decided = plan.decide(dataset.name, given)
        match decided:
            case FinishedRun():
                return Prepared(decided)
            case Classification(asked=asked):
                return Prepared(decided, examples=command.prepare(asked))
        return Prepared(decided, *_load(dataset, decided))
    except OSError as error:
        raise RefusedError(explain(error)) from None


def _alone(computing: args.Computing) -> "Replicas":
    """The one device that computes. Raises RefusedError if the one asked for cannot be used."""
    with quiet():
        from supervised_reptile.devices import choice, replicas

    devices = choice.choose(computing)
    choice.announce(devices)
    return replicas.Replicas(devices)


def _join(computing: args.Computing) -> "Replicas":
    """The devices and processes that share a run. Raises RefusedError where there are none."""
    with quiet():
        from supervised_reptile.devices import choice, replicas

    found, devices = cluster.find(), choice.choose(computing)
    if found.process == 0:
        several = f", with {found.processes} processes: waiting until all are there"
        choice.announce(devices, several if found.processes > 1 else "")
    with signals.by_default():  # TensorFlow waits for the others without a look at Python
        return replicas.join(devices, found)


def carry_out(prepared: Prepared, compute_with: Callable[[], "Replicas"]) -> None:
    """Do what a command means. compute_with: gives what computes, if anything does."""
    match prepared.plan:
        case FinishedRun() as finished:
            report_again(finished)
        case Classification(model, asked):
            compute_with()
            assert prepared.examples
            command.carry_out(model, prepared.examples, asked)
        case SavedModel() as saved:
            replicas = compute_with()
            with sharing.own_folder(replicas, saved.config) as config:
                own_model = dataclasses.replace(saved, config=config)
                evaluate_saved(own_model, prepared, replicas)
        case NewRun() | ResumedRun() as training:
            replicas = compute_with()
            with (
                _resumable(training.config.run.checkpoint),
                sharing.own_folder(replicas, training.config) as config,
            ):
                # The first process gives the others the state that it resumes from.
                own_run = training if replicas.first else NewRun(config)
                with record.claim(config.run.checkpoint, own_run.recorded):
                    train_and_evaluate(own_run, prepared, replicas)


def _load(dataset: Dataset, decided: NewRun | ResumedRun | SavedModel) -> tuple[ImageSet, Split]:
    """The images, and their split; that of the recorded run, whatever the seed of an evaluation."""
    config, recorded = decided.config, decided.recorded
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
    """Say what is left of a run that ends early, and how to resume it."""

    def kept() -> str:
        is_there = (Path(directory) / record.RECORD).exists()
        return f"{directory} is intact" if is_there else "nothing was saved yet"

    advice = "run the same command with --resume to continue"
    try:
        yield
    except signals.Interrupted as interruption:
        outcome = f"{interruption.outcome or kept()}: {advice}"
        raise signals.Interrupted(interruption.number, outcome) from None
    except _machine_errors(LostError) as failure:
        raise FailedError(f"{explain(failure)}; {kept()}: {advice}") from None


def report_again(finished: FinishedRun) -> None:
    """Print the results of a finished run."""
    directory = finished.config.run.checkpoint
    print(f"{directory} holds a finished run, with these results:", file=sys.stderr)
    for split, result in finished.found.items():
        results.show(split, result)


def _ready(
    config: args.Config, images: ImageSet, replicas: "Replicas"
) -> tuple["Reptile", "Pixels"]:
    """The algorithm, and the pixels where it is computed."""
    with quiet():
        from supervised_reptile.learning import models, reptile

    algorithm = reptile.Reptile(models.MODELS[config.dataset], config, replicas)
    return algorithm, replicas.resident(images.as_tensor())


def train_and_evaluate(
    decided: NewRun | ResumedRun, prepared: Prepared, replicas: "Replicas"
) -> None:
    """Train a new model, or resume a recorded one, and report its accuracies."""
    with quiet():
        from supervised_reptile.runs import checkpoints, final_evaluation, training

    config, directory = decided.config, decided.config.run.checkpoint
    images, split = prepared.loaded()
    algorithm, pixels = _ready(config, images, replicas)
    here, saved = replicas.describe(), None
    if decided.recorded:
        plan.warn_of_machine(decided.recorded, here)
        saved = checkpoints.restore_newest(directory, algorithm.model, config)
    else:
        data, commit = images.provenance, machine.commit()
        record.begin(record.Record(config, split, data, machine=here, commit=commit))
    state, last = saved or (algorithm.new_state(), -1)
    if saved:
        print(f"Resuming after meta-iteration {last}, from {directory}", file=sys.stderr)
    elif config.run.resume:
        new = f"training begins, of {config.outer.meta_iters:,} meta-iterations"
        print(f"{directory} holds no checkpoint to resume from: {new}", file=sys.stderr)
    state, last = algorithm.from_first(state), int(replicas.exchange([last])[0, 0])
    if replicas.count > 1 and not config.outer.parallel_tasks:
        print("--distribute: trains in order, so that only evaluations are shared", file=sys.stderr)
    output.say("Training...")
    trained = training.train(algorithm, state, images, pixels, last + 1)
    final_evaluation.report(algorithm, trained, images, pixels, Path(directory))


def evaluate_saved(saved: SavedModel, prepared: Prepared, replicas: "Replicas") -> None:
    """Report the accuracies of a saved model."""
    with quiet():
        from supervised_reptile.runs import checkpoints, final_evaluation, training

    config, prefix = saved.config, saved.prefix
    images, _ = prepared.loaded()
    algorithm, pixels = _ready(config, images, replicas)

    def restore() -> "State":
        try:
            return checkpoints.restore(prefix, algorithm.model, config)
        except DamagedError as error:
            earlier = f"name an earlier one, --checkpoint {prefix.parent}/model.ckpt-<number>"
            raise RefusedError(f"{error}; {earlier}") from None

    state = algorithm.from_first(sharing.alike(replicas, restore))
    plan.announce(saved)
    output.say("Restoring from checkpoint...")
    trained = training.Trained(state, record.number(prefix), assumed=saved.assumed)
    directory = prefix.parent if replicas.first else Path(config.run.checkpoint)
    final_evaluation.report(algorithm, trained, images, pixels, directory)
