"""What does not change the result, and what changes it on purpose."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.learning import models, reptile
from supervised_reptile.learning.reptile import tree_map
from supervised_reptile.learning.sampling import Population, Purpose, evaluation_tasks
from supervised_reptile.runs import final_evaluation, training

SMALL = {model.name: dataclasses.replace(model, filters=4) for model in models.MODELS.values()}
FLAGS = dict(
    classes=3,
    shots=2,
    train_shots=3,
    inner_batch=4,
    inner_iters=3,
    meta_batch=3,
    meta_iters=30,
    meta_step=1.0,
    eval_batch=3,
    eval_iters=3,
    eval_samples=3,
)


class Setting:
    """A small network with random images, and its learner after five meta-iterations."""

    def __init__(self, image_set, dataset, **flags):
        model = SMALL[dataset]
        self.images = image_set({"train": 5, "test": 4}, 6, model.size, model.channels)
        self.config = Config.of(dataset, {**FLAGS, **flags})
        self.algorithm = reptile.Reptile(model, self.config)
        self.rows = tf.constant(self.images.pixels)
        self.learner = self.algorithm.new_state()
        self.learner = self.train(0, 5)

    def train(self, first, count):
        """The learner after so many meta-iterations more."""
        tasks, sizes = training.inputs(self.config, self.images, range(first, first + count))
        return self.algorithm.train(self.learner, self.rows, tasks, sizes, count).state


def arrays(learner):
    return [value.numpy() for value in tf.nest.flatten(learner)]


@pytest.mark.parametrize("dataset", SMALL)
@pytest.mark.parametrize(
    "flags", [{}, {"sgd": True, "foml": True, "foml_tail": 1}, {"parallel_tasks": True}]
)
def test_where_a_call_ends_does_not_change_a_bit(image_set, dataset, flags):
    setting = Setting(image_set, dataset, **flags)
    expected = arrays(setting.train(5, 6))
    start = setting.learner
    for counts in ([1] * 6, [2, 4], [5, 1]):
        setting.learner, done = start, 5
        for count in counts:
            setting.learner = setting.train(done, count)
            done += count
        for one, other in zip(arrays(setting.learner), expected, strict=True):
            assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("dataset", SMALL)
@pytest.mark.parametrize("transductive", [True, False])
def test_tasks_side_by_side_change_only_rounding(image_set, dataset, transductive):
    setting = Setting(image_set, dataset, transductive=transductive)
    population = Population.of(setting.images, "test")
    tasks = evaluation_tasks(setting.config, population, Purpose.FINAL_TEST, range(3))
    predict = setting.algorithm.predict
    together = predict(setting.learner, setting.rows, tasks).asked
    for index in range(3):
        task = tree_map(lambda part, index=index: part[index : index + 1], tasks)
        alone = predict(setting.learner, setting.rows, task).asked[0]
        np.testing.assert_allclose(together[index], alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dataset", SMALL)
def test_queries_one_by_one_and_together_are_the_passes_that_tasks_name(image_set, dataset):
    """Beside an adapted network of a training call, asked pass by pass."""
    one_by_one = Setting(image_set, dataset, shots=2)
    transductive = Setting(image_set, dataset, shots=2, transductive=True)
    population = Population.of(one_by_one.images, "test")

    def predict(setting):
        drawn = evaluation_tasks(setting.config, population, Purpose.FINAL_TEST, range(2))
        return drawn, setting.algorithm.predict(setting.learner, setting.rows, drawn)

    tasks, found = predict(one_by_one)
    _, expected = predict(transductive)
    np.testing.assert_allclose(found.together, expected.asked, rtol=0, atol=1e-5)
    assert expected.together is expected.asked
    copies = one_by_one.learner._replace(
        parameters=tree_map(lambda v: tf.stack([v, v]), one_by_one.learner.parameters),
        second_moments=tree_map(lambda v: tf.stack([v, v]), one_by_one.learner.second_moments),
    )
    adapted = one_by_one.algorithm.inner_loop(copies, one_by_one.rows, tasks.batches).state
    pixels = tf.gather(one_by_one.rows, tasks.queries)
    at_once = one_by_one.algorithm.model.logits(adapted.parameters, pixels)[:, :, -1]
    np.testing.assert_allclose(found.asked, at_once, rtol=0, atol=1e-5)


@pytest.mark.parametrize("flags", [{}, {"foml": True}, {"foml": True, "foml_tail": 1}])
def test_parallel_tasks_are_exact_with_sgd(image_set, flags):
    flags = {"sgd": True, "learning_rate": 0.01, "weight_decay": 0.9, **flags}
    in_order = Setting(image_set, "omniglot", **flags)
    parallel = Setting(image_set, "omniglot", parallel_tasks=True, **flags)
    start = in_order.algorithm.new_state().parameters
    for name, value in in_order.learner.parameters.items():
        moved = np.abs(value - start[name]).max()
        difference = np.abs(value - parallel.learner.parameters[name]).max()
        assert difference <= 1e-4 * moved, name


def test_parallel_tasks_average_the_second_moments(image_set):
    """Beside tasks that are trained on alone, each as the only one of a meta-batch."""
    parallel = Setting(image_set, "omniglot", parallel_tasks=True)
    alone = Setting(image_set, "omniglot")
    tasks, sizes = training.inputs(parallel.config, parallel.images, range(5, 6))
    after = []
    for index in range(3):
        task = tree_map(lambda part, index=index: part[:, index : index + 1], tasks)
        after.append(alone.algorithm.train(parallel.learner, alone.rows, task, sizes, 1).state)
    found = parallel.train(5, 1)
    for name, start in parallel.learner.parameters.items():
        if name.startswith("conv") and "bias" in name:
            continue
        mean = np.mean([learner.parameters[name] for learner in after], axis=0)
        moved = np.abs(mean - start).max()
        np.testing.assert_allclose(found.parameters[name], mean, rtol=0, atol=1e-3 * moved)
        moments = np.mean([learner.second_moments[name] for learner in after], axis=0)
        largest = moments.max()
        np.testing.assert_allclose(found.second_moments[name], moments, rtol=0, atol=1e-4 * largest)
        # In order, the moments of all tasks would have come in.
        others = alone.algorithm.train(parallel.learner, alone.rows, tasks, sizes, 1).state
        assert np.abs(others.second_moments[name] - moments).max() > 1e-3 * largest
    np.testing.assert_allclose(found.beta2_power, 0.999 ** (6 * 3 + 1), rtol=1e-5)


@pytest.mark.parametrize("flags", [{}, {"parallel_tasks": True}])
def test_nothing_is_compiled_twice_in_a_run(image_set, tmp_path, flags):
    small = {"checkpoint": str(tmp_path), "eval_interval": 7, "checkpoint_interval": 4}
    setting = Setting(image_set, "omniglot", **small, **flags)
    algorithm = setting.algorithm
    trained = training.train(algorithm, algorithm.new_state(), setting.images, setting.rows)
    final_evaluation.report(algorithm, trained, setting.images, setting.rows, tmp_path)
    functions = ["count_correct"]
    functions += ["train_on_task", "combine"] if flags else ["train_in_order"]
    for name in functions:
        assert getattr(algorithm, name).experimental_get_tracing_count() == 1, name
