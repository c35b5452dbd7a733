"""Testing adapted networks: calls side by side, each of as many tasks as pay on a device."""

import collections
import concurrent.futures
import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeVar

import numpy as np
import tensorflow as tf

from supervised_reptile.learning.reptile import Guesses, Reptile, tree_map
from supervised_reptile.learning.sampling import EvaluationTasks
from supervised_reptile.learning.state import State
from supervised_reptile.system.errors import FailedError
from supervised_reptile.system.signals import Interrupted

THREAD = "compiled call"
Item = TypeVar("Item")
Result = TypeVar("Result")


def guesses(
    reptile: Reptile,
    state: State,
    pixels: tf.Tensor,
    draw: Callable[..., EvaluationTasks],
    items: Sequence,
    only_finite: bool = False,
) -> Generator[Guesses, None, None]:
    """Yield the Guesses of the task of each item, of arrays without an axis of tasks.

    pixels: uint8 [images, ...]. draw: draw(item) is EvaluationTasks of arrays [1, ...].
    Raises FailedError for outputs that are not finite, if only those that are shall count.
    """
    size, at_once = reptile.tasks_at_once(len(items))

    def guess(some: Sequence) -> list[Guesses]:
        drawn = [draw(item) for item in some]
        drawn += drawn[-1:] * (size - len(drawn))  # always as many: compiled once
        tasks = tree_map(lambda *parts: np.concatenate(parts), *drawn)
        found = [np.asarray(part) for part in reptile.guess(state, pixels, tasks)]
        return [Guesses(*(part[index] for part in found)) for index in range(len(some))]

    calls = (items[start : start + size] for start in range(0, len(items), size or 1))
    with contextlib.closing(side_by_side(guess, calls, at_once)) as found:
        for task in (task for call in found for task in call):
            if only_finite and not task.finite:
                raise FailedError(
                    "after adapting to a task, the network's outputs are no longer finite: "
                    "evaluate with a smaller --learning-rate or fewer --eval-iters"
                )
            yield task


def correct(classes: np.ndarray) -> int:
    """How many query images of a task are taken for their own class. classes: as in Guesses."""
    return int(np.sum(classes == np.arange(len(classes))))


def side_by_side(
    call: Callable[[Item], Result], items: Iterable[Item], count: int
) -> Generator[Result, None, None]:
    """Yield call(item) for each item, in order, of so many calls at a time, in threads.

    One call alone leaves cores idle: the operations on ten small images are too small to be shared
    out among them. Only a few calls are started ahead, so that stopping takes no longer than the
    running calls. Nothing can interrupt the compiler, but Interrupted does not wait for it.
    """
    begun: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
    pool, waits = concurrent.futures.ThreadPoolExecutor(count, THREAD), True
    try:
        for item in items:
            begun.append(pool.submit(call, item))
            if len(begun) == 2 * count:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    except Interrupted:
        waits = False
        raise
    finally:
        pool.shutdown(waits, cancel_futures=True)


def interruptible(*calls: Callable[[], Result]) -> list[Result]:
    """The results of calls that compile, made side by side: Interrupted does not wait for them."""
    return list(side_by_side(lambda call: call(), calls, len(calls)))


def is_running() -> bool:
    """Whether a call is still at work that nobody waits for, which would hold up the exit."""
    return any(thread.name.startswith(THREAD) for thread in threading.enumerate())
