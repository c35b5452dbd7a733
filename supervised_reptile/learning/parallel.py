"""Compiled calls side by side.

One call alone leaves cores idle: the operations on ten small images are too small to be shared out
among them.
"""

import collections
import concurrent.futures
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeVar

from supervised_reptile.system.signals import Interrupted

NAME = "compiled call"
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


def all_at_once(calls: Sequence[Callable[[], object]]) -> None:
    """Make all the calls side by side."""
    for _ in side_by_side(lambda call: call(), calls, len(calls)):
        pass


def are_running() -> bool:
    """Whether calls are still at work that nobody waits for, which would hold up the exit."""
    return any(thread.name.startswith(NAME) for thread in threading.enumerate())
