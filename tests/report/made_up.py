"""Folders of made-up runs, as training writes them."""

import json
import pathlib
from typing import Any

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from supervised_reptile.args import Config
from supervised_reptile.data import omniglot
from supervised_reptile.report.matching import OMNIGLOT_PIXELS
from supervised_reptile.settings import SETTINGS

MACHINE = {"device": "CPU", "cpu": "Abacus 9", "cores": 1}
DATA: dict[str, Any] = {"origin": {"source": "file:///home/me/omniglot", "digest": omniglot.DIGEST}}
DATA["digest"] = OMNIGLOT_PIXELS
FIRST = "events.out.tfevents.0"


def flags_of(name: str, **changed: Any) -> dict[str, Any]:
    """All flags of a training run of a setting."""
    setting = SETTINGS[name]
    given = {**setting.flags, "checkpoint": "/home/me/runs/x", **changed}
    return Config.of(setting.dataset, given).flags()


def line(flags: dict[str, Any], test: float, together: float | None = None, **other: Any) -> dict:
    """A line of results.jsonl. test, together: accuracies in percent, ± 0.1 points."""

    def numbers(percent: float) -> dict[str, Any]:
        return {"accuracy": {"test": percent / 100}, "confidence_95": {"test": 0.001}}

    content = {"time": "2030-01-01T00:00:00+00:00", "iteration": flags["meta_iters"] - 1}
    content |= {**numbers(test), "config": flags, "data": DATA, "machine": MACHINE}
    content |= {"dataset": "omniglot", "commit": "0123456789abcdef"}
    content["seconds"] = {"training": 7200, "evaluation": 600}
    if together is not None:
        content["transductive"] = numbers(together)
    return {**content, **other}


def run(
    folder: pathlib.Path, flags: dict[str, Any], lines: list[Any] = (), **other: Any
) -> pathlib.Path:
    """Write the folder of a run. lines: of its results, as dictionaries or as text."""
    folder.mkdir(parents=True)
    record = {"dataset": "omniglot", "flags": flags, "data": DATA, "machine": MACHINE}
    record |= {"split": {"train": ["a", "b"], "test": ["c"]}, "versions": {}, **other}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "seconds.json").write_text('{"training": 7200}')
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    if texts:
        (folder / "results.jsonl").write_text("\n".join(texts) + "\n")
    return folder


def event_file(path: pathlib.Path, points: dict[int, float], start: int | None = None) -> None:
    """Write points as TensorBoard's writer does. start: where a resumed run says it continues."""
    path.parent.mkdir(exist_ok=True)
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(file_version="brain.Event:2").SerializeToString())
        if start is not None:
            log = SessionLog(status=SessionLog.START)
            writer.write(Event(step=start, session_log=log).SerializeToString())
        for step, accuracy in points.items():
            value = Summary.Value(tag="accuracy", simple_value=accuracy)
            writer.write(Event(step=step, summary=Summary(value=[value])).SerializeToString())


def events(folder: pathlib.Path, iterations: range) -> None:
    """Write the curve of a run: accuracies of single tasks that rise."""
    points = {}
    for iteration in iterations:
        drawn = np.random.default_rng(iteration).random(5)
        points[iteration] = float(np.mean(drawn < iteration / iterations[-1]))
    for split in ("train", "test"):
        event_file(folder / split / FIRST, points)
