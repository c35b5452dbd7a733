"""Folders of runs, as training leaves them or in small as they are collected: both are read alike.

What is damaged is named on standard error and left out; everything else is used.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from supervised_reptile.report import curves
from supervised_reptile.report.say import say
from supervised_reptile.report.settings import DEFAULTS, Flags
from supervised_reptile.runs.record import RECORD, RESULTS, SECONDS
from supervised_reptile.system.errors import RefusedError

DAMAGED = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclasses.dataclass(frozen=True)
class Score:
    """Accuracy in percent; half the width of its 95 % interval in points, None for one task."""

    percent: float
    interval: float | None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A line of results.jsonl.

    iteration: that of the evaluated checkpoint, None for an untrained network. flags: of the
    evaluation. asked: Score by set, as its flags ask for. together: the same networks' with all
    queries in one batch, None where that was asked for or is not recorded. seconds: of it alone.
    """

    time: str
    iteration: int | None
    flags: Flags
    asked: dict[str, Score]
    together: dict[str, Score] | None
    data: dict[str, Any]
    seconds: float | None
    training_seconds: float | None
    machine: dict[str, Any]
    commit: str | None

    @property
    def tasks(self) -> int:
        """Evaluated tasks of each set."""
        return self.flags["eval_samples"]

    def column(self, transductive: bool) -> dict[str, Score] | None:
        """Score by set in one of the paper's columns, None if it is not known."""
        if self.flags.get("transductive", False):
            return self.asked if transductive else None
        return self.together if transductive else self.asked


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run. name: of its folder. flags: of training. seconds: that it has trained for.

    commit: of the program that trained it, None where that is not recorded. path: its folder.
    """

    name: str
    dataset: str
    flags: Flags
    data: dict[str, Any]
    machine: dict[str, Any]
    evaluations: tuple[Evaluation, ...]
    curve: curves.Curve | None
    seconds: float | None
    commit: str | None = None
    path: pathlib.Path = pathlib.Path()

    @property
    def total(self) -> int:
        """Meta-iterations of the whole run."""
        return self.flags["meta_iters"]

    @property
    def seed(self) -> int:
        """The seed of training, which also decides the split."""
        return self.flags.get("seed", 0)

    @property
    def finished(self) -> bool:
        """Whether the last checkpoint of the whole run was evaluated."""
        last = self.total - 1 if self.total else None
        return any(evaluation.iteration == last for evaluation in self.evaluations)

    @property
    def done(self) -> int:
        """Meta-iterations that are known to be done."""
        known = [e.iteration for e in self.evaluations if e.iteration is not None]
        known += [] if self.curve is None else [int(self.curve.iterations[-1])]
        return max(known, default=-1) + 1

    def flag(self, name: str) -> Any:
        """What decides training, as it was when not given."""
        value = self.flags.get(name, DEFAULTS.get(name))
        return value or self.flags.get("shots", 5) if name == "train_shots" else value


def read_runs(folder: pathlib.Path) -> list[Run]:
    """The runs in a folder, by name; a folder that is a run's own is one.

    Raises RefusedError if there is no such folder, or it cannot be read.
    """
    if not folder.is_dir():
        raise RefusedError(f"{folder} is no folder: name one that holds the folders of runs")
    if _holds_record(folder):
        folders = [folder]
    else:
        try:
            folders = [folder / name for name in sorted(os.listdir(folder))]
        except OSError as error:
            raise RefusedError(f"{folder} cannot be read: {error.strerror}") from None
    runs = [read_run(path) for path in folders if _holds_record(path)]
    return [run for run in runs if run]


def _holds_record(folder: pathlib.Path) -> bool:
    try:
        os.stat(folder / RECORD)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        say(f"{folder} cannot be read ({error.strerror}): it is left out")
        return False
    return True


def read_run(folder: pathlib.Path) -> Run | None:
    """The run of a folder, or None if its run.json is damaged."""
    path = folder / RECORD
    try:
        content = json.loads(path.read_text())
        flags = {**content["flags"]}
        if not (content["dataset"] in ("omniglot", "miniimagenet") and _whole(flags["meta_iters"])):
            raise ValueError("dataset or meta_iters are not what a run records")
        for name in ("seed", "eval_interval"):
            if not _whole(flags.get(name, 0)):
                raise ValueError(f"{name} is no whole number")
        data, machine = ({**content.get(name, {})} for name in ("data", "machine"))
        commit = _commit(content)
    except (OSError, *DAMAGED) as error:
        say(f"{path} is not a whole record of a run ({error!r}): the run is left out")
        return None
    evaluations = tuple(evaluation for _, evaluation in read_lines(folder / RESULTS))
    seconds = _training_seconds(folder, evaluations)
    return Run(
        name=_name(folder),
        dataset=content["dataset"],
        flags=flags,
        data=data,
        machine=machine,
        evaluations=evaluations,
        curve=curves.read(folder),
        seconds=seconds,
        commit=commit,
        path=folder,
    )


def _name(folder: pathlib.Path) -> str:
    """A folder's own name: of a link, not that of its target."""
    return folder.resolve().name if folder.name in ("", "..") else folder.name


