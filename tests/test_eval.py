"""Accuracy and its confidence interval."""

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile import eval, models, signals
from supervised_reptile.args import Config


@pytest.mark.parametrize("transductive", [True, False])
def test_tasks_side_by_side_fit_into_memory(transductive):
    flags = {"classes": 20, "shots": 5, "transductive": transductive, "eval_batch": 10}
    step = eval.tasks_at_once(models.MINIIMAGENET, Config.of("miniimagenet", flags))
    # 20 queries, each beside 100 support images, need 4.1 GB of patches: one task at a time.
    assert step == (eval.TASKS_AT_ONCE if transductive else 1)


@pytest.mark.parametrize(("cores", "calls"), [(1, 1), (2, 2), (64, eval.CALLS_AT_ONCE)])
def test_as_many_calls_as_cores(monkeypatch, cores, calls):
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert eval.calls_at_once(models.OMNIGLOT, Config.of("omniglot", {})) == calls


def test_calls_at_the_same_time_fit_into_memory(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    flags = {"classes": 20, "shots": 5, "eval_batch": 10}
    assert eval.calls_at_once(models.MINIIMAGENET, Config.of("miniimagenet", flags)) == 1


def test_never_more_tasks_side_by_side_than_are_wanted():
    config = Config.of("omniglot", {"eval_samples": 1})
    assert eval.tasks_at_once(models.OMNIGLOT, config) == 1


class StandIn:
    """Finds the number of the task, modulo 3; is interrupted after some calls."""

    def __init__(self, config, calls):
        self.config, self.model = config, models.OMNIGLOT
        self.starts, self._calls = [], calls

    def count_correct(self, learner, rows, tasks):
        if len(self.starts) == self._calls:
            raise signals.Interrupted(15)
        self.starts.append(tasks.batches.rows[0, 0, 0].numpy())
        return tf.constant(np.sum(tasks.batches.rows, axis=(1, 2)) % 3)


def test_an_interrupted_evaluation_goes_on(tmp_path, image_set, monkeypatch, capsys):
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    images = image_set({"train": 6, "test": 6}, shots=4, size=2)

    def report(folder, calls, **flags):
        settings = {"shots": 1, "eval_iters": 1, "eval_samples": 21, **flags}
        algorithm = StandIn(Config.of("omniglot", settings), calls)
        (tmp_path / folder).mkdir(exist_ok=True)
        try:
            eval.report(algorithm, None, images, None, tmp_path / folder, 9)
        except signals.Interrupted:
            capsys.readouterr()
            return len(algorithm.starts)
        return capsys.readouterr().out, len(algorithm.starts)

    whole, calls = report("whole", None)
    assert calls == 22  # two tasks a call, eleven calls for each of two splits
    assert report("cut", 7) == 7
    assert report("cut", 9) == 9
    assert report("cut", None) == (whole, 6)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["results.jsonl"]
    # Fewer tasks or more: those that are known are not done again.
    report("other", 16)
    more, calls = report("other", None, eval_samples=30)
    assert calls == 5 + 10  # the last call of the first split was cut short
    assert more == report("whole", None, eval_samples=30)[0]
    report("fewer", 16)
    fewer, calls = report("fewer", None, eval_samples=10)
    assert calls == 0 and fewer == report("whole", None, eval_samples=10)[0]
