"""Runs: read from their folders, as training leaves them, or from files of collected runs.

In a folder, what is damaged is named on standard error and left out.
"""

import base64
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto.event_pb2 import Event, SessionLog

from supervised_reptile.args import Config
from supervised_reptile.runs import record
from supervised_reptile.system.errors import RefusedError
from supervised_reptile.system.output import escaped, note

Json = dict[str, Any]
SPLITS = ("train", "val", "test")
# Of files that the program has written, but that may be cut or edited.
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def warn(message: str) -> None:
    """Print one line on standard error."""
    note(f"report: {escaped(message)}")


@dataclasses.dataclass(frozen=True)
class Score:
    """Accuracy in percent; half the width of its 95 % interval in points, None for one task."""

    percent: float
    interval: float | None

    def __str__(self) -> str:
        interval = "" if self.interval is None else f" ± {self.interval:.2f}"
        return f"{self.percent:.2f}{interval}"


@dataclasses.dataclass(frozen=True)
class Curve:
    """Accuracies of single tasks in training, as fractions. iterations: int [points], the same for
    all sets. accuracy: float [points], by set ("train", "val", "test")."""

    iterations: npt.NDArray[np.int64]
    accuracy: dict[str, npt.NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A line of results.jsonl, as it stands there and as it is understood.

    scores: on the test set, with transductive predictions (True) and without (False), as far as
    they are known.
    """

    line: Json
    config: Config
    scores: dict[bool, Score]

    @property
    def iteration(self) -> int | None:
        """The number of the evaluated checkpoint, None for an untrained network."""
        return self.line["iteration"]

    @property
    def tasks(self) -> int:
        """Evaluated tasks of each set."""
        return self.config.evaluation.eval_samples


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A training run.

    path: its folder, or the file it was collected in. content: its run.json, and with that "name",
    its folder below that of all runs; "results", the lines of its results.jsonl; "seconds" of
    training, None where these are not recorded.
    """

    path: pathlib.Path
    content: Json
    config: Config
    evaluations: tuple[Evaluation, ...]
    curve: Curve | None

    @property
    def name(self) -> str:
        """The name of its folder, from that of all runs on."""
        return self.content["name"]

    @property
    def total(self) -> int:
        """Meta-iterations of the whole run."""
        return self.config.outer.meta_iters

    @property
    def seed(self) -> int:
        """The seed of training, which also decides the split."""
        return self.config.run.seed

    @property
    def finished(self) -> bool:
        """Whether the last checkpoint of the whole run was evaluated."""
        return any(one.iteration == self.config.outer.last for one in self.evaluations)

    @property
    def done(self) -> int:
        """Meta-iterations that are known to be done."""
        known = [one.iteration for one in self.evaluations if one.iteration is not None]
        known += [int(self.curve.iterations[-1])] if self.curve else []
        known += record.checkpoints(self.path)
        return max(known, default=-1) + 1


def read_runs(folder: pathlib.Path) -> list[Run]:
    """The runs in a folder, by name: of the folders, those in them, and the files of collected runs
    in it. A run's own folder, or one such file, may be given, too.

    Raises RefusedError if there is no such folder, or a file of collected runs is damaged; OSError
    if one cannot be read.
    """
    if not (folder.is_dir() or (folder.is_file() and folder.suffix == ".jsonl")):
        raise RefusedError(f"{folder} is no folder: name one that holds the folders of runs")
    runs: list[Run] = []
    places = {folder: os.path.basename(os.path.abspath(folder))}
    if not (folder.is_file() or (folder / record.RECORD).exists()):
        deeper = (path.parent for path in folder.glob(f"*/*/{record.RECORD}"))
        within = sorted([*folder.iterdir(), *deeper], key=lambda path: (path.is_symlink(), path))
        # A link such as "latest" is no second run. The names of links come last.
        found = {os.path.realpath(path): path for path in reversed(within)}
        places = {path: str(path.relative_to(folder)) for path in found.values()}
    for path, name in places.items():
        if (path / record.RECORD).is_file():
            try:
                runs.append(_read_folder(path, name))
            except (OSError, RefusedError, *DAMAGE) as error:
                warn(f"{path / record.RECORD} cannot be used ({error}): the run is left out")
        elif path.suffix == ".jsonl" and path.name != record.RESULTS and path.is_file():
            runs += read_collected(path)
    return sorted(runs, key=lambda run: run.name)


def _read_folder(folder: pathlib.Path, name: str) -> Run:
    record.read(folder)  # which refuses what is damaged
    content = {"name": name, **json.loads((folder / record.RECORD).read_text())}
    content["seconds"] = record.training_seconds(folder, started=True)
    content["results"] = list(_read_results(folder / record.RESULTS))
    return _run(folder, content, read_curve(folder))


def _run(path: pathlib.Path, content: Json, curve: Curve | None) -> Run:
    config = Config.of(content["dataset"], content["flags"])
    return Run(path, content, config, tuple(map(_evaluation, content["results"])), curve)


def _read_results(path: pathlib.Path) -> Iterator[Json]:
    """The lines of a results.jsonl that can be used."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            _evaluation(line)
        except DAMAGE as error:
            warn(f"{path}, line {number} is damaged ({error!r}): it is left out")
        else:
            yield line


def _evaluation(line: Json) -> Evaluation:
    config = Config.of(line["dataset"], line["config"])
    if not (isinstance(line["time"], str) and isinstance(line["iteration"], (int, type(None)))):
        raise ValueError("its time is no text, or its iteration no whole number")
    found = {True: line.get("transductive"), config.evaluation.transductive: line}
    scores = {}
    for transductive, numbers in found.items():
        if numbers and "test" in numbers["accuracy"]:  # --eval-sets may have left it out
            mean, interval = numbers["accuracy"]["test"], numbers["confidence_95"]["test"]
            half = None if interval is None else 100 * float(interval)
            scores[transductive] = Score(100 * float(mean), half)
    return Evaluation(line, config, scores)


def read_collected(path: pathlib.Path) -> list[Run]:
    """The runs in a file of collected runs: in each line the content of one, with "curve". Of the
    classes of the sets it has their numbers, and digests of their names.

    Raises RefusedError if it is damaged.
    """
    found = []
    for number, text in enumerate(path.read_text().splitlines(), 1):
        try:
            content = json.loads(text)
            packed = content.pop("curve")
            found.append(_run(path, content, unpack(packed) if packed else None))
        except Exception as error:  # zip files, NumPy's headers and base64 fail in many ways
            raise RefusedError(
                f"{path}, line {number} is no run that --collect wrote ({error!r}): remove the "
                "line, and collect the run again"
            ) from None
    return found


def pack(curve: Curve) -> str:
    """A curve as text: a compressed archive of NumPy's arrays, in base64.

    "steps" holds the differences of its meta-iterations; "train", "val", "test" the accuracies.
    """
    steps = np.diff(curve.iterations, prepend=0).astype(np.int32)
    arrays: dict[str, Any] = {s: v.astype(np.float32) for s, v in curve.accuracy.items()}
    file = io.BytesIO()
    np.savez_compressed(file, steps=steps, **arrays)
    return base64.b64encode(file.getvalue()).decode()


def unpack(text: str) -> Curve:
    """The curve that `pack` made a text of."""
    with np.load(io.BytesIO(base64.b64decode(text))) as arrays:
        accuracy = {split: arrays[split].astype(float) for split in SPLITS if split in arrays}
        return Curve(np.cumsum(arrays["steps"], dtype=np.int64), accuracy)


def read_curve(folder: pathlib.Path) -> Curve | None:
    """The curve that a run's event files hold, None if they hold no points.

    A resumed run continues in another file, which begins by saying at which meta-iteration: the
    points of earlier files from there on do not count.
    """
    found: dict[str, dict[int, float]] = {}
    for split in SPLITS:
        points: dict[int, float] = {}
        for path in sorted((folder / split).glob("events.out.tfevents.*")):  # in order of time
            try:
                for event in _events(path):
                    if event.session_log.status == SessionLog.START:
                        points = {i: one for i, one in points.items() if i < event.step}
                    for value in event.summary.value:
                        if value.tag == "accuracy":
                            points[event.step] = value.simple_value
            except Exception as error:  # of the file system, of protobuf
                warn(f"{path} is damaged ({error}): its points from there on are left out")
        if points:
            found[split] = points
    common = sorted(set.intersection(*map(set, found.values()))) if found else []
    if not common or "test" not in found:
        return None
    accuracy = {split: np.array([one[i] for i in common]) for split, one in found.items()}
    return Curve(np.array(common, np.int64), accuracy)


def _events(path: pathlib.Path) -> Iterator[Event]:
    """The events of a file. Each stands between 12 bytes, its length and a checksum, and 4 bytes,
    another checksum. Raises ValueError, or protobuf's own exception, where the file is damaged."""
    content, at = path.read_bytes(), 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 8], "little")
        if at + 12 + length + 4 > len(content):
            raise ValueError("its last event is incomplete")
        yield Event.FromString(content[at + 12 : at + 12 + length])
        at += 12 + length + 4
