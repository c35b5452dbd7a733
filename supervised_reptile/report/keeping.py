"""Results and models that are kept after their runs' folders are gone. Nothing that is kept takes
the place of what another run gave.

Places on the machine of a run are left out: absolute paths among the flags, so that the defaults
hold, and all but the last name of where the data came from.
"""

import filecmp
import json
import pathlib
import shutil

from supervised_reptile.report.matching import digests, settings_of
from supervised_reptile.report.reading import Json, Run, pack, read_collected
from supervised_reptile.runs import record
from supervised_reptile.system.errors import FailedError
from supervised_reptile.system.files import replacing, write_atomically
from supervised_reptile.system.output import some


def collect(run: Run, folder: pathlib.Path) -> pathlib.Path:
    """Write all that the report needs of a run into one line of the file of what it is part of in
    the paper, such as table2.jsonl; others.jsonl if it is no run of the paper's. Returns the file.

    Raises OSError, RefusedError if that file is damaged, and FailedError if it holds another run of
    this name.
    """
    settings = settings_of(run)
    path = folder / f"{settings[0].part if settings else 'others'}.jsonl"
    there = read_collected(path) if path.exists() else []
    lines = {known.name: collected(known) for known in there}
    line = collected(run)
    if differ := _differences(lines.get(run.name, line), line):
        raise FailedError(
            f"{path} holds another run of this name (other {some(differ)}): give the run's folder "
            "another name"
        )
    lines[run.name] = line
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, "".join(json.dumps(lines[name]) + "\n" for name in sorted(lines)))
    return path


def collected(run: Run) -> Json:
    """A run as `read_collected` reads it."""
    content = _without_places(run.content)
    content["split"] = digests(content["split"])
    content["results"] = [_without_places(line) for line in content["results"]]
    return {**content, "curve": run.curve and pack(run.curve)}


def _differences(known: Json, new: Json) -> list[str]:
    """Names of the fields in which `new` contradicts `known`; none if it is the same run, and at
    least as complete."""
    first, second = ({**line, **line["flags"]} for line in (known, new))
    differ = [name for name in {**first, **second} if first.get(name) != second.get(name)]
    if all(line in new["results"] for line in known["results"]):
        differ = [name for name in differ if name != "results"]
    added = ("flags", "seconds", "parts", *(() if known["curve"] else ("curve",)))
    return [name for name in differ if name not in added]


def keep_model(run: Run, folder: pathlib.Path) -> pathlib.Path:
    """Copy the last checkpoint of a run and its record, as --pretrained reads them, into a folder
    of its name, which is returned. The record then asks for as many tasks as the largest evaluation
    that was made.

    Raises OSError, and FailedError if the run's last checkpoint is not there, or that folder holds
    anything else, apart from results of evaluating this model there.
    """
    name, target = f"model.ckpt-{run.total - 1}", folder / run.name
    parts = [f"{name}.index", f"{name}.data-00000-of-00001"]
    if not all((run.path / part).exists() for part in parts):
        raise FailedError(f"{run.path} lacks its last checkpoint, {name}: copy the whole folder")
    same, other, _ = filecmp.cmpfiles(run.path, target, parts, shallow=False)
    # An interrupted copy is completed: what it has is the same, and it has no record yet.
    there = {path.name for path in target.glob("[!.]*")} - {*parts, record.STATE, record.RESULTS}
    if other or there - ({record.RECORD} if same == parts else set()):
        raise FailedError(
            f"{target} holds something else than this model: give the run's folder another name"
        )
    content = _without_places(json.loads((run.path / record.RECORD).read_text()))
    content["flags"]["eval_samples"] = max(one.tasks for one in run.evaluations)
    target.mkdir(parents=True, exist_ok=True)
    for part in parts:
        with replacing(target / part) as beside:
            shutil.copyfile(run.path / part, beside)
    record.name_newest(target, [run.total - 1])
    write_atomically(target / record.RECORD, json.dumps(content, indent=1) + "\n")
    return target


def _without_places(content: Json) -> Json:
    """A run's record, or a line of its results, without places on its machine."""
    content = json.loads(json.dumps(content))
    for name in content.keys() & {"flags", "config"}:
        flags = content[name].items()
        content[name] = {key: value for key, value in flags if not str(value).startswith("/")}
    origin = (content.get("data") or {}).get("origin", {})
    if str(origin.get("source", "")).startswith(("/", "file:")):
        origin["source"] = origin["source"].rstrip("/").rpartition("/")[2]
    return content
