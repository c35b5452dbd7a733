"""Testing adapted networks: as many tasks a call and calls side by side as pay on a device."""

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np
import tensorflow as tf

from supervised_reptile.devices.replicas import Pixels
from supervised_reptile.learning import parallel
from supervised_reptile.learning.reptile import Reptile, tree_map
from supervised_reptile.learning.sampling import EvaluationTasks
from supervised_reptile.learning.state import State
from supervised_reptile.system.errors import FailedError


def count_side_by_side(
    reptile: Reptile,
    state: State,
    pixels: Pixels,
    draw: Callable[..., EvaluationTasks],
    items: Sequence,
    only_finite: bool = False,
) -> Generator[list[int], None, None]:
    """Yield how many queries of a task are answered correctly, for the task of each item, as
    [as the configuration asks for, transductively].

    pixels: uint8 [images, ...]. draw: draw(item) is EvaluationTasks of arrays [1, ...].
    Raises FailedError for outputs that are not finite, if only those that are shall count.
    """
    replicas = reptile.replicas
    size, at_once = _bounds(reptile)
    states = [replicas.put(state, local) for local in range(replicas.here)]

    def count(call: tuple[int, Sequence]) -> np.ndarray:
        number, items = call
        drawn = [draw(item) for item in items]
        drawn += drawn[-1:] * (min(size, total) - len(drawn))  # always as many: compiled once
        local = number // replicas.processes % replicas.here
        with replicas.on(local):
            tasks = tree_map(lambda *parts: tf.constant(np.concatenate(parts)), *drawn)
            counts = reptile.count_correct(states[local], replicas.of(pixels, local), tasks)
        return np.stack(counts, axis=1)[: len(items)]

    total = len(items)
    calls = enumerate(items[start : start + size] for start in range(0, total, size))
    if replicas.processes == 1:
        found = parallel.side_by_side(count, calls, at_once)
    else:
        found = _shared_out(reptile, count, calls, at_once)
    with contextlib.closing(found):
        for counts in found:
            if only_finite and not counts[:, -1].all():
                raise FailedError(
                    "after adapting to a task, the network's outputs are no longer finite: "
                    "evaluate with a smaller --learning-rate or fewer --eval-iters"
                )
            yield from counts[:, :-1].tolist()


def _bounds(reptile: Reptile) -> tuple[int, int]:
    """How many tasks go through a call, and how many calls side by side."""
    task, evaluation = reptile.config.task, reptile.config.evaluation
    beside = 0 if evaluation.transductive else task.classes * task.shots + 1
    images = max(evaluation.eval_batch, task.classes, beside)
    devices, memory = reptile.replicas.devices, images * reptile.model.image_bytes
    return devices.tasks_at_once(memory), devices.calls_at_once(memory)


def _shared_out(
    reptile: Reptile,
    count: Callable[[tuple[int, Sequence]], np.ndarray],
    calls: Iterator[tuple[int, Sequence]],
    at_once: int,
) -> Generator[np.ndarray, None, None]:
    """What `parallel.side_by_side` yields, of calls that all processes share."""
    replicas, pending = reptile.replicas, iter(calls)
    width = 2 * at_once * replicas.processes  # calls between two exchanges
    while some := list(itertools.islice(pending, width)):
        own = some[replicas.process :: replicas.processes]
        results = list(parallel.side_by_side(count, own, at_once))
        sizes = [len(items) for _, items in some]
        rows: list[np.ndarray] = [np.zeros([size, 3], int) for size in sizes]
        rows[replicas.process :: replicas.processes] = results
        told = replicas.exchange(np.concatenate(rows).ravel()).sum(axis=0).reshape(-1, 3)
        yield from np.split(told, np.cumsum(sizes)[:-1])
