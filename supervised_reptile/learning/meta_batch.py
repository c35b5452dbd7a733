"""The tasks of a meta-batch side by side, on one replica or shared out among several."""

import typing

import tensorflow as tf

from supervised_reptile.devices.replicas import Pixels, Vectors
from supervised_reptile.learning import parallel
from supervised_reptile.learning.sampling import TrainingTasks
from supervised_reptile.learning.state import FlatState, TaskResult

if typing.TYPE_CHECKING:
    from supervised_reptile.learning.reptile import Reptile


def step(
    reptile: "Reptile", flat: FlatState, pixels: Pixels, tasks: TrainingTasks, step_size: float
) -> tuple[FlatState, tf.Tensor]:
    """`Reptile.outer_step` with the tasks side by side: all start from the same second moments and
    step, and the averages of theirs are carried on. With SGD nothing else is computed.

    tasks: of arrays [tasks, ...]. Returns the FlatState and the mean loss, on every replica.
    """
    count, replicas = len(tasks.batches.indices), reptile.replicas
    trained = _train(reptile, flat, pixels, tasks)
    if replicas.count > 1:
        shares = [
            _share(flat, results, gives_power=number == 0)
            for number, results in zip(replicas.own(), trained, strict=True)
        ]
        moved, second_moments = replicas.add_up(shares)
        trained = [[TaskResult(moved[:-2], second_moments, moved[-2], moved[-1])]]
    with replicas.on(0):
        return reptile.combine(flat, trained[0], tf.constant(step_size), count)


def _train(
    reptile: "Reptile", flat: FlatState, pixels: Pixels, tasks: TrainingTasks
) -> list[list[TaskResult]]:
    """The results of the tasks of each of this process's replicas."""
    replicas, count = reptile.replicas, len(tasks.batches.indices)
    images = max(part.shape[-1] for part in tf.nest.flatten(tasks))
    flats = [replicas.put(flat, local) for local in range(replicas.here)]
    own = [
        (local, index)
        for local, number in enumerate(replicas.own())
        for index in range(number, count, replicas.count)
    ]

    def result_of(chosen: tuple[int, int]) -> TaskResult:
        local, index = chosen
        with replicas.on(local):
            task = tf.nest.map_structure(lambda value: tf.constant(value[index][None]), tasks)
            return reptile.train_on_task(flats[local], replicas.of(pixels, local), task)

    at_once = replicas.devices.calls_at_once(images * reptile.model.image_bytes)
    trained: list[list[TaskResult]] = [[] for _ in flats]
    results = parallel.side_by_side(result_of, own, at_once)
    for (local, _), result in zip(own, results, strict=True):
        trained[local].append(result)
    return trained


def _share(flat: FlatState, trained: list[TaskResult], gives_power: bool) -> Vectors:
    """What a replica gives for the sums over all: two vectors, since each costs a round.

    The first is of the parameters, then the power, then the loss. gives_power: whether the replica
    has the first task; all come to the same power.
    """
    if not trained:
        return [tf.zeros([flat.parameters.shape[0] + 2]), tf.zeros_like(flat.second_moments)]
    moved, second_moments, powers, losses = zip(*trained, strict=True)
    power = powers[0] if gives_power else tf.zeros([])
    rest = tf.stack([power, tf.add_n(losses)])
    return [tf.concat([tf.add_n(moved), rest], 0), tf.add_n(second_moments)]
