"""Compiled calls side by side.

One call alone leaves cores idle: the operations on ten small images are too small to be shared out
among them.
"""

import collections
import concurrent.futures
import os

MEMORY = 2**30  # bytes that the widest operations of all calls may take


def cores():
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def at_once(memory):
    """How many calls go side by side, each with operations that take so many bytes.

    One more than there are cores, so that none of these waits while Python draws a task.
    """
    return max(1, min(cores() + 1, MEMORY // memory))


def side_by_side(call, items, memory):
    """Yield call(item) for each item, in order. memory: bytes that the operations of one take.

    Only a few calls are begun beforehand, so that leaving, by a signal too, takes no longer than
    those under way.
    """
    count, begun = at_once(memory), collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(count)
    try:
        for item in items:
            begun.append(pool.submit(call, item))
            if len(begun) == 2 * count:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
