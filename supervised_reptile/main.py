"""The main program of both scripts: read the flags, decide what they mean, carry it out, exit."""

import contextlib
import dataclasses
import functools
import os
import sys
import traceback
import typing
from collections.abc import Callable, Iterator, Sequence

from supervised_reptile import args, plan
from supervised_reptile.classification import command, loading
from supervised_reptile.data.image_set import Dataset
from supervised_reptile.devices import choice
from supervised_reptile.devices.choice import Devices, quiet
from supervised_reptile.plan import FinishedRun, Prepared, SavedModel, TrainingRun
from supervised_reptile.runs import record, results
from supervised_reptile.system import errors, machine, output, signals
from supervised_reptile.system.errors import FailedError, RefusedError, explain

if typing.TYPE_CHECKING:
    import tensorflow as tf

    from supervised_reptile.learning.reptile import Reptile

DEBUG = "REPTILE_DEBUG"  # an environment variable: show the traceback of what is one line


def main(dataset: Dataset, argv: Sequence[str] | None = None) -> None:
    """Run a command line on a dataset, and exit.

    The exit status is 0, 2 for what was refused before any work, 1 for a failure later, or
    128 + the number of the signal that ended it.
    """
    script = f"run_{dataset.name}.py"
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


def _machine_errors(*others: type[BaseException]) -> tuple[type[BaseException], ...]:
    """The exceptions that mean that the machine or a package has failed, not the program: those of
    Python, of TensorFlow if that is loaded, and others."""
    own = getattr(sys.modules.get("tensorflow"), "errors", None)
    return (OSError, MemoryError, ImportError, *others, *([own.OpError] if own else []))


def _leave(script: str, message: object, status: int) -> typing.NoReturn:
    if os.environ.get(DEBUG):
        show_traceback(sys.exc_info()[1])
    output.note(f"{script}: {message}")
    evaluation = sys.modules.get("supervised_reptile.learning.evaluation")
    if evaluation and evaluation.is_running():  # which exiting would wait for
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


def show_traceback(failure: BaseException | None) -> None:
    """Print a failure's traceback on standard error, with all that it came from."""
    cause = failure
    while cause:
        cause.__suppress_context__ = False  # `from None` keeps it short for those who only use it
        cause = cause.__context__
    traceback.print_exception(failure)


def run(dataset: Dataset, script: str, argv: Sequence[str]) -> None:
    """Decide what a command line means, and carry it out; only then does TensorFlow start, unless
    a GPU is asked for, or several processes.

    Raises RefusedError, FailedError or what _machine_errors names, Interrupted.
    """
    given = args.parse(script, dataset.name, argv)
    machine.versions()  # which, as the commit, may change on the disk meanwhile
    machine.commit()
    computing, given = args.part(args.Computing, given)
    if computing.distribute:
        run_distributed(dataset, computing, given)
        return

    devices = functools.cache(lambda: _devices(computing))
    if computing.device.startswith("gpu") or computing.tf32:
        devices()  # which may have to be refused: before images are read
    carry_out(_prepare(dataset, given), devices)


def run_distributed(dataset: Dataset, computing: args.Computing, given: dict) -> None:
    """`run` with all devices of this machine, or as one of several processes. Raises as `run`."""
    for name in given.keys() & {"classify", "draw"}:
        raise RefusedError(f"--{name} is work for one process: omit --distribute")
    with quiet():
        from supervised_reptile.devices import distribute
        from supervised_reptile.learning import team

    cluster = distribute.find()
    if cluster.process:

        def prepare() -> tuple[dict, Callable]:
            devices, prepared = _devices(computing), _prepare(dataset, given)
            summary = plan.summary(prepared)
            return summary, lambda: team.local(*_ready(prepared, devices, team.share))

        distribute.work(cluster, prepare)
    devices = _devices(computing, cluster.processes)
    with distribute.lead(cluster, devices) as workers:
        prepared = _prepare(dataset, given)
        distribute.check_same(workers, plan.summary(prepared))
        others = [distribute.remote(worker) for worker in workers]
        carry_out(prepared, lambda: devices, functools.partial(team.share, others=others))


def _devices(computing: args.Computing, processes: int = 1) -> Devices:
    """The devices to compute on. Raises RefusedError if those asked for cannot be used."""
    with quiet():
        # TensorFlow, TensorBoard, and all that is imported later.
        from supervised_reptile.runs import training  # noqa: F401

    devices = dataclasses.replace(choice.choose(computing), processes=processes)
    choice.announce(devices)
    return devices


def _prepare(dataset: Dataset, given: dict) -> Prepared:
    """The plan of a command line, with the images or examples for it. Raises RefusedError, also
    instead of OSError: no work has been done yet."""
    try:
        decided = plan.decide(dataset.name, given)
        if isinstance(decided, SavedModel) and decided.asked and not decided.asked.draw:
            return Prepared(decided, examples=command.prepare(decided.asked, decided.prefix))
        if isinstance(decided, FinishedRun) or (isinstance(decided, SavedModel) and decided.asked):
            return Prepared(decided)
        return _load(dataset, decided)
    except OSError as error:
        raise RefusedError(explain(error)) from None


Share = Callable[["Reptile", "tf.Tensor"], "Reptile"]


