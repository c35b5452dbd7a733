"""What a checkpoint directory says about its run, apart from the learner's state.

`run.json` holds what the run is: configuration, split, data, versions, machine. `results.jsonl` has
one line per evaluation, `evaluation.json` is a final evaluation under way, `seconds.json` says how
long training took, and `model.ckpt-<i>.index` marks a checkpoint. Nothing here needs TensorFlow.
"""

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

from supervised_reptile import calls, files
from supervised_reptile.args import Config
from supervised_reptile.errors import RefusedError

RECORD = "run.json"
RESULTS = "results.jsonl"
PROGRESS = "evaluation.json"
SECONDS = "seconds.json"
LOCK = "lock"
CHECKPOINT = re.compile(r"model\.ckpt-(\d+)\.index")


def versions():
    """Versions of what computes the results."""
    packages = ("tensorflow", "numpy", "pillow")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }


def machine(device):
    """What else decides how sums are rounded. device: the name of a TensorFlow device."""
    try:
        with open("/proc/cpuinfo") as file:
            cpu = re.search(r"^model name\s*: (.*)$", file.read(), re.M)[1]
    except (OSError, TypeError):
        cpu = platform.processor()
    return {"device": device.split(":")[-2], "cpu": cpu, "cores": calls.cores()}


def commit():
    """The commit of the program, "-dirty" if its files were changed; None where that is unknown."""

    def git(*words):
        command = ["git", "-C", str(pathlib.Path(__file__).parent), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", pathlib.Path(__file__).name)  # not in another's folder
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def training_seconds(directory, started):
    """Seconds that a run has been trained for: 0 for one that is not started, None if unknown."""
    try:
        return float(json.loads((pathlib.Path(directory) / SECONDS).read_text())["training"])
    except (OSError, ValueError, KeyError, TypeError):
        return None if started else 0.0


def keep_training_seconds(directory, seconds):
    """Keep them for `training_seconds`; None is not kept."""
    if seconds is not None:
        files.write_atomically(
            pathlib.Path(directory) / SECONDS, json.dumps({"training": round(seconds, 3)}) + "\n"
        )


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run is.

    split: its classes as they were before augmentation. data: ImageSet.provenance.
    """

    config: Config
    split: dict
    data: dict
    versions: dict = dataclasses.field(default_factory=versions)
    machine: dict = dataclasses.field(default_factory=dict)


def check_free(directory):
    """Raise RefusedError if training here would mix two runs, or could not write."""
    directory = pathlib.Path(directory)
    if directory.exists() and not directory.is_dir():
        raise RefusedError(f"--checkpoint {directory} is a file: name a directory")
    if checkpoints(directory) or any((directory / name).exists() for name in (RECORD, RESULTS)):
        go_on = "go on with it with --resume, " if (directory / RECORD).exists() else ""
        raise RefusedError(
            f"--checkpoint {directory} already holds a run: name another directory, {go_on}remove "
            "this one, or evaluate it with --pretrained"
        )
    if directory.exists() and not os.access(directory, os.W_OK | os.X_OK):
        raise RefusedError(f"--checkpoint {directory} cannot be written: check its permissions")


@contextlib.contextmanager
def claim(directory, recorded):
    """Hold the directory of a run, which no two processes can do at once.

    recorded: the Record that was found in it, None for a new run. A new run that leaves before its
    first checkpoint or result gives the directory up again.
    Raises RefusedError if the directory cannot be written, is held, or has changed.
    """
    directory = pathlib.Path(directory)
    with _locked(directory):
        if read_record(directory) != recorded:
            raise RefusedError(f"--checkpoint {directory}: another run has just begun there")
        left = [
            files.temporary(directory / name) for name in (RECORD, PROGRESS, SECONDS, "checkpoint")
        ]
        for path in (*left, *directory.glob("model.ckpt.tmp*")):
            path.unlink(missing_ok=True)  # of a process that was killed as it wrote
        try:
            yield
        except BaseException:
            results = (directory / name for name in (RESULTS, PROGRESS))
            if not (recorded or checkpoints(directory) or any(map(os.path.exists, results))):
                (directory / RECORD).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _locked(directory):
    """Hold the lock of a directory, which the system drops however the process ends."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = open(directory / LOCK, "a+")  # noqa: SIM115
    except OSError as error:
        raise RefusedError(f"--checkpoint {directory} cannot be written: {error}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError(f"--checkpoint {directory}: another run is at work there") from None
        except OSError as error:
            print(
                f"Warning: {directory} cannot be locked ({error.strerror}): make sure that no "
                "other run uses it",
                file=sys.stderr,
            )
        yield


def begin(record):
    """Write the run.json of a new run, into a directory that is held."""
    directory = pathlib.Path(record.config.run.checkpoint)
    for name in (PROGRESS, SECONDS):
        (directory / name).unlink(missing_ok=True)  # of one that gave the directory up
    content = {
        "dataset": record.config.dataset,
        "flags": record.config.flags(),
        **{name: getattr(record, name) for name in ("split", "data", "versions", "machine")},
    }
    files.write_atomically(directory / RECORD, json.dumps(content, indent=1))


def check_versions(recorded):
    """Raise RefusedError if a run would go on with other versions of what computes."""
    for package in ("tensorflow", "numpy"):
        theirs, ours = (of.get(package) for of in (recorded.versions, versions()))
        if theirs != ours:
            raise RefusedError(
                f"--resume: the run was begun with {package} {theirs}, and this is {ours}, which "
                f"may compute other bits: install {package}=={theirs}, or start another run"
            )


def check_images(config, recorded, data):
    """Raise RefusedError if images are not those of the recorded run. data: their provenance."""
    theirs, ours = (of.get("digest", "") for of in (recorded.data, data))
    if theirs != ours and (theirs or config.run.resume):
        where = "--synthetic" if config.run.synthetic else f"--data-dir {config.run.data_dir}"
        raise RefusedError(
            f"{where}: the images (digest {ours[:12]}...) are not those that the run was trained "
            f"on ({f'{theirs[:12]}...' if theirs else 'not recorded'}): give those"
        )


def warn_of_machine(recorded, machine):
    """Say on standard error what is different from where the run was begun."""
    differences = [
        f"{name} {machine.get(name)} instead of {value}"
        for name, value in recorded.machine.items()
        if machine.get(name) != value
    ]
    if differences:
        print(
            f"Warning: the run was begun on another machine ({', '.join(differences)}): it goes "
            "on, but its bits may differ from those that it would have had there",
            file=sys.stderr,
        )


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
        # Earlier runs lack the digest of their data, or their machine.
        optional = {name: content.get(name, {}) for name in ("data", "versions", "machine")}
        return Record(config, content["split"], **optional)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefusedError(f"{path} is not a whole record of a run ({error!r})") from None
