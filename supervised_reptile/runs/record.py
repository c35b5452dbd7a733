"""The files of a checkpoint directory that describe its run, apart from the learner's state.

`run.json` holds what the run is: configuration, split, data, versions, machine. `results.jsonl` has
one line per evaluation, `evaluation.json` is a final evaluation under way, `seconds.json` says how
long training took, and `model.ckpt-<i>.index` marks a checkpoint. TensorFlow's state file,
`checkpoint`, names the newest one. Nothing here needs TensorFlow.
"""

import contextlib
import dataclasses
import errno
import json
import math
import os
import re
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from supervised_reptile.args import Config
from supervised_reptile.data.folders import composed
from supervised_reptile.system import files, machine
from supervised_reptile.system.errors import FailedError, RefusedError, explain
from supervised_reptile.system.output import note, some

RECORD = "run.json"
RESULTS = "results.jsonl"
TALLY = "evaluation.json"
SECONDS = "seconds.json"
LOCK = "lock"
# Errors of file systems without locks; 524 is the kernel's ENOTSUPP, which NFS lets through.
WITHOUT_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524)
# Flags that say where things are: records that are passed on lack them.
PLACES = ("checkpoint", "data_dir")
# Flags that the records of earlier runs lack, which had their defaults.
ADDED = ("eval_sets", "rotations", "clean")
KEPT = ("split", "data", "versions", "machine")  # of a Record; commit is optional
STATE = "checkpoint"  # TensorFlow's own file on which checkpoints there are
SHOWN = 10  # checkpoints that a refusal names
PART = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")  # what a shell completes
OWN_FILES = (TALLY, SECONDS, STATE)  # that a new run overwrites
TEMPORARY = ".model.ckpt.tmp"  # what a checkpoint is called until it is whole
CHECKPOINT = re.compile(r"model\.ckpt-(\d+)\.index")


def training_seconds(directory: str | os.PathLike, started: bool) -> float | None:
    """Wall-clock seconds that a run was trained for until it was last kept.

    The time between a stop and its resume is not counted, nor what a killed process did after its
    last checkpoint. 0 for a run that has not started, None where an earlier part did not record it.
    """
    try:
        seconds = float(json.loads((Path(directory) / SECONDS).read_text())["training"])
        return seconds if 0 <= seconds < math.inf else None
    except (OSError, ValueError, KeyError, TypeError):
        return None if started else 0.0


def keep_training_seconds(directory: str | os.PathLike, seconds: float | None) -> None:
    """Keep them for `training_seconds`; None is not kept."""
    if seconds is not None:
        content = json.dumps({"training": round(seconds, 3)}) + "\n"
        files.write_atomically(Path(directory) / SECONDS, content)


@dataclasses.dataclass(frozen=True)
class Record:
    """The description of a run, written when it begins.

    split: names of its classes by set, before augmentation. data: ImageSet.provenance. commit: of
    the program that started it, None where that is unknown.
    """

    config: Config
    split: dict
    data: dict
    versions: dict
    machine: dict
    commit: str | None


class OwnFolder(os.PathLike):
    """A folder by what it is, not by its name: it stays the same one wherever it is moved."""

    def __init__(self, path: str | os.PathLike) -> None:
        self._path, self._number = os.fspath(path), os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._number)

    def __fspath__(self) -> str:
        """Where the folder is now. Raises FailedError if it is gone, or no system tells."""
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(self._path), os.fstat(self._number)):
                return self._path
        with contextlib.suppress(OSError):
            moved = os.readlink(f"/proc/self/fd/{self._number}")
            if os.path.samestat(os.stat(moved), os.fstat(self._number)):
                note(f"Note: {self._path} was moved: this run goes on in {moved}")
                self._path = moved
                return moved
        raise FailedError(f"{self._path}, the folder of this run, is gone: it was moved or removed")

    __str__ = __fspath__


@contextlib.contextmanager
def claim(directory: str | Path, recorded: Record | None) -> Iterator[OwnFolder]:
    """Hold the directory of a run, which no two processes can do at once; yield it.

    recorded: the Record that was found in it, None for a new run. A new run that exits before its
    first checkpoint or result gives the directory up again.
    Raises RefusedError if the directory cannot be written, is held, or has changed.
    """
    directory = Path(directory)
    with _locked(directory):
        if read(directory) != recorded:
            raise RefusedError(f"--checkpoint {directory}: another run has just started there")
        left = [files.temporary(directory / name) for name in (RECORD, *OWN_FILES)]
        for path in (*left, *directory.glob(f"{TEMPORARY}*")):
            path.unlink(missing_ok=True)  # of a process that was killed as it wrote
        own = OwnFolder(directory)
        try:
            yield own
        except BaseException:
            with contextlib.suppress(FailedError):  # It is gone.
                if not (recorded or has_work(own)):
                    for name in (RECORD, SECONDS):
                        Path(own, name).unlink(missing_ok=True)
            raise


