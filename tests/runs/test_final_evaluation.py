"""The final report: what is printed and kept, and going on with it."""

import json

import numpy as np
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.devices.choice import Devices
from supervised_reptile.learning.reptile import Guesses
from supervised_reptile.runs import final_evaluation
from supervised_reptile.runs.training import Trained
from supervised_reptile.system import machine, signals


class StandIn:
    """Is right as often as the number of the task, modulo 3; is interrupted after some calls."""

    def __init__(self, config, limit):
        self.config, self.devices = config, Devices()
        self.starts, self._limit = [], limit

    def tasks_at_once(self, total):
        return 1, 1

    def guess(self, state, pixels, tasks):
        if len(self.starts) == self._limit:
            raise signals.Interrupted(15)
        self.starts.append(tasks.batches.indices[0, 0, 0])
        number = np.sum(tasks.batches.indices)
        first, second = (np.where(np.arange(5) < number % n, np.arange(5), -1) for n in (3, 4))
        return Guesses(first[None], second[None], np.array([True]))


def test_an_interrupted_evaluation_goes_on(tmp_path, image_set, monkeypatch, capsys):
    monkeypatch.setattr(final_evaluation.tensorboard, "finish", lambda *arguments: None)
    shown = {"test": Guesses(0, 0, 0)}
    monkeypatch.setattr(final_evaluation.training, "guess_interval", lambda *_: shown)
    images = image_set({"train": 6, "test": 6}, shots=4, size=2)

    def report(folder, limit, **flags):
        settings = {"shots": 1, "eval_iters": 1, "eval_samples": 21, **flags}
        algorithm = StandIn(Config.of("omniglot", settings), limit)
        (tmp_path / folder).mkdir(exist_ok=True)
        try:
            trained = Trained((), 9, 2.5)
            final_evaluation.report(algorithm, trained, images, tf.constant(0), tmp_path / folder)
        except signals.Interrupted:
            capsys.readouterr()
            return len(algorithm.starts)
        return capsys.readouterr().out, len(algorithm.starts)

    whole, called = report("whole", None)
    assert called == 42
    assert report("cut", 7) == 7
    assert report("cut", 9) == 9
    assert report("cut", None) == (whole, 42 - 7 - 9)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["results.jsonl"]
    # With another commit: the record names both.
    for commit, limit in (("old", 7), ("new", None)):
        monkeypatch.setattr(machine, "commit", lambda commit=commit: commit)
        report("upgraded", limit)
    paths = [tmp_path / folder / "results.jsonl" for folder in ("cut", "upgraded")]
    cut, upgraded = (json.loads(path.read_text()) for path in paths)
    assert upgraded["commit"] == "new" and "parts" not in cut
    assert [part["commit"] for part in upgraded["parts"]] == ["old", "new"]
    # One set alone: the same numbers.
    only, called = report("only", None, eval_sets="test")
    assert (called, only) == (21, f"Evaluating...\n{whole[whole.index('Test accuracy') :]}")
    # More tasks: those that are known are not done again.
    report("other", 32)
    more, called = report("other", None, eval_samples=30)
    assert called == (30 - 21) + (30 - 11)
    assert more == report("whole", None, eval_samples=30)[0]
