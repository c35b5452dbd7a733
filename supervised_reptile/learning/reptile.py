"""Reptile (algorithm 2 of the paper), first-order MAML, and the prediction of query images.

    initialize φ                                        Reptile.new_state
    for each meta-iteration:                            Reptile.meta_iterations
        draw tasks τ1 ... τn                            sampling.training_tasks
        for each task τ:                                Reptile.in_order, or Reptile.side_by_side
            W = φ                                       state.copies
            for each mini-batch of τ:                   Reptile.inner_loop
                take a step on W                        Reptile.inner_step, optimizers.update
        φ = φ + ε/n (the sum of all W - φ)              Reptile.in_order, or Reptile.side_by_side

φ and W are the parameters of a State. First-order MAML puts W before the last mini-batch in the
place of φ in the last line. An evaluation trains on the support images of a task in the same way,
and asks the adapted network: Reptile.predict.

Everything here is a function of tensors, compiled once by XLA, as a whole or in pieces
(Model.in_pieces): the state goes in and comes out, images are named by their index in one resident
array of pixels, uint8 [images, height, width, channels].
Tensors of tasks have a leading axis of tasks; one task is an axis of length 1.
"""

import typing
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.devices.choice import Devices
from supervised_reptile.learning import optimizers, sampling
from supervised_reptile.learning.models import Model
from supervised_reptile.learning.sampling import Batches, EvaluationTasks, TrainingTasks
from supervised_reptile.learning.state import (
    State,
    Step,
    Tensors,
    copies,
    packed,
    unpacked,
    untrained,
)


def repeat(count: int | tf.Tensor, step: Callable, carried: typing.Any) -> typing.Any:
    """carried = step(index, carried), for index = 0 ... count - 1, in one loop on the device."""
    _, carried = tf.while_loop(
        lambda index, carried: index < count,
        lambda index, carried: (index + 1, step(index, carried)),
        (tf.constant(0), carried),
        parallel_iterations=1,  # else TensorFlow prepares ten batches at once
    )
    return carried


def tree_map(function: Callable, *trees: typing.Any) -> typing.Any:
    """Apply a function to corresponding tensors of nested structures."""
    return tf.nest.map_structure(function, *trees)


class Chunk(typing.NamedTuple):
    """The meta-iterations of one compiled call.

    tasks: arrays [iterations, tasks, ...]. step_sizes: of the outer step, float32 [iterations].
    length: how many of these to make. The arrays keep their length when fewer are wanted, so that
    what is compiled once serves all.
    """

    tasks: TrainingTasks
    step_sizes: np.ndarray
    length: int


# After some tasks of a meta-batch: the sum of the parameters' moves, the State that the next task
# starts from, the sum of losses.
Carried = tuple[Tensors, State, tf.Tensor]


class Predictions(typing.NamedTuple):
    """Logits of the query images of tasks, float32 [tasks, query images, classes].

    reported: as the configuration asks for: each query in a batch with the support images only, or,
    with --transductive, all queries in one batch. transductive: all in one batch, of the same
    adapted networks.
    """

    reported: tf.Tensor
    transductive: tf.Tensor


class Guesses(typing.NamedTuple):
    """The classes that query images are taken for, int32 [tasks, query images], as in Predictions.

    The query images of a task are one of each class, in the order of the classes.
    finite: bool [tasks], whether all logits are; otherwise the guesses mean nothing.
    """

    reported: tf.Tensor
    transductive: tf.Tensor
    finite: tf.Tensor


