"""Folders of made-up runs, as training writes them."""

import json
import pathlib
from typing import Any

import numpy as np

from supervised_reptile.data import omniglot
from supervised_reptile.report.settings import CELLS, DEFAULTS, OMNIGLOT_PIXELS, Setting
from supervised_reptile.runs.tensorboard import Curve

CELL = {cell.id: cell for cell in CELLS}
MACHINE = {"device": "CPU", "cpu": "Abacus 9", "cores": 1}
DATA: dict[str, Any] = {"origin": {"source": "file:///home/me/omniglot", "digest": omniglot.DIGEST}}
DATA["digest"] = OMNIGLOT_PIXELS


def flags_of(setting: Setting, **changed: Any) -> dict[str, Any]:
    """All flags of a training run of a setting."""
    evaluation = {name: getattr(setting, name) for name in ("shots", "eval_batch", "eval_iters")}
    rest = {"eval_samples": 10_000, "transductive": False, "pretrained": False, "synthetic": False}
    rest |= {"seed": 0, "meta_iters": setting.meta_iters, "checkpoint": "/home/me/runs/x"}
    rest |= {"data_dir": "data/omniglot"}
    return {**DEFAULTS, **setting.flags, **evaluation, **rest, **changed}


def line(flags: dict[str, Any], test: float, together: float | None = None, **other: Any) -> dict:
    """A line of results.jsonl. test, together: accuracies in percent, ± 0.1 points."""

    def numbers(percent: float) -> dict[str, Any]:
        return {"accuracy": {"test": percent / 100}, "confidence_95": {"test": 0.001}}

    content = {"time": "2030-01-01T00:00:00+00:00", "iteration": flags["meta_iters"] - 1}
    content |= {**numbers(test), "config": flags, "data": DATA, "machine": MACHINE}
    content |= {"seconds": {"training": 7200, "evaluation": 600}, "commit": "0123456789abcdef"}
    if together is not None:
        content["transductive"] = numbers(together)
    return {**content, **other}


def run(
    folder: pathlib.Path, flags: dict[str, Any], lines: list[Any] = (), **other: Any
) -> pathlib.Path:
    """Write the folder of a run. lines: of its results, as dictionaries or as text."""
    folder.mkdir(parents=True)
    record = {"dataset": "omniglot", "flags": flags, "data": DATA, "machine": MACHINE}
    record |= {"split": {"train": ["a", "b"], "test": ["c"]}, **other}
    (folder / "run.json").write_text(json.dumps(record))
    texts = [one if isinstance(one, str) else json.dumps(one) for one in lines]
    if texts:
        (folder / "results.jsonl").write_text("\n".join(texts) + "\n")
    return folder


def events(folder: pathlib.Path, iterations: range, seed: int = 0) -> None:
    """Write the curve of a run: accuracies of single tasks that rise."""
    for split in ("train", "test"):
        curve = Curve(folder / split, -1)
        for iteration in iterations:
            drawn = np.random.default_rng([seed, iteration]).random(5)
            curve.add(iteration, float(np.mean(drawn < iteration / iterations[-1])))
        curve.close()
