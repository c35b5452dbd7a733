"""Counting the right answers of many tasks, and going on with it."""

import dataclasses

import pytest
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.devices.choice import Devices
from supervised_reptile.learning import evaluation, models, reptile
from supervised_reptile.learning.sampling import Population, Purpose
from supervised_reptile.runs import final_evaluation
from supervised_reptile.runs.results import Tally
from supervised_reptile.system.errors import FailedError

FLAGS = {"classes": 3, "shots": 1, "eval_batch": 2, "eval_iters": 2, "eval_samples": 12}


@pytest.fixture
def evaluate(image_set):
    """A function that evaluates an untrained network, and returns the counts."""
    images = image_set({"train": 4, "test": 4}, shots=3)
    model = dataclasses.replace(models.OMNIGLOT, filters=4)
    rows, population = tf.constant(images.pixels), Population.of(images, "test")

    def evaluate(**flags):
        algorithm = reptile.Reptile(model, Config.of("omniglot", {**FLAGS, **flags}))
        learner, tally = algorithm.new_state(), Tally()
        final_evaluation.evaluate(algorithm, learner, rows, population, Purpose.FINAL_TEST, tally)
        return tally.correct[Purpose.FINAL_TEST.name]

    return evaluate


def test_calls_side_by_side_count_what_one_after_another_count(evaluate, monkeypatch):
    counts = []
    for at_once in (1, 5):
        monkeypatch.setattr(Devices, "calls_at_once", lambda *_, at_once=at_once: at_once)
        counts.append(evaluate())
    assert counts[0] == counts[1]
    assert len(set(map(tuple, counts[0]))) > 1  # An order would show.


@pytest.mark.parametrize(("transductive", "images"), [(True, 20), (False, 101)])
def test_memory_is_that_of_the_widest_pass(monkeypatch, transductive, images):
    flags = {"classes": 20, "shots": 5, "transductive": transductive, "eval_batch": 10}
    algorithm = reptile.Reptile(models.MINIIMAGENET, Config.of("miniimagenet", flags))
    seen = []
    monkeypatch.setattr(Devices, "calls_at_once", lambda self, memory: seen.append(memory) or 1)
    state = algorithm.new_state()
    assert not list(evaluation.count_side_by_side(algorithm, state, None, None, range(0)))
    # The first convolution gives every image 84 x 84 times 32 float32 values.
    assert seen == [images * 84 * 84 * 32 * 4]


def test_an_accuracy_of_outputs_that_are_not_finite_is_none(evaluate):
    with pytest.raises(FailedError, match="smaller --learning-rate or fewer --eval-iters"):
        evaluate(learning_rate=1e38)
