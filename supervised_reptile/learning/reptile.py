"""Reptile and first-order MAML: the inner loop, the outer step, the prediction of query images.

Everything here is a function of tensors, compiled once: the state goes in and comes out, images
are named by their index in one resident array of pixels, uint8 [images, height, width, channels].
Tensors of tasks have a leading axis of tasks; the paper's order, one task after another, is an axis
of length 1.
"""

import typing
from collections.abc import Callable

import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.devices.replicas import Pixels, Replicas
from supervised_reptile.learning import meta_batch, optimizers, sampling
from supervised_reptile.learning.models import Model
from supervised_reptile.learning.sampling import Batches, EvaluationTasks, TrainingTasks
from supervised_reptile.learning.state import (
    FlatState,
    State,
    Step,
    TaskResult,
    Tensors,
    copies,
    flatten,
    unflatten,
    untrained,
    vector,
)


def repeat(count: int | tf.Tensor, step: Callable, carried: typing.Any) -> typing.Any:
    """carried = step(index, carried), for index = 0 ... count - 1, inside one compiled loop."""
    _, carried = tf.while_loop(
        lambda index, carried: index < count,
        lambda index, carried: (index + 1, step(index, carried)),
        (tf.constant(0), carried),
    )
    return carried


def tree_map(function: Callable, *trees: typing.Any) -> typing.Any:
    """Apply a function to corresponding tensors of nested structures."""
    return tf.nest.map_structure(function, *trees)


# What training on the tasks of a meta-batch, one after another, has moved so far, second moments
# and their step, the sum of losses.
Carried = tuple[Tensors, Tensors, tf.Tensor, tf.Tensor]


class Predictions(typing.NamedTuple):
    """What is predicted of the queries of tasks.

    asked: as the configuration asks for: each query beside the support images only, or, with
    --transductive, all in one batch. together: all in one batch, after the same adaptation.
    """

    asked: tf.Tensor
    together: tf.Tensor


class Counts(typing.NamedTuple):
    """How many query images of each task are classified correctly, as in Predictions, int32
    [tasks]. finite: bool [tasks], whether all logits are; otherwise the counts mean nothing."""

    asked: tf.Tensor
    together: tf.Tensor
    finite: tf.Tensor


