"""Testing adapted networks: many tasks, calls side by side."""

import dataclasses
import threading

import pytest
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.learning import evaluation, models
from supervised_reptile.learning.reptile import Reptile
from supervised_reptile.learning.sampling import Population, Purpose
from supervised_reptile.runs import final_evaluation
from supervised_reptile.system.errors import FailedError


def test_an_accuracy_of_outputs_that_are_not_finite_is_none(image_set):
    images = image_set({"train": 4, "test": 4}, shots=3)
    flags = {"classes": 3, "shots": 1, "eval_iters": 2, "learning_rate": 1e38}
    model = dataclasses.replace(models.OMNIGLOT, filters=4)
    algorithm = Reptile(model, Config.of("omniglot", flags))
    state, population = algorithm.new_state(), Population.of(images, "test")
    pixels = tf.constant(images.pixels)
    with pytest.raises(FailedError, match="smaller --learning-rate or fewer --eval-iters"):
        final_evaluation.evaluate(algorithm, state, pixels, population, Purpose.FINAL_TEST)


def test_calls_run_at_the_same_time_and_answer_in_order():
    both = threading.Barrier(2, timeout=10)

    def call(item):
        both.wait()  # The second call is needed to go on.
        return item

    assert list(evaluation.side_by_side(call, range(6), count=2)) == [0, 1, 2, 3, 4, 5]