class Reptile:
    """One network with the hyper-parameters of one run, as compiled functions.

    The hyper-parameters are constants of these: another configuration is another Reptile.
    """

    def __init__(self, model: Model, config: Config, devices: Devices | None = None) -> None:
        """devices: the first of them computes; None for the CPU."""
        self.devices = devices or Devices()
        self.model = model.on(self.devices.kind)
        self.config = config
        self._shapes = model.shapes(config.task.classes)
        whole = not self.model.in_pieces
        self.meta_iterations = tf.function(
            self._meta_iterations, jit_compile=whole, autograph=False
        )
        self.predicted_classes = tf.function(
            self._predicted_classes, jit_compile=whole, autograph=False
        )

    def new_state(self) -> State:
        """The untrained State of the run's seed."""
        generator = sampling.generator(self.config.run.seed, sampling.Purpose.INITIAL_VALUES)
        values = self.model.initial_parameters(self.config.task.classes, generator)
        return untrained(tree_map(tf.constant, values), self.config.inner.sgd)

    def inner_step(self, state: State, batch: tf.Tensor, labels: tf.Tensor) -> Step:
        """One step on a mini-batch of each task, down the gradient of the sum of its losses.

        state: with a leading axis of tasks. batch: uint8 [tasks, batch, ...], labels: int32
        [tasks, batch].
        """
        state = optimizers.decay(state, self.config.inner.weight_decay)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.parameters)
            parameters = unpacked(state.parameters, self._shapes)
            logits = self.model.logits(parameters, batch[:, None])[:, 0]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_sum(losses)
        gradients = tape.gradient(loss, state.parameters, unconnected_gradients="zero")
        state = optimizers.update(state, gradients, self.config.inner.learning_rate)
        return Step(state, losses)

    def inner_loop(self, state: State, pixels: tf.Tensor, batches: Batches) -> Step:
        """Train on the mini-batches of tasks, side by side.

        batches: of tensors [tasks, steps, batch].
        """

        def step(index: tf.Tensor, before: Step) -> Step:
            batch = tf.gather(pixels, batches.indices[:, index])
            return self.inner_step(before.state, batch, batches.labels[:, index])

        tasks, steps = batches.indices.shape[:2]
        start = Step(state, tf.zeros([tasks, batches.indices.shape[2]]))
        return repeat(steps, step, start) if steps else start

    def _adapt(self, state: State, pixels: tf.Tensor, tasks: TrainingTasks) -> tuple[Step, Tensors]:
        """Train on tasks. Returns the step and where its outer step counts from."""
        step = self.inner_loop(state, pixels, tasks.batches)
        if not isinstance(tasks.last, Batches):
            return step, state.parameters
        return self.inner_loop(step.state, pixels, tasks.last), step.state.parameters

    def in_order(
        self, state: State, pixels: tf.Tensor, tasks: TrainingTasks, step_size: tf.Tensor
    ) -> Step:
        """One meta-iteration, the tasks one after another: Reptile's, or FOML's if tasks.last is
        given.

        tasks: of tensors [tasks, ...]. Each starts from the same parameters, but from the last
        one's second moments and step.
        """
        count = tasks.batches.indices.shape[0]
        start = copies(state, 1)

        def one_more_task(index: tf.Tensor, carried: Carried) -> Carried:
            moved, before, losses = carried
            task = tree_map(lambda value: value[index][None], tasks)
            (after, loss), origin = self._adapt(before, pixels, task)
            moved = tree_map(
                lambda total, new, old: total + (new - old), moved, after.parameters, origin
            )
            return moved, after._replace(parameters=start.parameters), losses + tf.reduce_mean(loss)

        still = tree_map(tf.zeros_like, start.parameters)
        moved, after, losses = repeat(count, one_more_task, (still, start, tf.constant(0.0)))
        parameters = tree_map(
            lambda old, total: old + step_size / count * total[0], state.parameters, moved
        )
        second_moments = tree_map(lambda value: value[0], after.second_moments)
        return Step(State(parameters, second_moments, after.beta2_power), losses / count)

    def side_by_side(
        self, state: State, pixels: tf.Tensor, tasks: TrainingTasks, step_size: tf.Tensor
    ) -> Step:
        """`in_order` with all tasks at once, as --parallel-tasks asks for.

        All start from the same second moments and step, and the averages are carried on. With SGD,
        which has neither, the result is the same.
        """
        count = tasks.batches.indices.shape[0]
        (after, losses), before = self._adapt(copies(state, count), pixels, tasks)
        parameters = tree_map(
            lambda old, new, start: old + step_size * tf.reduce_mean(new - start, axis=0),
            *(state.parameters, after.parameters, before),
        )
        second_moments = tree_map(lambda value: tf.reduce_mean(value, 0), after.second_moments)
        return Step(State(parameters, second_moments, after.beta2_power), tf.reduce_mean(losses))

    def _meta_iterations(self, state: State, pixels: tf.Tensor, chunk: Chunk) -> Step:
        """`train` on tensors."""
        outer_step = self.side_by_side if self.config.outer.parallel_tasks else self.in_order

        def iteration(index: tf.Tensor, before: Step) -> Step:
            tasks = tree_map(lambda value: value[index], chunk.tasks)
            return outer_step(before.state, pixels, tasks, chunk.step_sizes[index])

        start = Step(packed(state), tf.constant(0.0))
        after, loss = repeat(chunk.length, iteration, start)
        parameters, moments = (unpacked(tensors, self._shapes) for tensors in after[:2])
        return Step(State(parameters, moments, after.beta2_power), loss)

    def train(self, state: State, pixels: tf.Tensor, chunk: Chunk) -> Step:
        """The Step that a Chunk of meta-iterations makes."""
        with tf.device(self.devices.names[0]):
            return self.meta_iterations(state, pixels, tree_map(tf.constant, chunk))

    def predict(self, state: State, pixels: tf.Tensor, tasks: EvaluationTasks) -> Predictions:
        """The Predictions of evaluation tasks, after adapting to their support sets.

        state: without an axis of tasks; it is not changed, each task adapts a copy.
        tasks: of tensors [tasks, ...].
        """
        count, passes = tasks.queries.shape[:2]
        adapted, _ = self.inner_loop(copies(packed(state), count), pixels, tasks.batches)
        parameters = unpacked(adapted.parameters, self._shapes)
        if passes == 1:
            transductive = self.answer(parameters, pixels, tasks.queries[:, 0])
            return Predictions(transductive, transductive)
        one_by_one = self.answer_one_by_one(parameters, pixels, tasks.queries)
        return Predictions(one_by_one, self.answer(parameters, pixels, tasks.queries[:, :, -1]))

    def answer(self, parameters: Tensors, pixels: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
        """Logits of images in one batch. images: int32 [tasks, images]. Returns float32
        [tasks, images, classes]."""
        return self.model.logits(parameters, tf.gather(pixels, images)[:, None])[:, 0]

    def answer_one_by_one(
        self, parameters: Tensors, pixels: tf.Tensor, passes: tf.Tensor
    ) -> tf.Tensor:
        """Logits of the last image of each pass. passes: int32 [tasks, passes, images]. Returns
        float32 [tasks, passes, classes]."""

        def one_more(index: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
            # One pass after another, since all of them at once are wider than any cache.
            found = self.answer(parameters, pixels, passes[:, index])[:, -1]
            return tf.tensor_scatter_nd_update(logits, [[index]], found[None])

        tasks, count = passes.shape[:2]
        none = tf.zeros([count, tasks, self.config.task.classes])
        return tf.transpose(repeat(count, one_more, none), [1, 0, 2])

    def _predicted_classes(
        self, state: State, pixels: tf.Tensor, tasks: EvaluationTasks
    ) -> Guesses:
        """`guess` on tensors."""
        found = self.predict(state, pixels, tasks)
        reported, transductive = (tf.argmax(logits, -1, tf.int32) for logits in found)
        finite = tf.reduce_all(tf.math.is_finite(found.reported), axis=[1, 2])
        return Guesses(reported, transductive, finite)

    def guess(self, state: State, pixels: tf.Tensor, tasks: EvaluationTasks) -> Guesses:
        """The Guesses of evaluation tasks, of arrays [tasks, ...]."""
        with tf.device(self.devices.names[0]):
            return self.predicted_classes(state, pixels, tree_map(tf.constant, tasks))

    def tasks_at_once(self, total: int) -> tuple[int, int]:
        """How many of so many evaluation tasks go through a call of `guess`, and how many calls go
        side by side: as many as pay on this device, and fit into its memory."""
        task, evaluation = self.config.task, self.config.evaluation
        widest = 0 if evaluation.transductive else task.classes * task.shots + 1
        images = max(evaluation.eval_batch, task.classes, widest)
        memory = images * self.model.image_bytes
        tasks, calls = self.devices.tasks_at_once(memory), self.devices.calls_at_once(memory)
        return min(tasks, total), calls