class Reptile:
    """One network with the hyper-parameters of one run, as compiled functions.

    The hyper-parameters are constants of these: another configuration is another Reptile.
    """

    def __init__(self, model: Model, config: Config, replicas: Replicas | None = None) -> None:
        """replicas: what computes; None for one CPU."""
        self.replicas = replicas or Replicas()
        self.model = model.on(self.replicas.devices.kind)
        self.config = config

    def new_state(self) -> State:
        """The untrained State of the run's seed."""
        generator = sampling.generator(self.config.run.seed, sampling.Purpose.INITIAL_VALUES)
        values = self.model.initial_parameters(self.config.task.classes, generator)
        return untrained(tree_map(tf.constant, values), self.config.inner.sgd)

    def inner_step(self, state: State, batch: tf.Tensor, labels: tf.Tensor) -> Step:
        """One step on a mini-batch of each task; the loss is the sum over the batch.

        state: with a leading axis of tasks. batch: uint8 [tasks, batch, ...], labels: int32
        [tasks, batch].
        """
        state = optimizers.decay(state, self.config.inner.weight_decay)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.parameters)
            logits = self.model.logits(state.parameters, batch[:, None])[:, 0]
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_sum(losses)
        gradients = tape.gradient(loss, state.parameters, unconnected_gradients="zero")
        state = optimizers.update(state, gradients, self.config.inner.learning_rate)
        return Step(state, tf.reduce_mean(losses, axis=1))

    def inner_loop(self, state: State, pixels: tf.Tensor, batches: Batches) -> Step:
        """Train on the mini-batches of tasks, side by side.

        batches: of tensors [tasks, steps, batch].
        """

        def step(index: tf.Tensor, before: Step) -> Step:
            batch = tf.gather(pixels, batches.indices[:, index])
            return self.inner_step(before.state, batch, batches.labels[:, index])

        tasks, steps = batches.indices.shape[:2]
        start = Step(state, tf.zeros([tasks]))
        return repeat(steps, step, start) if steps else start

    def _adapt(self, state: State, pixels: tf.Tensor, tasks: TrainingTasks) -> tuple[Step, Tensors]:
        """Train on tasks. Returns the step and where its outer step counts from."""
        step = self.inner_loop(state, pixels, tasks.batches)
        if not isinstance(tasks.last, Batches):
            return step, state.parameters
        return self.inner_loop(step.state, pixels, tasks.last), step.state.parameters

    def outer_step(
        self, state: State, pixels: tf.Tensor, tasks: TrainingTasks, step_size: tf.Tensor
    ) -> Step:
        """One meta-iteration: Reptile's (algorithm 2), or FOML's if tasks.last is given.

        tasks: of tensors [tasks, ...]. They come one after another; each starts from the same
        parameters, but from the last one's second moments and step.
        """
        count = tasks.batches.indices.shape[0]
        start = copies(state, 1)

        def one_more_task(index: tf.Tensor, carried: Carried) -> Carried:
            moved, second_moments, beta2_power, losses = carried
            task = tree_map(lambda value: value[index][None], tasks)
            initial = State(start.parameters, second_moments, beta2_power)
            (after, loss), before = self._adapt(initial, pixels, task)
            moved = tree_map(
                lambda total, new, old: total + (new - old), moved, after.parameters, before
            )
            return moved, after.second_moments, after.beta2_power, losses + loss[0]

        still = tree_map(tf.zeros_like, start.parameters)
        moved, second_moments, beta2_power, losses = repeat(
            count,
            one_more_task,
            (still, start.second_moments, start.beta2_power, tf.constant(0.0)),
        )
        parameters = tree_map(
            lambda old, total: old + step_size / count * total[0], state.parameters, moved
        )
        second_moments = tree_map(lambda value: value[0], second_moments)
        return Step(State(parameters, second_moments, beta2_power), losses / count)

    def train(
        self,
        state: State,
        pixels: Pixels,
        tasks: TrainingTasks,
        step_sizes: tf.Tensor,
        count: int,
    ) -> Step:
        """The Step that the first `count` of the given meta-iterations make.

        tasks: of arrays [iterations, tasks, ...], step_sizes: float32 [iterations]. The arrays keep
        their length when fewer iterations are wanted, so that one compiled program serves all.
        In the paper's order, the first process trains for all.
        """
        if self.config.outer.parallel_tasks:
            flat, loss = flatten(state), tf.constant(0.0)
            for index in range(count):
                chosen = tree_map(lambda value, index=index: value[index], tasks)
                flat, loss = meta_batch.step(self, flat, pixels, chosen, step_sizes[index])
            return Step(self.unflatten(flat), loss)
        step = Step(state, tf.constant(0.0))
        if self.replicas.first:
            arrays = tree_map(tf.constant, (tasks, step_sizes, count))
            with self.replicas.on(0):
                step = self.train_in_order(state, self.replicas.of(pixels, 0), *arrays)
        return self._from_first(step)

    def from_first(self, state: State) -> State:
        """The State of the first process."""
        return self._from_first(Step(state, tf.constant(0.0))).state

    def _from_first(self, step: Step) -> Step:
        if self.replicas.processes == 1:
            return step
        flat = flatten(step.state)
        parameters, moments, rest = self.replicas.from_first(
            [flat.parameters, flat.second_moments, tf.stack([flat.beta2_power, step.loss])]
        )
        return Step(self.unflatten(FlatState(parameters, moments, rest[0])), rest[1])

    @tf.function(jit_compile=True, autograph=False)
    def train_in_order(
        self,
        state: State,
        pixels: tf.Tensor,
        tasks: TrainingTasks,
        step_sizes: tf.Tensor,
        count: tf.Tensor,
    ) -> Step:
        """`train` with the tasks of a meta-batch one after another, in one call, on tensors."""

        def iteration(index: tf.Tensor, before: Step) -> Step:
            chosen = tree_map(lambda value: value[index], tasks)
            return self.outer_step(before.state, pixels, chosen, step_sizes[index])

        return repeat(count, iteration, Step(state, tf.constant(0.0)))

    @tf.function(jit_compile=True, autograph=False)
    def train_on_task(self, flat: FlatState, pixels: tf.Tensor, task: TrainingTasks) -> TaskResult:
        """Train on one task. task: of tensors [1, ...]."""
        (after, loss), before = self._adapt(copies(self.unflatten(flat), 1), pixels, task)
        moved = tree_map(tf.subtract, after.parameters, before)
        return TaskResult(vector(moved), vector(after.second_moments), after.beta2_power, loss[0])

    @tf.function(jit_compile=True, autograph=False)
    def combine(
        self, flat: FlatState, trained: list[TaskResult], step_size: tf.Tensor, count: int
    ) -> tuple[FlatState, tf.Tensor]:
        """The FlatState after a meta-iteration of so many tasks and its loss, from their results,
        or sums of these."""
        moved, second_moments, powers, losses = zip(*trained, strict=True)
        combined = FlatState(
            flat.parameters + step_size / count * tf.add_n(moved),
            tf.add_n(second_moments) / count,
            powers[0],
        )
        return combined, tf.add_n(losses) / count

    def unflatten(self, flat: FlatState) -> State:
        """The State of this network that vectors hold."""
        return unflatten(flat, self.model.shapes(self.config.task.classes), self.config.inner.sgd)

    def predict(self, state: State, pixels: tf.Tensor, tasks: EvaluationTasks) -> Predictions:
        """Logits of the query images of evaluation tasks, after adapting to their support sets.

        state: without an axis of tasks; it is not changed, each task adapts a copy.
        tasks: of tensors [tasks, ...].
        Returns Predictions of float32 [tasks, classes (the query images), classes].
        """
        count, passes = tasks.queries.shape[:2]
        adapted = self.inner_loop(copies(state, count), pixels, tasks.batches).state.parameters
        if passes == 1:
            together = self.answer(adapted, pixels, tasks.queries[:, 0])
            return Predictions(together, together)
        one_by_one = self.answer_one_by_one(adapted, pixels, tasks.queries)
        return Predictions(one_by_one, self.answer(adapted, pixels, tasks.queries[:, :, -1]))

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

    @tf.function(jit_compile=True, autograph=False)
    def count_correct(self, state: State, pixels: tf.Tensor, tasks: EvaluationTasks) -> Counts:
        """The Counts of evaluation tasks, of tensors [tasks, ...]."""

        def count(logits: tf.Tensor) -> tf.Tensor:
            guesses = tf.argmax(logits, axis=-1, output_type=tf.int32)
            right = guesses == tf.range(guesses.shape[1])
            return tf.reduce_sum(tf.cast(right, tf.int32), axis=-1)

        found = self.predict(state, pixels, tasks)
        finite = tf.reduce_all(tf.math.is_finite(found.asked), axis=[1, 2])
        return Counts(count(found.asked), count(found.together), finite)
