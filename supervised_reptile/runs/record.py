"""What a checkpoint directory says about its run, apart from the learner's state.

`run.json` holds what the run is: configuration, split, data, versions, machine. `results.jsonl` has
one line per evaluation, `evaluation.json` is a final evaluation under way, `seconds.json` says how
long training took, and `model.ckpt-<i>.index` marks a checkpoint. TensorFlow's state file,
`checkpoint`, names the newest one. Nothing here needs TensorFlow.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from supervised_reptile.args import GROUPS, Config
from supervised_reptile.system import files, machine
from supervised_reptile.system.errors import RefusedError, explain
from supervised_reptile.system.output import some

RECORD = "run.json"
RESULTS = "results.jsonl"
TALLY = "evaluation.json"
SECONDS = "seconds.json"
LOCK = "lock"
PLACES = ("checkpoint", "data_dir")  # flags that say where things are on a machine
KEPT = ("split", "data", "versions", "machine", "commit")  # of a Record, beside its Config
STATE = "checkpoint"  # TensorFlow's own file on which checkpoints there are
SHOWN = 10  # checkpoints that a refusal names
PART = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")  # what a shell completes
FLAGS = {field.name: field for group in GROUPS.values() for field in dataclasses.fields(group)}
OWN_FILES = (TALLY, SECONDS, STATE)  # that a new run removes or overwrites
CHECKPOINT = re.compile(r"model\.ckpt-(\d+)\.index")


def training_seconds(directory: str | Path, started: bool) -> float | None:
    """Wall-clock seconds that a run was trained for until it was last kept, pauses included.

    What a killed process did after its last checkpoint is not counted. 0 for a run that has not
    started, None where an earlier part did not record it.
    """
    try:
        seconds = float(json.loads((Path(directory) / SECONDS).read_text())["training"])
        return seconds if 0 <= seconds < math.inf else None
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
        left = [files.temporary(directory / name) for name in (RECORD, TALLY, SECONDS, STATE)]
        for path in (*left, *directory.glob("model.ckpt.tmp*")):
            path.unlink(missing_ok=True)  # of a process that was killed as it wrote
        try:
            yield
        except BaseException:
            results = (directory / name for name in (RESULTS, TALLY))
            if not (recorded or checkpoints(directory) or any(map(os.path.exists, results))):
                for name in (RECORD, SECONDS):
                    (directory / name).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, where its file system has locks."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / LOCK).touch()
    except OSError as error:
        raise _unwritable(directory, error) from None
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(files.locked(directory / LOCK))
        except BlockingIOError:
            raise busy(directory) from None
        except PermissionError as error:
            raise _unwritable(directory, error) from None
        except OSError as error:
            print(
                f"Warning: {directory} cannot be locked ({error.strerror}): make sure that no "
                "other run uses it",
                file=sys.stderr,
            )
        yield


def _unwritable(directory: Path, error: OSError) -> RefusedError:
    return RefusedError(f"--checkpoint {directory} cannot be written: {explain(error)}")


def busy(directory: str | Path) -> RefusedError:
    """The refusal of a directory that another process holds."""
    return RefusedError(
        f"--checkpoint {directory}: another process is training there; let it finish, or name "
        "another directory"
    )


def begin(record: Record) -> None:
    """Write the run.json of a new run, into a directory that is held."""
    directory = Path(record.config.run.checkpoint)
    content = {
        "dataset": record.config.dataset,
        "flags": record.config.flags(),
        **{name: getattr(record, name) for name in KEPT},
    }
    files.write_atomically(directory / RECORD, json.dumps(content, indent=1))


def checkpoints(directory: str | Path) -> list[int]:
    """The numbers of a directory's checkpoints, ascending."""
    if not os.path.isdir(directory):
        return []
    found = (CHECKPOINT.fullmatch(name) for name in os.listdir(directory))
    return sorted(int(match[1]) for match in found if match)


def number(prefix: Path) -> int | None:
    """The number in a checkpoint's name, None if it has none."""
    found = re.search(r"-(\d+)$", prefix.name)
    return int(found[1]) if found else None


def _exists(prefix: Path) -> bool:
    return os.path.exists(f"{prefix}.index")


