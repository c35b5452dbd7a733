"""Calls side by side."""

import threading

import pytest

from supervised_reptile.learning import parallel


def test_calls_run_at_the_same_time_and_answer_in_order():
    both = threading.Barrier(2, timeout=10)

    def call(item):
        both.wait()  # The second call is needed to go on.
        return item

    assert list(parallel.side_by_side(call, range(6), count=2)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("items", [10, 10**9])
def test_an_error_of_a_call_is_raised_and_few_others_are_begun(items):
    called = []

    def call(item):
        called.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        list(parallel.side_by_side(call, range(items), count=2))
    assert len(called) <= 4


def test_leaving_early_ends_the_calls():
    called = []
    results = parallel.side_by_side(called.append, range(1000), count=2)
    next(results)
    results.close()
    assert len(called) <= 5
