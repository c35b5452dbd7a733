"""Compiled calls side by side.

One call alone leaves cores idle: the operations on ten small images are too small to be shared out
among them.
"""

import collections
import concurrent.futures
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from supervised_reptile.system.machine import cores

MEMORY = 2**30  # bytes that the widest operations of all calls may take
Item = TypeVar("Item")
Result = TypeVar("Result")


def at_once(memory: int) -> int:
    """How many calls go side by side, each with operations that take so many bytes.

    One more than there are cores, so that none of these waits while Python draws a task.
    """
    return max(1, min(cores() + 1, MEMORY // memory))


def side_by_side(
    call: Callable[[Item], Result], items: Iterable[Item], memory: int
) -> Generator[Result, None, None]:
    """Yield call(item) for each item, in order. memory: bytes that the operations of one take.

    Only a few calls are started ahead, so that stopping, by a signal too, takes no longer than the
    running calls.
    """
    count = at_once(memory)
    begun: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
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
