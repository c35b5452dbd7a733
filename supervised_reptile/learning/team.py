"""Sharing tasks among several devices, or processes: a Reptile whose members do the work.

A member is a function. It carries out "train" for (state, tasks, step size), which gives the Step
of one meta-iteration, and "guess" for (state, tasks), which gives Guesses. All of these go in and
out as flat lists of arrays, so that a member may as well be in another process.
"""

import dataclasses
import queue
import typing
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from supervised_reptile.devices.distribute import Arrays, Member
from supervised_reptile.learning.evaluation import guesses, side_by_side
from supervised_reptile.learning.reptile import Chunk, Guesses, Reptile, tree_map
from supervised_reptile.learning.sampling import Batches, EvaluationTasks, TrainingTasks
from supervised_reptile.learning.state import State, Step
from supervised_reptile.system.output import note


def local(reptile: Reptile, pixels: tf.Tensor) -> Member:
    """The Member that computes in this process."""
    one, untrained = np.zeros(1), reptile.new_state()
    last = Batches(one, one) if reptile.config.outer.foml else ()
    forms = {
        "train": (untrained, TrainingTasks(Batches(one, one), last), one),
        "guess": (untrained, EvaluationTasks(Batches(one, one), one)),
    }

    def call(kind: str, arrays: Arrays) -> Arrays:
        state, tasks, *sizes = tf.nest.pack_sequence_as(forms[kind], arrays)
        with tf.device(reptile.devices.names[0]):
            state = tree_map(tf.constant, state)
        if kind == "train":
            return _flat(reptile.train(state, pixels, Chunk(tasks, sizes[0], 1)))

        def draw(index: int) -> EvaluationTasks:
            return tree_map(lambda part: part[index : index + 1], tasks)

        found = guesses(reptile, state, pixels, draw, range(len(tasks.queries)))
        return [np.stack(parts) for parts in zip(*found)]

    return call


def _flat(*trees: typing.Any) -> Arrays:
    return [np.asarray(value) for value in tf.nest.flatten(trees)]


class Team(Reptile):
    """A Reptile whose tasks are shared out among members, which have the pixels."""

    def __init__(self, reptile: Reptile, members: Sequence[Member]) -> None:
        super().__init__(reptile.model, reptile.config, reptile.devices)
        self._members, self._idle = members, queue.Queue[Member]()
        for member in members:
            self._idle.put(member)

    def train(self, state: State, pixels: tf.Tensor, chunk: Chunk) -> Step:
        """`Reptile.train`. In the paper's order, this process trains alone."""
        if not self.config.outer.parallel_tasks:
            return super().train(state, pixels, chunk)
        step = Step(state, tf.constant(0.0))
        for index in range(chunk.length):
            one = tree_map(lambda part, n=index: part[n : n + 1], chunk[:2])
            step = self._meta_iteration(step, *one)
        return step

    def _meta_iteration(self, step: Step, tasks: TrainingTasks, step_size: np.ndarray) -> Step:
        """Each member makes it with its share of the tasks; the average of what they come to,
        weighted with the numbers of tasks."""
        numbers = np.arange(tasks.batches.indices.shape[1])
        shares = [share for share in np.array_split(numbers, len(self._members)) if len(share)]

        def train(part: tuple[Member, np.ndarray]) -> Arrays:
            member, share = part
            own = tree_map(lambda array: array[:, share], tasks)
            return member("train", _flat(step.state, own, step_size))

        found = list(side_by_side(train, zip(self._members, shares), len(shares)))
        weights = [len(share) for share in shares]
        mean = [tf.constant(np.average(parts, 0, weights), tf.float32) for parts in zip(*found)]
        return tf.nest.pack_sequence_as(step, mean)

    def guess(self, state: State, pixels: tf.Tensor, tasks: EvaluationTasks) -> Guesses:
        """`Reptile.guess`, by the next member that has nothing to do."""
        member = self._idle.get()
        try:
            return Guesses(*member("guess", _flat(state, tasks)))
        finally:
            self._idle.put(member)

    def tasks_at_once(self, total: int) -> tuple[int, int]:
        """`Reptile.tasks_at_once`: of a call of `guess`, which a member may divide."""
        size, calls = super().tasks_at_once(total)
        members = len(self._members)
        return min(size * calls, -(-total // members)), members + 1


def share(reptile: Reptile, pixels: tf.Tensor, others: Sequence[Member] = ()) -> Reptile:
    """The Reptile that shares tasks among the devices of this process, and others."""

    def on(name: str) -> Member:
        devices = dataclasses.replace(reptile.devices, names=(name,))
        with tf.device(name):
            return local(Reptile(reptile.model, reptile.config, devices), tf.identity(pixels))

    outer, names = reptile.config.outer, reptile.devices.names
    if not (outer.parallel_tasks or reptile.config.run.pretrained):
        note("--distribute: trains in order, so that only evaluations are shared")
    if len(names) > 1:
        reptile = Team(reptile, [on(name) for name in names])
    return Team(reptile, [local(reptile, pixels), *others]) if others else reptile