def _commit(content: dict[str, Any]) -> str | None:
    commit = content.get("commit")
    return None if commit is None else str(commit)


def _training_seconds(folder: pathlib.Path, evaluations: tuple[Evaluation, ...]) -> float | None:
    path = folder / SECONDS
    try:
        return _number(json.loads(path.read_text())["training"])
    except FileNotFoundError:
        known = [e for e in evaluations if e.training_seconds is not None]
        last = max(known, key=lambda e: -1 if e.iteration is None else e.iteration, default=None)
        return last.training_seconds if last else None
    except (OSError, *DAMAGED) as error:
        say(f"{path} is damaged ({error!r}): how long training took is left out")
        return None


def read_lines(path: pathlib.Path) -> Iterator[tuple[dict[str, Any], Evaluation]]:
    """The whole lines of a results.jsonl, as they stand there and as they are understood."""
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
    except OSError as error:
        say(f"{path} cannot be read ({error.strerror}): its evaluations are left out")
        return
    for number, text in enumerate(lines, 1):
        try:
            line = json.loads(text)
            evaluation = _evaluation(line)
        except DAMAGED as error:
            say(f"{path}, line {number} is damaged ({error!r}): it is left out")
        else:
            yield line, evaluation


def _evaluation(line: dict[str, Any]) -> Evaluation:
    flags, seconds = {**line["config"]}, line.get("seconds") or {}
    if not _whole(flags["eval_samples"]):
        raise ValueError("eval_samples is no number of tasks")
    if line["iteration"] is not None and not _whole(line["iteration"]):
        raise ValueError("iteration is no number of a checkpoint")
    together = line.get("transductive")
    return Evaluation(
        time=str(line["time"]),
        iteration=line["iteration"],
        flags=flags,
        asked=_scores(line),
        together=_scores(together) if together else None,
        data={**(line.get("data") or {})},
        seconds=_number(seconds.get("evaluation")),
        training_seconds=_number(seconds.get("training")),
        machine={**(line.get("machine") or {})},
        commit=_commit(line),
    )


def _scores(numbers: dict[str, Any]) -> dict[str, Score]:
    scores = {}
    for split, mean in numbers["accuracy"].items():
        interval = _number(numbers["confidence_95"][split])
        if _number(mean) is None or not 0 <= mean <= 1:
            raise ValueError(f"an accuracy of {mean!r}")
        scores[split] = Score(100 * mean, None if interval is None else 100 * interval)
    if "test" not in scores:
        raise ValueError("no accuracy on the test set")
    return scores


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        raise ValueError(f"{value!r} where a number should be")
    return float(value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