def _stated(directory: str | Path) -> Path | None:
    """The prefix of the checkpoint that a directory's state file names as the newest.

    None if there is no such file, or none that TensorFlow can read.
    """
    try:
        content = (Path(directory) / STATE).read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    found = re.search(rb'^\s*model_checkpoint_path:\s*"((?:[^"\\\n]|\\.)+)"', content, re.M)
    try:  # whatever is not ASCII, its bytes are written as octal numbers
        name = found[1].decode("unicode_escape").encode("latin-1").decode() if found else ""
    except ValueError:
        return None
    # The folder may have been moved: what it has of an absolute path is the name.
    own = Path(name).name if os.path.isabs(name) else name
    return Path(directory) / own if own else None


def stated(directory: str | Path) -> Path | None:
    """The checkpoint that a directory's state file names as the newest, None if it is not there."""
    named = _stated(directory)
    return named if named and _exists(named) else None


def doubt(directory: str | Path) -> str | None:
    """What speaks against the checkpoint that a directory's newest is taken to be, if anything."""
    named = _stated(directory)
    if not named:
        return None
    if not _exists(named):
        return f"{directory}/{STATE} names {named.name} as the newest, but that is not there"
    own, numbers = number(named), checkpoints(directory)
    higher = [found for found in numbers if own is None or found > own]
    if not higher:
        return None
    return (
        f"{directory}/{STATE} names {named.name} as the newest, but there are others, up to "
        f"model.ckpt-{higher[-1]}: they are left aside"
    )


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint that `path` names by its prefix or by one of its files, as its prefix; of a
    directory, the newest: the one its state file names, or else the one of the highest number.

    Raises RefusedError if there is none.
    """
    path = Path(path)
    if path.is_dir():
        numbers = checkpoints(path)
        highest = path / f"model.ckpt-{numbers[-1]}" if numbers else None
        prefix = stated(path) or highest
    else:
        prefix = path.with_name(PART.sub("", path.name))
    if prefix and _exists(prefix):
        return prefix
    raise RefusedError(f"--pretrained: there is no checkpoint {_other_than(path)}")


def _other_than(path: Path) -> str:
    """How to name a checkpoint where `path` is none: one of those that there are."""
    folder = path if path.is_dir() else path.parent
    files = os.listdir(folder) if folder.is_dir() else []
    prefixes = [Path(name).stem for name in files if name.endswith(".index")]
    if not prefixes:
        return (
            f"in {path}; name with --checkpoint a directory that a run has written, or one "
            "checkpoint in it (model.ckpt-100)"
        )
    names = sorted(prefixes, key=lambda name: (number(Path(name)) or 0, name))
    there = ", ".join([*(["..."] if len(names) > SHOWN else []), *names[-SHOWN:]])
    own = "model.ckpt-<number>" if path == folder else path.name
    return f"{own} in {folder}, but {there}: name one of these, --checkpoint {folder / names[-1]}"


def _check_range(name: str, value: float) -> None:
    try:
        FLAGS[name].metadata["convert"](repr(value))
    except argparse.ArgumentTypeError as error:
        raise ValueError(f"{name} {error}") from None


def _check(config: Config, content: dict[str, Any]) -> None:
    """Raise ValueError for a record that somebody has changed so that it makes no sense."""
    given, defaults = content["flags"], Config.of(config.dataset, {}).flags()
    for name, default in defaults.items():
        kinds = (int, type(None)) if default is None else (type(default),)
        if name not in given:
            if name in PLACES:  # which a record that is passed on does not have
                continue
            raise ValueError(f"it lacks {name}")
        if type(given[name]) not in kinds:
            raise ValueError(f"{name} is {given[name]!r}")
        if type(given[name]) in (int, float):
            _check_range(name, given[name])
    if unknown := given.keys() - defaults.keys():
        raise ValueError(f"it has {some(sorted(unknown))}, which this version does not know")
    names = [name for members in content["split"].values() for name in members]
    if len(set(names)) < len(names):
        raise ValueError("a class is in two sets, or twice in one")


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
        _check(config, content)
        # Earlier runs lack the digest of their data, their machine, or the commit.
        optional = {name: content.get(name, {}) for name in ("data", "versions", "machine")}
        return Record(config, content["split"], **optional, commit=content.get("commit"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RefusedError(f"{path} is not a complete record of a run ({error!r})") from None
