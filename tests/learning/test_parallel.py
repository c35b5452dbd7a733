"""Calls side by side."""

import threading

import pytest

from supervised_reptile.learning import parallel


@pytest.mark.parametrize(("cores", "expected"), [(1, 2), (2, 3), (64, 65)])
def test_a_call_more_than_cores(monkeypatch, cores, expected):
    monkeypatch.setattr(parallel, "cores", lambda: cores)
    assert parallel.at_once(memory=1) == expected


@pytest.mark.parametrize(("memory", "expected"), [(2**30, 1), (2**29, 2), (2**31, 1)])
def test_calls_at_the_same_time_fit_into_memory(monkeypatch, memory, expected):
    monkeypatch.setattr(parallel, "cores", lambda: 64)
    assert parallel.at_once(memory) == expected


def test_calls_run_at_the_same_time_and_answer_in_order(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    both = threading.Barrier(2, timeout=10)

    def call(item):
        both.wait()  # The second call is needed to go on.
        return item

    assert list(parallel.side_by_side(call, range(6), memory=1)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("items", [10, 10**9])
def test_an_error_of_a_call_is_raised_and_few_others_are_begun(monkeypatch, items):
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    called = []

    def call(item):
        called.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        list(parallel.side_by_side(call, range(items), memory=1))
    assert len(called) <= 4


def test_leaving_early_ends_the_calls(monkeypatch):
    monkeypatch.setattr(parallel, "cores", lambda: 1)
    called = []
    results = parallel.side_by_side(called.append, range(1000), memory=1)
    next(results)
    results.close()
    assert len(called) <= 5
