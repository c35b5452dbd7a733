"""Accuracy and its confidence interval."""

import pytest

from supervised_reptile import eval, models
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
