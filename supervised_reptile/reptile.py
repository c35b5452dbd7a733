"""Reptile and first-order MAML: the inner loop, the outer step, the prediction of query images.

Everything here is a function of tensors, compiled once: the learner goes in and comes out, images
are rows of one resident uint8 array. Tensors of tasks have a leading axis of tasks; the paper's
order, one task after another, is an axis of length 1.
"""

import math
import typing

import tensorflow as tf

from supervised_reptile import calls, optimizers, sampling


def repeat(count, step, state):
    """state = step(index, state), for index = 0 ... count - 1, inside one compiled loop."""
    _, state = tf.while_loop(
        lambda index, state: index < count,
        lambda index, state: (index + 1, step(index, state)),
        (tf.constant(0), state),
    )
    return state


def tree_map(function, *trees):
    """Apply a function to corresponding tensors of nested structures."""
    return tf.nest.map_structure(function, *trees)


def resident(rows):
    """The images of an ImageSet, uint8 [images, ...], as a tensor where they are computed with.

    What is mapped from the cache is not copied if that is the CPU: it can be more than a gigabyte.
    """
    # TensorFlow's own memory begins at multiples of 64 bytes, a mapping at the begin of a page.
    if rows.ctypes.data % 64 or not rows.flags.writeable:
        return tf.constant(rows)
    return tf.identity(tf.experimental.dlpack.from_dlpack(rows.__dlpack__()))


def _vector(tensors):
    """All values of a dictionary as one vector."""
    parts = [tf.reshape(value, [-1]) for value in tensors.values()]
    return tf.concat(parts, 0) if parts else tf.zeros([0])


def _tensors(vector, shapes):
    """What `_vector` made a vector of, from the names and shapes."""
    found, start = {}, 0
    for name, shape in shapes.items():
        end = start + math.prod(shape)
        found[name] = tf.reshape(vector[start:end], shape)
        start = end
    return found


class Predictions(typing.NamedTuple):
    """What is predicted of the queries of tasks.

    asked: as the configuration asks for: each query beside the support images only, or, with
    --transductive, all in one batch. together: all in one batch, after the same adaptation.
    """

    asked: tf.Tensor
    together: tf.Tensor


