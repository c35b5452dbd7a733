"""What does not change the result, and what changes it on purpose."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.learning import models
from supervised_reptile.learning.reptile import Reptile, tree_map
from supervised_reptile.learning.sampling import Population, Purpose, evaluation_tasks
from supervised_reptile.learning.state import State, copies, packed, unpacked
from supervised_reptile.runs import final_evaluation, training

SMALL = {model.name: dataclasses.replace(model, filters=4) for model in models.MODELS.values()}
FLAGS = {"classes": 3, "shots": 2, "train_shots": 3, "inner_batch": 4, "inner_iters": 3}
FLAGS |= {"meta_batch": 3, "meta_iters": 30, "meta_step": 1.0}
FLAGS |= {"eval_batch": 3, "eval_iters": 3, "eval_samples": 3}
SGD = {"sgd": True, "learning_rate": 0.01, "weight_decay": 0.9}
SMALL_FIRST = ["omniglot", pytest.param("miniimagenet", marks=pytest.mark.slow)]


class Setting:
    """A small network with random images, and its state after five meta-iterations."""

    def __init__(self, images, dataset, flags):
        self.images, self.pixels = images, tf.constant(images.pixels)
        self.config = Config.of(dataset, {**FLAGS, **flags})
        self.algorithm = Reptile(SMALL[dataset], self.config)
        self.start = self.algorithm.new_state()
        self.state, self.loss = self.step(self.start, 0, 5)

    def step(self, state, first, count):
        """The state after so many meta-iterations more, and their mean loss."""
        chunk = training.draw_chunk(self.config, self.images, range(first, first + count))
        return self.algorithm.train(state, self.pixels, chunk)

    def train(self, state, first, count):
        return self.step(state, first, count).state


@pytest.fixture(scope="module")
def setting(image_set):
    """A function that gives the Setting of a dataset and flags, each compiled once."""
    known = {}

    def give(dataset="omniglot", **flags):
        key = (dataset, *flags.items())
        if key not in known:
            model = SMALL[dataset]
            images = image_set({"train": 5, "test": 4}, 6, model.format.size, model.format.channels)
            known[key] = Setting(images, dataset, flags)
        return known[key]

    return give


def test_another_seed_is_another_initial_state():
    first, second = (
        Reptile(SMALL["omniglot"], Config.of("omniglot", {"seed": seed})).new_state().parameters
        for seed in (0, 1)
    )
    drawn = [name for name in first if name.endswith("kernel")]
    assert len(drawn) == 5 and all((first[name] != second[name]).numpy().all() for name in drawn)


@pytest.mark.parametrize("tasks", [(), (2,)])
def test_packed_tensors_come_back_under_their_own_names(tasks):
    shapes = models.OMNIGLOT.shapes(5)
    parameters = {
        name: tf.fill([*tasks, *shape], float(number))
        for number, (name, shape) in enumerate(shapes.items())
    }
    few = packed(State(parameters, {}, tf.constant(1.0)))
    assert len(few.parameters) == 6 and few.second_moments == {}
    found = unpacked(few.parameters, shapes)
    assert list(found) == list(shapes)
    for name, value in found.items():
        np.testing.assert_array_equal(value, parameters[name])


@pytest.mark.parametrize("dataset", SMALL_FIRST)
@pytest.mark.parametrize(
    "flags", [{}, {**SGD, "foml": True, "foml_tail": 1}, {"parallel_tasks": True}]
)
def test_where_a_call_ends_does_not_change_a_bit(setting, dataset, flags):
    one = setting(dataset, **flags)
    expected = tf.nest.flatten(one.train(one.state, 5, 6))
    for counts in ([1] * 6, [2, 4], [5, 1]):
        state, done = one.state, 5
        for count in counts:
            state = one.train(state, done, count)
            done += count
        for value, other in zip(tf.nest.flatten(state), expected, strict=True):
            assert value.numpy().tobytes() == other.numpy().tobytes()


@pytest.mark.parametrize("dataset", SMALL_FIRST)
def test_an_adapted_network_is_asked_pass_by_pass(setting, dataset):
    """Tasks and passes side by side change only rounding. Passes are those that the tasks name:
    each query with the support images, or all queries in one."""
    one, transductive = setting(dataset), setting(dataset, transductive=True)
    population = Population.of(one.images, "test")

    def predict(setting):
        tasks = evaluation_tasks(setting.config, population, Purpose.FINAL_TEST, range(2))
        return tasks, setting.algorithm.predict(one.state, one.pixels, tasks)

    (tasks, found), (_, expected) = predict(one), predict(transductive)
    np.testing.assert_allclose(found.transductive, expected.reported, rtol=0, atol=1e-5)
    assert expected.transductive is expected.reported
    for index in range(2):
        task = tree_map(lambda part, n=index: part[n : n + 1], tasks)
        adapted = one.algorithm.inner_loop(copies(one.state, 1), one.pixels, task.batches).state
        images = tf.gather(one.pixels, task.queries)
        logits = one.algorithm.model.logits(adapted.parameters, images)[0, :, -1]
        np.testing.assert_allclose(found.reported[index], logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "flags",
    [{}, pytest.param({"foml": True}, marks=pytest.mark.slow), {"foml": True, "foml_tail": 1}],
)
def test_parallel_tasks_are_exact_with_sgd(setting, flags):
    in_order = setting(**SGD, **flags)
    parallel = setting(**SGD, **flags, parallel_tasks=True)
    for name, value in in_order.state.parameters.items():
        moved = np.abs(value - in_order.start.parameters[name]).max()
        assert np.abs(value - parallel.state.parameters[name]).max() <= 1e-4 * moved, name
    assert in_order.loss > 0
    np.testing.assert_allclose(parallel.loss, in_order.loss, rtol=1e-4)


def test_parallel_tasks_average_the_second_moments(setting):
    """Those of tasks that are trained on alone, each as the only one of a meta-batch."""
    parallel, in_order = setting(parallel_tasks=True), setting()
    start, pixels = parallel.state, parallel.pixels
    chunk = training.draw_chunk(parallel.config, parallel.images, range(5, 6))
    train = in_order.algorithm.train
    single = [tree_map(lambda part, n=n: part[:, n : n + 1], chunk.tasks) for n in range(3)]
    alone = [train(start, pixels, chunk._replace(tasks=tasks)).state for tasks in single]
    found, others = parallel.train(start, 5, 1), train(start, pixels, chunk).state
    for name, before in start.parameters.items():
        if name.startswith("conv") and "bias" in name:
            continue
        mean = np.mean([state.parameters[name] for state in alone], axis=0)
        moved = np.abs(mean - before).max()
        np.testing.assert_allclose(found.parameters[name], mean, rtol=0, atol=1e-3 * moved)
        moments = np.mean([state.second_moments[name] for state in alone], axis=0)
        largest = moments.max()
        np.testing.assert_allclose(found.second_moments[name], moments, rtol=0, atol=1e-4 * largest)
        # In order, the moments of all tasks would have come in.
        assert np.abs(others.second_moments[name] - moments).max() > 1e-3 * largest
    np.testing.assert_allclose(found.beta2_power, 0.999 ** (6 * 3 + 1), rtol=1e-5)


@pytest.mark.parametrize("dataset", SMALL_FIRST)
def test_nothing_is_compiled_twice_in_a_run(setting, tmp_path, dataset):
    small = {"checkpoint": str(tmp_path), "eval_interval": 7, "checkpoint_interval": 4}
    one = setting(dataset, **small)
    trained = training.train(one.algorithm, one.start, one.images, one.pixels)
    final_evaluation.report(one.algorithm, trained, one.images, one.pixels, tmp_path)
    for function in (one.algorithm.meta_iterations, one.algorithm.predicted_classes):
        assert function.experimental_get_tracing_count() == 1
