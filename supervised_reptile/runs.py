"""What a checkpoint directory says about its run, apart from the learner's state.

`run.json` holds the configuration and the split, `results.jsonl` one line per evaluation, and
`model.ckpt-<i>.index` marks a checkpoint. Nothing here needs TensorFlow.
"""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import sys

from supervised_reptile.args import Config
from supervised_reptile.errors import RefusedError

RECORD = "run.json"
RESULTS = "results.jsonl"
CHECKPOINT = re.compile(r"model\.ckpt-(\d+)\.index")


@dataclasses.dataclass(frozen=True)
class Record:
    """A run's configuration, its classes by split as they were before augmentation, and its data.

    data: ImageSet.provenance.
    """

    config: Config
    split: dict
    data: dict


def check_free(directory):
    """Raise RefusedError if training here would mix two runs, or could not write."""
    directory = pathlib.Path(directory)
    if directory.exists() and not directory.is_dir():
        raise RefusedError(f"--checkpoint {directory} is a file: name a directory")
    if checkpoints(directory) or any((directory / name).exists() for name in (RECORD, RESULTS)):
        raise RefusedError(
            f"--checkpoint {directory} already holds a run: name another directory, remove this "
            "one, or evaluate it with --pretrained"
        )
    if directory.exists() and not os.access(directory, os.W_OK | os.X_OK):
        raise RefusedError(f"--checkpoint {directory} cannot be written: check its permissions")


@contextlib.contextmanager
def claim(record):
    """Make the directory of a new run and its run.json, which no two runs can do at once.

    A run that leaves before its first checkpoint or result gives the directory up again.
    Raises RefusedError if the directory cannot be made or was claimed just now.
    """
    directory = pathlib.Path(record.config.run.checkpoint)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = open(directory / RECORD, "x")  # noqa: SIM115
    except FileExistsError:
        raise RefusedError(f"--checkpoint {directory}: another run has just begun there") from None
    except OSError as error:
        raise RefusedError(f"--checkpoint {directory} cannot be written: {error}") from None
    try:
        with file:
            json.dump(_record_content(record), file, indent=1)
        yield
    except BaseException:
        if not checkpoints(directory) and not (directory / RESULTS).exists():
            os.remove(directory / RECORD)
        raise


def checkpoints(directory):
    """The numbers of a directory's checkpoints, ascending."""
    if not os.path.isdir(directory):
        return []
    found = (CHECKPOINT.fullmatch(name) for name in os.listdir(directory))
    return sorted(int(match[1]) for match in found if match)


def find_checkpoint(path):
    """The checkpoint that a directory's newest is, or that `path` itself names, as its prefix.

    Raises RefusedError if there is none.
    """
    path = pathlib.Path(path)
    if CHECKPOINT.fullmatch(path.name + ".index") and path.with_name(path.name + ".index").exists():
        return path
    numbers = checkpoints(path)
    if not numbers:
        raise RefusedError(
            f"--pretrained: there is no checkpoint in {path}; name with --checkpoint a directory "
            "that a run has written, or one checkpoint in it (model.ckpt-100)"
        )
    return path / f"model.ckpt-{numbers[-1]}"


def write_atomically(path, text):
    """Write a whole file or nothing."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _record_content(record):
    return {
        "dataset": record.config.dataset,
        "flags": record.config.flags(),
        "split": record.split,
        "data": record.data,
        "versions": versions(),
    }


def read_record(directory):
    """The Record of a run, or None if the directory has none (those of the authors' program).

    Raises RefusedError if it is damaged.
    """
    path = pathlib.Path(directory) / RECORD
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        config = Config.of(content["dataset"], content["flags"])
        # Runs before data had a digest lack it.
        return Record(config, content["split"], content.get("data", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefusedError(f"{path} is not a whole record of a run ({error!r})") from None


def append_result(directory, config, iteration, accuracies, data):
    """Append one evaluation to results.jsonl; a directory that cannot be written gets a warning.

    iteration: the number of the checkpoint, None for an untrained network.
    accuracies: eval.Accuracy by split. data: ImageSet.provenance.
    """
    line = {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "dataset": config.dataset,
        "iteration": iteration,
        "accuracy": {split: accuracy.mean for split, accuracy in accuracies.items()},
        "confidence_95": {split: accuracy.confidence for split, accuracy in accuracies.items()},
        "config": config.flags(),
        "data": data,
        "versions": versions(),
    }
    path = pathlib.Path(directory) / RESULTS
    try:
        with open(path, "a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        print(f"Warning: the results were not recorded in {path}: {error}", file=sys.stderr)


def versions():
    """Versions of what computes the results."""
    packages = ("tensorflow", "numpy", "pillow")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }
