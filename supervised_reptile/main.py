"""What both scripts do: read the flags, load the data, train or restore, evaluate."""

import contextlib
import importlib
import os
import sys
import tempfile

from supervised_reptile import args, results, runs, signals
from supervised_reptile.errors import DamagedError, FailedError, RefusedError


def main(dataset, argv=None):
    """Run a command line on a dataset ("omniglot" or "miniimagenet"), and exit.

    The exit status is 0, 2 for what was refused before any work, 1 for a failure later, or
    128 + the number of the signal that ended it.
    """
    script = f"run_{dataset}.py"
    try:
        signals.raise_interrupted()
        run(dataset, script, sys.argv[1:] if argv is None else argv)
    except RefusedError as refusal:
        _leave(script, f"error: {refusal}", 2)
    except (FailedError, *_machine_errors()) as failure:
        _leave(script, f"failed: {_first_line(failure)}", 1)
    except signals.Interrupted as interruption:
        _leave(script, interruption, 128 + interruption.number)


def _machine_errors():
    """What is raised when not the program but disk or memory fails, by TensorFlow too."""
    tensorflow = sys.modules.get("tensorflow")
    return OSError, MemoryError, *([tensorflow.errors.OpError] if tensorflow else [])


def _first_line(failure):
    return (str(failure) or repr(failure)).splitlines()[0]


def _leave(script, message, status):
    print(f"{script}: {message}", file=sys.stderr)
    sys.exit(status)


def run(dataset, script, argv):
    """Parse, check, load, and only then start TensorFlow.

    Raises RefusedError, FailedError or what _machine_errors names, Interrupted.
    """
    given = args.parse(script, dataset, argv)
    try:
        prefix, recorded = _look_up(given)
        config = args.resolve(dataset, given, recorded and recorded.config)
        if not (prefix or recorded):
            runs.check_free(config.run.checkpoint)
        if recorded and not prefix:
            if accuracies := results.of_finished(config.run.checkpoint, config):
                return report_again(config, accuracies)
            runs.check_versions(recorded)
        images, split = _load(config, recorded)
    except OSError as error:
        raise RefusedError(f"{error.filename}: {error.strerror}; check the path") from None
    args.check_data(config, images)
    if recorded and not (prefix and given.keys() & {"data_dir", "synthetic"}):
        runs.check_images(config, recorded, images.provenance)
    if prefix:
        evaluate_saved(config, images, prefix)
    else:
        with runs.claim(config.run.checkpoint, recorded), _resumable(config.run.checkpoint):
            train_and_evaluate(config, images, split, recorded)


def _look_up(given):
    """What is there: with --pretrained, the checkpoint's prefix and the Record of its run; with
    --resume, None and the Record; otherwise None, None."""
    directory = given.setdefault("checkpoint", args.Run.checkpoint)
    if given.get("pretrained"):
        prefix = runs.find_checkpoint(directory)
        return prefix, runs.read_record(prefix.parent)
    return None, runs.read_record(directory) if given.get("resume") else None


def _load(config, recorded):
    """The images, and their split; that of the recorded run, whatever the seed of an evaluation."""
    seed, split = config.run.seed, None
    if recorded:
        seed, split = recorded.config.run.seed, recorded.split
    return importlib.import_module(f"supervised_reptile.{config.dataset}").load(
        config.run, seed, split
    )


@contextlib.contextmanager
def _resumable(directory):
    """Say how to go on with a run that ends early."""
    advice = "the same command with --resume goes on from there"
    try:
        yield
    except signals.Interrupted as interruption:
        outcome = f"{interruption.outcome or f'{directory} is whole'}: {advice}"
        raise signals.Interrupted(interruption.number, outcome) from None
    except _machine_errors() as failure:
        raise FailedError(f"{_first_line(failure)}; {directory} is whole: {advice}") from None


def report_again(config, accuracies):
    """Print the results of a finished run. accuracies: results.SetResult by split."""
    print(f"{config.run.checkpoint} holds a finished run, with these results:", file=sys.stderr)
    for split, accuracy in accuracies.items():
        results.show(split, accuracy)


def train_and_evaluate(config, images, split, recorded):
    """Train a new model, or go on with a recorded run, and report its accuracies."""
    algorithm, rows = _set_up(config, images)
    from supervised_reptile import checkpoints, eval, train

    directory, saved = config.run.checkpoint, None
    machine = runs.machine(rows.device)
    if recorded:
        runs.warn_of_machine(recorded, machine)
        saved = checkpoints.restore_newest(directory, algorithm.model, config)
    else:
        runs.begin(runs.Record(config, split, images.provenance, machine=machine))
    if saved:
        learner, last = saved
        print(f"Going on after meta-iteration {last}, from {directory}", file=sys.stderr)
    else:
        learner, last = algorithm.new_learner(), -1
    print("Training...", flush=True)
    learner, seconds = train.train(algorithm, learner, images, rows, last + 1)
    eval.report(algorithm, learner, images, rows, directory, config.outer.last, seconds)


def evaluate_saved(config, images, prefix):
    """Report the accuracies of a saved model."""
    algorithm, rows = _set_up(config, images)
    from supervised_reptile import checkpoints, eval

    try:
        learner = checkpoints.restore(prefix, algorithm.model, config)
    except DamagedError as error:
        earlier = f"name an earlier one, --checkpoint {prefix.parent}/model.ckpt-<number>"
        raise RefusedError(f"{error}; {earlier}") from None
    print("Restoring from checkpoint...", flush=True)
    eval.report(algorithm, learner, images, rows, prefix.parent, int(prefix.name.split("-")[-1]))


def _set_up(config, images):
    """The compiled functions of a run, and its images on the device."""
    with quiet():
        from supervised_reptile import models, reptile

    algorithm = reptile.MetaLearner(models.MODELS[config.dataset], config)
    return algorithm, reptile.resident(images.rows)


@contextlib.contextmanager
def quiet():
    """Keep what TensorFlow's C++ code writes while it is imported off the screen.

    TF_CPP_MIN_LOG_LEVEL silences only what comes later. Whoever sets it sees everything.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    sys.stderr.flush()
    screen = os.dup(2)
    with tempfile.TemporaryFile() as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        except Exception:
            log.seek(0)
            os.write(screen, log.read())
            raise
        finally:
            os.dup2(screen, 2)
            os.close(screen)
