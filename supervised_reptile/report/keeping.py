"""What is kept of runs beside the program: their results in small, and their models.

Places on the machine of a run are left out of both: absolute paths among the flags, so that the
defaults hold, and all but the last name of where the data came from.
"""

import hashlib
import json
import pathlib
import shutil
from typing import Any

from supervised_reptile.report import curves
from supervised_reptile.report.reading import Run, read_lines
from supervised_reptile.runs.record import (
    LOCK,
    PART,
    RECORD,
    RESULTS,
    SECONDS,
    STATE,
    checkpoints,
)
from supervised_reptile.system.errors import FailedError
from supervised_reptile.system.files import replacing, write_atomically

Json = dict[str, Any]


def collect(run: Run, target: pathlib.Path) -> None:
    """Write what the report needs of a run into a folder: a few kilobytes.

    Raises OSError, and FailedError if the run's record lacks its classes, its curve cannot be read,
    or the folder has models or is a run's own.
    """
    source = run.path
    if not run.curve and curves.are_there(source):
        raise FailedError(f"{source} has a curve that cannot be read")
    if checkpoints(target):
        raise FailedError(f"{target} holds checkpoints, whose run.json this would shorten")
    _check_apart(source, target)
    record = _without_places(_record(source))
    record["split"] = {name: _digest(classes) for name, classes in record["split"].items()}
    lines = [json.dumps(_without_places(line)) + "\n" for line, _ in read_lines(source / RESULTS)]
    target.mkdir(parents=True, exist_ok=True)
    write_atomically(target / RECORD, _text(record))
    write_atomically(target / RESULTS, "".join(lines))
    if (source / SECONDS).exists():
        _copy(source / SECONDS, target)
    else:  # of an earlier run
        (target / SECONDS).unlink(missing_ok=True)
    if run.curve:
        with replacing(target / curves.COMPACT) as beside:
            curves.write_compact(run.curve, beside)
    else:
        (target / curves.COMPACT).unlink(missing_ok=True)


def keep_model(run: Run, target: pathlib.Path) -> None:
    """Copy the last checkpoint of a complete run and its record, as --pretrained reads them.

    The record then asks for as many tasks as the largest evaluation that was made.

    Raises OSError, and FailedError if the run's last checkpoint or its classes are not there, or
    the folder is a run's own.
    """
    source, name = run.path, f"model.ckpt-{run.total - 1}"
    _check_apart(source, target)
    parts = [part for part in sorted(source.glob(f"{name}.*")) if PART.search(part.name)]
    if not {".data-00000-of-00001", ".index"} <= {part.suffix for part in parts}:
        raise FailedError(f"{source} lacks its last checkpoint, {name}: copy the whole folder")
    record = _without_places(_record(source))
    # So that --pretrained repeats the evaluation that the tables show.
    tasks = [evaluation.tasks for evaluation in run.evaluations]
    record["flags"]["eval_samples"] = max(tasks)
    target.mkdir(parents=True, exist_ok=True)
    for part in parts:
        _copy(part, target)
    state = [f"{key}model_checkpoint_path{end}: " for key, end in (("", ""), ("all_", "s"))]
    write_atomically(target / STATE, "".join(f'{key}"{name}"\n' for key in state))
    write_atomically(target / RECORD, _text(record))


def _check_apart(source: pathlib.Path, target: pathlib.Path) -> None:
    if target.exists() and (target.samefile(source) or (target / LOCK).exists()):
        raise FailedError(f"{target} is a run's own folder: name another one to keep runs in")


def _copy(file: pathlib.Path, folder: pathlib.Path) -> None:
    with replacing(folder / file.name) as beside:
        shutil.copyfile(file, beside)


def _record(folder: pathlib.Path) -> Json:
    record: Json = json.loads((folder / RECORD).read_text())
    split = record.get("split")
    if not (isinstance(split, dict) and all(isinstance(s, list | dict) for s in split.values())):
        raise FailedError(f"{folder / RECORD} does not say which classes the run was trained on")
    return record


def _digest(classes: list[Any] | Json) -> Json:
    """The number of a set's classes, and the SHA-256 of their names, one a line."""
    if not isinstance(classes, list):  # collected before
        return classes
    names = "\n".join(map(str, classes))
    found = hashlib.sha256(names.encode(errors="backslashreplace"))  # names may hold any bytes
    return {"classes": len(classes), "sha256": found.hexdigest()}


def _without_places(content: Json) -> Json:
    """A run's record, or a line of its results, without places on its machine."""
    content = json.loads(json.dumps(content))
    for name in ("flags", "config"):
        flags = content.get(name, {})
        for key in [key for key, value in flags.items() if str(value).startswith("/")]:
            del flags[key]
    origin = (content.get("data") or {}).get("origin")
    origin = origin if isinstance(origin, dict) else {}
    source = str(origin.get("source", ""))
    if source.startswith(("/", "file:")):
        origin["source"] = source.rstrip("/").rpartition("/")[2]
    return content


def _text(content: Json) -> str:
    return json.dumps(content, indent=1) + "\n"