class MetaLearner:
    """One network with the hyper-parameters of one run, as compiled functions."""

    def __init__(self, model, config):
        self.model = model
        self.config = config

    def new_learner(self):
        """The untrained Learner of the run's seed."""
        generator = sampling.generator(self.config.run.seed, sampling.Purpose.INITIAL_VALUES)
        values = self.model.initial_parameters(self.config.task.classes, generator)
        return optimizers.new_learner(tree_map(tf.constant, values), self.config.inner.sgd)

    def inner_step(self, learner, pixels, labels):
        """One step on a mini-batch of each task; the loss is the sum over the batch.

        learner: parameters with a leading axis of tasks. pixels: uint8 [tasks, batch, ...],
        labels: int32 [tasks, batch].
        """
        learner = optimizers.decay(learner, self.config.inner.weight_decay)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(learner.parameters)
            logits = self.model.logits(learner.parameters, pixels[:, None])[:, 0]
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, learner.parameters, unconnected_gradients="zero")
        return optimizers.update(learner, gradients, self.config.inner.learning_rate)

    def inner_loop(self, learner, rows, batches):
        """Train on the mini-batches of tasks, side by side.

        rows: uint8 [images, ...]. batches: sampling.Batches of tensors [tasks, steps, batch].
        """

        def step(index, learner):
            pixels = tf.gather(rows, batches.rows[:, index])
            return self.inner_step(learner, pixels, batches.labels[:, index])

        steps = batches.rows.shape[1]
        return repeat(steps, step, learner) if steps else learner

    def _adapt(self, learner, rows, tasks):
        """Train on tasks. Returns the learner after it and where its outer step counts from."""
        start = learner.parameters
        learner = self.inner_loop(learner, rows, tasks.batches)
        if not tasks.last:
            return learner, start
        before_last = learner.parameters
        return self.inner_loop(learner, rows, tasks.last), before_last

    def outer_step(self, learner, rows, tasks, step_size):
        """One meta-iteration: Reptile's (algorithm 2), or FOML's if tasks.last is given.

        tasks: sampling.TrainingTasks of tensors [tasks, ...]. The tasks come one after another;
        each starts from the same parameters, but from the last one's second moments and step.
        """
        count = tasks.batches.rows.shape[0]
        initial = tree_map(lambda value: value[None], learner.parameters)

        def train_on_task(index, state):
            moved, second_moments, beta2_power = state
            task = tree_map(lambda value: value[index][None], tasks)
            after, before = self._adapt(
                optimizers.Learner(initial, second_moments, beta2_power), rows, task
            )
            moved = tree_map(
                lambda total, new, old: total + (new - old), moved, after.parameters, before
            )
            return moved, after.second_moments, after.beta2_power

        moved, second_moments, beta2_power = repeat(
            count,
            train_on_task,
            (
                tree_map(tf.zeros_like, initial),
                tree_map(lambda value: value[None], learner.second_moments),
                learner.beta2_power,
            ),
        )
        return optimizers.Learner(
            tree_map(
                lambda old, total: old + step_size / count * total[0], learner.parameters, moved
            ),
            tree_map(lambda value: value[0], second_moments),
            beta2_power,
        )

    def train(self, learner, rows, tasks, step_sizes, count):
        """The learner after the first `count` of the given meta-iterations.

        rows: uint8 tensor [images, ...]. tasks: sampling.TrainingTasks of arrays [iterations,
        tasks, ...], step_sizes: float32 [iterations]. The arrays keep their length when fewer
        iterations are wanted, so that one compiled program serves all.
        """
        if self.config.outer.parallel_tasks:
            vectors = self._as_vectors(learner)
            for index in range(count):
                chosen = tree_map(lambda value, index=index: value[index], tasks)
                vectors = self.parallel_step(vectors, rows, chosen, step_sizes[index])
            return self._from_vectors(vectors)
        return self.train_in_order(
            learner, rows, tree_map(tf.constant, tasks), tf.constant(step_sizes), tf.constant(count)
        )

    @tf.function(jit_compile=True, autograph=False)
    def train_in_order(self, learner, rows, tasks, step_sizes, count):
        """`train` with the tasks of a meta-batch one after another, in one call, on tensors."""

        def iteration(index, learner):
            chosen = tree_map(lambda value: value[index], tasks)
            return self.outer_step(learner, rows, chosen, step_sizes[index])

        return repeat(count, iteration, learner)

    def parallel_step(self, vectors, rows, tasks, step_size):
        """`outer_step` with the tasks side by side: all start from the same second moments and
        step, and the means of theirs are gone on with. With SGD nothing else is computed.

        vectors: the Learner as vectors, since a call costs time for every tensor.
        tasks: sampling.TrainingTasks of arrays [tasks, ...].
        """
        images = max(part.shape[-1] for part in tf.nest.flatten(tasks))

        def train_on_task(index):
            task = tree_map(lambda value: tf.constant(value[index][None]), tasks)
            return self.train_on_task(vectors, rows, task)

        count = len(tasks.batches.rows)
        trained = calls.side_by_side(train_on_task, range(count), images * self.model.image_bytes)
        return self.combine(vectors, list(trained), tf.constant(step_size))

    @tf.function(jit_compile=True, autograph=False)
    def train_on_task(self, vectors, rows, task):
        """How far one task moves the parameters, and its second moments and step, as vectors.

        task: sampling.TrainingTasks of tensors [1, ...].
        """
        learner = self._from_vectors(vectors)
        state = (learner.parameters, learner.second_moments)
        copies = optimizers.Learner(
            *tree_map(lambda value: value[None], state), learner.beta2_power
        )
        after, before = self._adapt(copies, rows, task)
        moved = tree_map(tf.subtract, after.parameters, before)
        return self._as_vectors(after._replace(parameters=moved))

    @tf.function(jit_compile=True, autograph=False)
    def combine(self, vectors, trained, step_size):
        """The vectors after a meta-iteration, from what `train_on_task` gave for each task."""
        moved, second_moments, powers = zip(*trained, strict=True)
        return optimizers.Learner(
            vectors.parameters + step_size / len(trained) * tf.add_n(moved),
            tf.add_n(second_moments) / len(trained),
            powers[0],
        )

    def _as_vectors(self, learner):
        state = (learner.parameters, learner.second_moments)
        return optimizers.Learner(*map(_vector, state), learner.beta2_power)

    def _from_vectors(self, vectors):
        shapes = self.model.shapes(self.config.task.classes)
        moments = {} if self.config.inner.sgd else _tensors(vectors.second_moments, shapes)
        return optimizers.Learner(
            _tensors(vectors.parameters, shapes), moments, vectors.beta2_power
        )

    def predict(self, learner, rows, tasks):
        """Logits of the query images of evaluation tasks, after adapting to their support sets.

        learner: without an axis of tasks; it is not changed, each task adapts a copy.
        tasks: sampling.EvaluationTasks of tensors [tasks, ...].
        Returns Predictions of float32 [tasks, classes (the query images), classes].
        """
        count = tasks.queries.shape[0]
        copies = optimizers.Learner(
            *tree_map(
                lambda value: tf.repeat(value[None], count, axis=0),
                (learner.parameters, learner.second_moments),
            ),
            learner.beta2_power,
        )
        parameters = self.inner_loop(copies, rows, tasks.batches).parameters

        def one_pass(indices):
            return self.model.logits(parameters, tf.gather(rows, indices)[:, None])[:, 0]

        passes, queries = tasks.queries.shape[1], tasks.queries[:, :, -1]
        if passes == 1:
            together = one_pass(tasks.queries[:, 0])
            return Predictions(together, together)

        def answer(index, logits):
            # One pass after another, since all of them at once are wider than any cache.
            found = one_pass(tasks.queries[:, index])[:, -1]
            return tf.tensor_scatter_nd_update(logits, [[index]], found[None])

        one_by_one = repeat(passes, answer, tf.zeros([passes, count, passes]))
        return Predictions(tf.transpose(one_by_one, [1, 0, 2]), one_pass(queries))

    @tf.function(jit_compile=True, autograph=False)
    def count_correct(self, learner, rows, tasks):
        """How many query images of each task are classified correctly, as Predictions of int32
        [tasks]."""

        def count(logits):
            guesses = tf.argmax(logits, axis=-1, output_type=tf.int32)
            right = guesses == tf.range(guesses.shape[1])
            return tf.reduce_sum(tf.cast(right, tf.int32), axis=-1)

        return tree_map(count, self.predict(learner, rows, tasks))
