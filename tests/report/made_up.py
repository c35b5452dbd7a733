"""Folders of made-up runs, as training writes them."""

import json

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from supervised_reptile.args import Config
from supervised_reptile.data import omniglot
from supervised_reptile.report.matching import OMNIGLOT_PIXELS
from supervised_reptile.settings import SETTINGS

MACHINE = {"device": "CPU", "cpu": "Abacus 9", "cores": 1}
ORIGIN = {"source": "file:///home/me/omniglot", "digest": omniglot.DIGEST}
DATA = {"origin": ORIGIN, "digest": OMNIGLOT_PIXELS}
FIRST = "events.out.tfevents.0"


def flags_of(name, **changed):
    """All flags of a training run of a setting."""
    setting = SETTINGS[name]
    given = {**setting.flags, "checkpoint": "/home/me/runs/x", **changed}
    return Config.of(setting.dataset, given).flags()


def line(flags, test, together=None, **other):
    """A line of results.jsonl. test, together: accuracies in percent, ± 0.1 points."""

    def numbers(percent):
        return {"accuracy": {"test": percent / 100}, "confidence_95": {"test": 0.001}}

    content = {"time": "2030-01-01T00:00:00+00:00", "iteration": flags["meta_iters"] - 1}
    content |= {**numbers(test), "config": flags, "data": DATA, "machine": MACHINE}
    content |= {"dataset": "omniglot", "commit": "0123456789abcdef"}
    content["seconds"] = {"training": 7200, "evaluation": 600}
    if together is not None:
        content["transductive"] = numbers(together)
    return {**content, **other}


def run(folder, flags, lines=(), **other):
    """Write the folder of a run, and return it.

    lines: of its results; or accuracies in percent, of lines with the flags of the run.
    """
    folder.mkdir(parents=True)
    record = {"dataset": "omniglot", "flags": flags, "data": DATA, "machine": MACHINE}
    record |= {"split": {"train": ["a", "b"], "test": ["c"]}, "versions": {}, **other}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "seconds.json").write_text('{"training": 7200}')
    for one in lines:
        add_result(folder, one if isinstance(one, dict) else line(flags, one))
    return folder


def add_result(folder, result):
    """Add a line to the results of a run."""
    with open(folder / "results.jsonl", "a") as file:
        file.write(json.dumps(result) + "\n")


def event_file(path, points, start=None):
    """Write points as TensorBoard's writer does.

    points: accuracies by meta-iteration. start: where a resumed run says it continues.
    """
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


def events(folder, iterations):
    """Write the curve of a run: accuracies of single tasks that rise."""
    points = {}
    for iteration in iterations:
        drawn = np.random.default_rng(iteration).random(5)
        points[iteration] = float(np.mean(drawn < iteration / iterations[-1]))
    for split in ("train", "test"):
        event_file(folder / split / FIRST, points)