def has_work(directory: str | os.PathLike) -> bool:
    """Whether a directory holds a checkpoint, or results, of a run."""
    results = (Path(directory, name) for name in (RESULTS, TALLY))
    return bool(checkpoints(directory)) or any(map(os.path.exists, results))


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, where its file system has locks."""
    with contextlib.ExitStack() as lock:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            lock.enter_context(files.locked(directory / LOCK))
            try:  # the folder itself, too: that file may be tidied away
                lock.enter_context(files.locked(directory))
            except OSError as error:
                if isinstance(error, BlockingIOError):
                    raise  # others: NFS has locks of files alone
        except BlockingIOError:
            raise RefusedError(
                f"--checkpoint {directory}: another process is training there; let it finish, or "
                "name another directory"
            ) from None
        except OSError as error:
            if error.errno not in WITHOUT_LOCKS:
                reason = f"--checkpoint {directory} cannot be written: {explain(error)}"
                raise RefusedError(reason) from None
            note(
                f"Warning: {directory} cannot be locked ({error.strerror}): make sure that no "
                "other run uses it"
            )
        yield


def begin(record: Record) -> None:
    """Write the run.json of a new run, into a directory that is held."""
    content = {
        "dataset": record.config.dataset,
        "flags": record.config.flags(),
        **{name: getattr(record, name) for name in (*KEPT, "commit")},
    }
    path = Path(record.config.run.checkpoint) / RECORD
    files.write_atomically(path, json.dumps(content, indent=1))


def part(here: dict) -> dict:
    """The commit, machine and versions of a part of a run. here: from Devices.describe."""
    return {"commit": machine.commit(), "machine": here, "versions": machine.versions()}


def add_part(directory: os.PathLike, own: dict) -> None:
    """Add to the run.json of a run that goes on, in a directory that is held, what trains this
    part of it, unless that has trained an earlier part. own: from `part`."""
    path = Path(directory, RECORD)
    if not path.exists():
        return  # training that is no run of a command
    content = json.loads(path.read_text())
    later = content.get("parts", [])
    if own not in ({name: one.get(name) for name in own} for one in (content, *later)):
        content["parts"] = [*later, own]
        files.write_atomically(path, json.dumps(content, indent=1))


def checkpoints(directory: str | os.PathLike) -> list[int]:
    """The numbers of a directory's checkpoints, ascending."""
    if not os.path.isdir(directory):
        return []
    found = (CHECKPOINT.fullmatch(name) for name in os.listdir(directory))
    return sorted(int(match[1]) for match in found if match)


def number(prefix: Path) -> int | None:
    """The number in a checkpoint's name, None if it has none."""
    found = re.search(r"-(\d+)$", prefix.name)
    return int(found[1]) if found else None


def newest(directory: str | os.PathLike) -> tuple[Path | None, str]:
    """The checkpoint that a directory's state file names as its newest, by its prefix, and a
    warning if that file says something else than the numbers of the checkpoints.

    None if no state file names one, or if that is gone.
    """
    path = Path(directory) / STATE
    content = path.read_text(errors="replace") if path.is_file() else ""
    found = re.search(r'^\s*model_checkpoint_path:\s*"(.+)"', content, re.M)
    if not found:
        return None, ""
    # The folder may have been moved: what it has of an absolute path is the name.
    name = Path(found[1]).name if os.path.isabs(found[1]) else found[1]
    said, numbers = f"{path} names {name} as the newest, but", checkpoints(directory)
    prefix = path.parent / name
    if not os.path.exists(f"{prefix}.index"):
        return None, f"{said} that is not there"
    own = number(prefix)
    if not numbers or (own is not None and own >= numbers[-1]):
        return prefix, ""
    there = f"there are others, up to model.ckpt-{numbers[-1]}"
    return prefix, f"{said} {there}: they are left aside"


def name_newest(directory: Path, numbers: Sequence[int]) -> None:
    """Write the state file, which tf.train.latest_checkpoint reads. numbers: of the checkpoints,
    ascending."""
    lines = [f'model_checkpoint_path: "model.ckpt-{numbers[-1]}"']
    lines += [f'all_model_checkpoint_paths: "model.ckpt-{number}"' for number in numbers]
    files.write_atomically(directory / STATE, "\n".join(lines) + "\n")


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint that `path` names by its prefix or by one of its files, as its prefix; of a
    directory, the newest: the one its state file names, or else the one of the highest number.

    Raises RefusedError if there is none, which names those that there are.
    """
    path = Path(path)
    if path.is_dir():
        highest = [path / f"model.ckpt-{number}" for number in checkpoints(path)[-1:]]
        prefix = newest(path)[0] or next(iter(highest), path / "model.ckpt-<number>")
    else:
        prefix = path.with_name(PART.sub("", path.name))
    if os.path.exists(f"{prefix}.index"):
        return prefix
    place = path if path.is_dir() else path.parent
    near = [file.with_suffix("") for file in place.glob("*.index")]
    near.sort(key=lambda other: (number(other) or 0, other.name), reverse=True)
    near = near or sorted({file.parent for file in place.glob("*/*.index")})
    there = some([other.name for other in near], SHOWN)
    raise RefusedError(
        f"--pretrained --checkpoint {path}: there is no checkpoint, but {place} has "
        f"{there or 'nothing'}: name a folder that a run has written, or one checkpoint in it"
    )


def _check(config: Config, content: dict[str, Any]) -> None:
    """Raise ValueError for a record that somebody has changed so that it makes no sense."""
    given, defaults = content["flags"], Config.of(config.dataset, {}).flags()
    for name, default in defaults.items():
        if name not in given and name not in PLACES + ADDED:
            raise ValueError(f"it lacks {name}")
        value = given.get(name, default)
        if type(value) not in ((int, type(None)) if default is None else (type(default),)):
            raise ValueError(f"{name} is {value!r}")
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
        split = {part: list(map(composed, names)) for part, names in content["split"].items()}
        content["split"], config = split, Config.of(content["dataset"], content["flags"])
        _check(config, content)
        kept = {name: content[name] for name in KEPT}
        return Record(config, **kept, commit=content.get("commit"))  # which earlier runs lack
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RefusedError(f"{path} is not a complete record of a run ({error!r})") from None
