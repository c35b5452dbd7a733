"""Compiled calls side by side.

One call alone leaves cores idle: the operations on ten small images are too small to be shared out
among them.
"""

import collections
import concurrent.futures
import threading
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar

from supervised_reptile.system.signals import Interrupted

NAME = "compiled call"
POLL = 0.1  # seconds
Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(
    call: Callable[[Item], Result], items: Iterable[Item], count: int
) -> Generator[Result, None, None]:
    """Yield call(item) for each item, in order, of so many calls at a time.

    Only a few calls are started ahead, so that stopping, by a signal too, takes no longer than the
    running calls.
    """
    begun: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
    pool, waits = concurrent.futures.ThreadPoolExecutor(count, NAME), True
    try:
        for item in items:
            begun.append(pool.submit(call, item))
            if len(begun) == 2 * count:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    except Interrupted:
        waits = False  # for the compiler: nothing can interrupt it, and its work is not wanted
        raise
    finally:
        pool.shutdown(waits, cancel_futures=True)


def apart(
    *calls: Callable[[], Result], given_up: Callable[[], bool] = lambda: False
) -> list[Result]:
    """The results of calls that compile, made side by side and apart from who waits for them.

    Nothing can interrupt the compiler, but Interrupted does not wait for it, and when they are
    `given_up`, the results of those that are not done are missing.
    """
    pool = concurrent.futures.ThreadPoolExecutor(len(calls), NAME)
    begun = [pool.submit(call) for call in calls]
    try:
        while concurrent.futures.wait(begun, timeout=POLL).not_done and not given_up():
            pass
        return [call.result() for call in begun if call.done()]
    finally:
        pool.shutdown(wait=all(call.done() for call in begun), cancel_futures=True)


def are_running() -> bool:
    """Whether calls are still at work that nobody waits for, which would hold up the exit."""
    return any(thread.name.startswith(NAME) for thread in threading.enumerate())
