"""Compiled calls side by side.

One call alone leaves cores idle: the operations on ten small images are too small to be shared out
among them.
"""

import concurrent.futures
import contextlib
import os

AT_ONCE = 8
MEMORY = 2**30


def cores():
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def at_once(memory):
    """How many calls go side by side, each with operations that take so many bytes.

    One more than there are cores, so that none of these waits while Python draws a task.
    """
    return max(1, min(AT_ONCE, cores() + 1, MEMORY // memory))


def side_by_side(call, items, memory):
    """Yield call(item) for each item, in order. memory: bytes that the operations of one take."""
    with (
        concurrent.futures.ThreadPoolExecutor(at_once(memory)) as pool,
        contextlib.closing(pool.map(call, items)) as results,
    ):
        yield from results