def carry_out(
    prepared: Prepared,
    devices: Callable[[], Devices],
    share: Share = lambda algorithm, pixels: algorithm,
) -> None:
    """Do what a command means. devices: gives what computes, if anything does. share: gives what
    shares the tasks of an algorithm, which is itself unless there are several devices."""
    match prepared.plan:
        case FinishedRun() as finished:
            directory = finished.config.run.checkpoint
            output.note(f"{directory} holds a finished run, with these results:")
            for split, result in finished.found.items():
                results.show(split, result, finished.config.evaluation.transductive)
        case SavedModel(asked=args.Classifying() as asked) as model:
            devices()
            plan.announce(model, plan.ADAPTING)
            classifier = loading.restore(model)
            if prepared.examples:
                command.carry_out(classifier, model.prefix, prepared.examples, asked)
            else:
                from supervised_reptile.drawing import server  # with TensorFlow, as the model is

                server.serve(classifier, asked.port)
        case SavedModel() as saved:
            evaluate_saved(saved, prepared, *_ready(prepared, devices(), share))
        case TrainingRun() as training:
            ready, directory = _ready(prepared, devices(), share), training.config.run.checkpoint
            with record.claim(directory, training.recorded) as folder, _resumable(folder):
                train_and_evaluate(training, prepared, folder, *ready)


def _load(dataset: Dataset, decided: TrainingRun | SavedModel) -> Prepared:
    """With the images, and their split: of a recorded run, whatever the seed of an evaluation."""
    config, recorded = decided.config, decided.recorded
    seed, split, other = config.run.seed, None, False
    if recorded:
        seed, split = recorded.config.run.seed, recorded.split
        other = isinstance(decided, SavedModel) and decided.own_images
    images, split = dataset.load(config.run, seed, split, other)
    plan.check_data(config, images)
    plan.check_images(decided, images)
    where = "generated" if config.run.synthetic else config.run.data_dir
    output.note(f"Images ({where}): {images}")
    if recorded and recorded.data.get("digest") not in (None, "", images.digest):
        note = "not those of the run; classes that it knows by name keep their part, others test"
        output.note(f"The images are {note}")
        images = dataclasses.replace(images, origin={**images.origin, "images": note})
    return Prepared(decided, images, split)


@contextlib.contextmanager
def _resumable(folder: record.OwnFolder) -> Iterator[None]:
    """Say what is left of a run that ends early, and how to resume it."""
    begun = str(folder)

    def kept(outcome: str = "") -> str:
        there = f"{folder} is intact" if record.has_work(folder) else "nothing was saved yet"
        moved = "" if str(folder) == begun else f" --checkpoint {folder}"
        return f"{outcome or there}: run the same command with --resume{moved} to continue"

    try:
        yield
    except signals.Interrupted as interruption:
        raise signals.Interrupted(interruption.number, kept(interruption.outcome)) from None
    except _machine_errors(errors.LostError) as failure:
        raise FailedError(f"{explain(failure)}; {kept()}") from None


def _ready(prepared: Prepared, devices: Devices, share: Share) -> tuple["Reptile", "tf.Tensor"]:
    """The algorithm, and the pixels where it is computed."""
    import tensorflow as tf

    from supervised_reptile.learning import models, reptile

    (images, _), config = prepared.loaded(), prepared.plan.config
    algorithm = reptile.Reptile(models.MODELS[config.dataset], config, devices)
    with tf.device(devices.names[0]):
        pixels = images.as_tensor()
    return share(algorithm, pixels), pixels


def train_and_evaluate(
    decided: TrainingRun,
    prepared: Prepared,
    folder: record.OwnFolder,
    algorithm: "Reptile",
    pixels: "tf.Tensor",
) -> None:
    """Train a new model, or resume a recorded one, in its folder, and report its accuracies."""
    from supervised_reptile.runs import checkpoints, final_evaluation, training

    config, (images, split) = decided.config, prepared.loaded()
    here, saved = algorithm.devices.describe(), None
    if decided.recorded:
        plan.warn_of_machine(decided.recorded, here)
        saved = checkpoints.restore_newest(folder, algorithm.model, config)
    else:
        record.begin(record.Record(config, split, images.provenance, **record.part(here)))
    state, last = saved or (algorithm.new_state(), -1)
    if saved:
        output.note(f"Resuming after meta-iteration {last}, from {folder}")
    elif config.run.resume:
        new = f"training begins, of {config.outer.meta_iters:,} meta-iterations"
        output.note(f"{folder} holds no checkpoint to resume from: {new}")
    output.say("Training...")
    trained = training.train(algorithm, state, images, pixels, last + 1, folder)
    final_evaluation.report(algorithm, trained, images, pixels, folder)


def evaluate_saved(
    saved: SavedModel, prepared: Prepared, algorithm: "Reptile", pixels: "tf.Tensor"
) -> None:
    """Report the accuracies of a saved model."""
    from supervised_reptile.runs import checkpoints, final_evaluation, training

    prefix, folder = saved.prefix, record.OwnFolder(saved.prefix.parent)
    try:
        state = checkpoints.restore(prefix, algorithm.model, saved.config)
    except errors.DamagedError as error:
        earlier = f"name an earlier one, --checkpoint {prefix.parent}/model.ckpt-<number>"
        raise RefusedError(f"{error}; {earlier}") from None
    plan.announce(saved)
    output.say("Restoring from checkpoint...")
    trained = training.Trained(state, record.number(prefix), assumed=saved.assumed)
    images, _ = prepared.loaded()
    final_evaluation.report(algorithm, trained, images, pixels, folder)
