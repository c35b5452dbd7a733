"""What a checkpoint directory says about its run, apart from the learner's state.

`run.json` holds what the run is: configuration, split, data, versions, machine. `results.jsonl` has
one line per evaluation, `evaluation.json` is a final evaluation under way, `seconds.json` says how
long training took, and `model.ckpt-<i>.index` marks a checkpoint. Nothing here needs TensorFlow.
"""

import contextlib
import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from supervised_reptile.args import Config
from supervised_reptile.system import files, machine
from supervised_reptile.system.errors import RefusedError

RECORD = "run.json"
RESULTS = "results.jsonl"
TALLY = "evaluation.json"
SECONDS = "seconds.json"
LOCK = "lock"
KEPT = ("split", "data", "versions", "machine", "commit")  # of a Record, beside its Config
CHECKPOINT = re.compile(r"model\.ckpt-(\d+)\.index")


def training_seconds(directory: str | Path, started: bool) -> float | None:
    """Wall-clock seconds that a run was trained for until it was last kept, pauses included.

    What a killed process did after its last checkpoint is not counted. 0 for a run that has not
    started, None where an earlier part did not record it.
    """
    try:
        return float(json.loads((Path(directory) / SECONDS).read_text())["training"])
    except (OSError, ValueError, KeyError, TypeError):
        return None if started else 0.0


def keep_training_seconds(directory: str | Path, seconds: float | None) -> None:
    """Keep them for `training_seconds`; None is not kept."""
    if seconds is not None:
        files.write_atomically(
            Path(directory) / SECONDS, json.dumps({"training": round(seconds, 3)}) + "\n"
        )


@dataclasses.dataclass(frozen=True)
class Record:
    """What a run is.

    split: names of its classes by set, before augmentation. data: ImageSet.provenance. commit: of
    the program that started it, None where that is unknown.
    """

    config: Config
    split: dict
    data: dict
    versions: dict = dataclasses.field(default_factory=machine.versions)
    machine: dict = dataclasses.field(default_factory=dict)
    commit: str | None = None


@contextlib.contextmanager
def claim(directory: str | Path, recorded: Record | None) -> Iterator[None]:
    """Hold the directory of a run, which no two processes can do at once.

    recorded: the Record that was found in it, None for a new run. A new run that exits before its
    first checkpoint or result gives the directory up again.
    Raises RefusedError if the directory cannot be written, is held, or has changed.
    """
    directory = Path(directory)
    with _locked(directory):
        if read(directory) != recorded:
            raise RefusedError(f"--checkpoint {directory}: another run has just started there")
        left = [
            files.temporary(directory / name) for name in (RECORD, TALLY, SECONDS, "checkpoint")
        ]
        for path in (*left, *directory.glob("model.ckpt.tmp*")):
            path.unlink(missing_ok=True)  # of a process that was killed as it wrote
        try:
            yield
        except BaseException:
            results = (directory / name for name in (RESULTS, TALLY))
            if not (recorded or checkpoints(directory) or any(map(os.path.exists, results))):
                (directory / RECORD).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, where its file system has locks."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / LOCK).touch()
    except OSError as error:
        raise RefusedError(f"--checkpoint {directory} cannot be written: {error}") from None
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(files.locked(directory / LOCK))
        except BlockingIOError:
            busy = f"--checkpoint {directory}: another process is training there"
            raise RefusedError(busy) from None
        except PermissionError as error:
            raise RefusedError(f"--checkpoint {directory} cannot be written: {error}") from None
        except OSError as error:
            print(
                f"Warning: {directory} cannot be locked ({error.strerror}): make sure that no "
                "other run uses it",
                file=sys.stderr,
            )
        yield


def begin(record: Record) -> None:
    """Write the run.json of a new run, into a directory that is held."""
    directory = Path(record.config.run.checkpoint)
    for name in (TALLY, SECONDS):
        (directory / name).unlink(missing_ok=True)  # of one that gave the directory up
    content = {
        "dataset": record.config.dataset,
        "flags": record.config.flags(),
        **{
            name: getattr(record, name)
            for name in ("split", "data", "versions", "machine", "commit")
        },
    }
    files.write_atomically(directory / RECORD, json.dumps(content, indent=1))


def checkpoints(directory: str | Path) -> list[int]:
    """The numbers of a directory's checkpoints, ascending."""
    if not os.path.isdir(directory):
        return []
    found = (CHECKPOINT.fullmatch(name) for name in os.listdir(directory))
    return sorted(int(match[1]) for match in found if match)


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint that a directory's newest is, or that `path` itself names, as its prefix.

    Raises RefusedError if there is none.
    """
    path = Path(path)
    if CHECKPOINT.fullmatch(path.name + ".index") and path.with_name(path.name + ".index").exists():
        return path
    numbers = checkpoints(path)
    if not numbers:
        raise RefusedError(
            f"--pretrained: there is no checkpoint in {path}; name with --checkpoint a directory "
            "that a run has written, or one checkpoint in it (model.ckpt-100)"
        )
    return path / f"model.ckpt-{numbers[-1]}"


def read(directory: str | Path) -> Record | None:
    """The Record of a run, or None if the directory has none (those of the authors' program).

    Raises RefusedError if it is damaged.
    """
    path = Path(directory) / RECORD
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        config = Config.of(content["dataset"], content["flags"])
        # Earlier runs lack the digest of their data, their machine, or the commit.
        optional = {name: content.get(name, {}) for name in ("data", "versions", "machine")}
        return Record(config, content["split"], **optional, commit=content.get("commit"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RefusedError(f"{path} is not a complete record of a run ({error!r})") from None
