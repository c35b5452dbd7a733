"""What both scripts do: read the flags, load the data, train or restore, evaluate."""

import contextlib
import importlib
import os
import sys
import tempfile

from supervised_reptile import args, runs, signals
from supervised_reptile.errors import FailedError, RefusedError


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
        _leave(script, f"failed: {(str(failure) or repr(failure)).splitlines()[0]}", 1)
    except signals.Interrupted as interruption:
        _leave(script, interruption, 128 + interruption.number)


def _machine_errors():
    """What is raised when not the program but disk or memory fails, by TensorFlow too."""
    tensorflow = sys.modules.get("tensorflow")
    return OSError, MemoryError, *([tensorflow.errors.OpError] if tensorflow else [])


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
        if not prefix:
            runs.check_free(config.run.checkpoint)
        seed, split = config.run.seed, None
        if recorded:
            # The model's own split and images, whatever the seed of the evaluation.
            seed, split = recorded.config.run.seed, recorded.split
        module = importlib.import_module(f"supervised_reptile.{dataset}")
        images, split = module.load(config.run, seed, split)
    except OSError as error:
        raise RefusedError(f"{error.filename}: {error.strerror}; check the path") from None
    args.check_data(config, images)
    if prefix:
        evaluate_saved(config, images, prefix)
    else:
        with runs.claim(runs.Record(config, split, images.provenance)):
            train_and_evaluate(config, images)


def _look_up(given):
    """With --pretrained, the checkpoint's prefix and the Record of its run; else None, None."""
    if not given.get("pretrained"):
        return None, None
    prefix = runs.find_checkpoint(given.setdefault("checkpoint", args.Run.checkpoint))
    return prefix, runs.read_record(prefix.parent)


def train_and_evaluate(config, images):
    """Train a new model and report its accuracies."""
    algorithm, rows = _set_up(config, images)
    from supervised_reptile import eval, train

    learner, directory = algorithm.new_learner(), config.run.checkpoint
    print("Training...", flush=True)
    learner = train.train(algorithm, learner, images, rows)
    last = config.outer.meta_iters - 1 if config.outer.meta_iters else None
    try:
        eval.report(algorithm, learner, images, rows, directory, last)
    except signals.Interrupted as interruption:
        saved = f"the trained model is in {directory}, and --pretrained evaluates it"
        raise signals.Interrupted(interruption.number, saved) from None


def evaluate_saved(config, images, prefix):
    """Report the accuracies of a saved model."""
    algorithm, rows = _set_up(config, images)
    from supervised_reptile import checkpoints, eval

    learner = checkpoints.restore(prefix, algorithm.model, config)
    print("Restoring from checkpoint...", flush=True)
    eval.report(algorithm, learner, images, rows, prefix.parent, int(prefix.name.split("-")[-1]))


def _set_up(config, images):
    """The compiled functions of a run, and its images on the device."""
    with quiet():
        import tensorflow as tf
    from supervised_reptile import models, reptile

    return reptile.MetaLearner(models.MODELS[config.dataset], config), tf.constant(images.rows)


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
