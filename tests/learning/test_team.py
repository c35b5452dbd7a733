"""What members share is what one does."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.learning import evaluation, models, team
from supervised_reptile.learning.reptile import Reptile
from supervised_reptile.learning.sampling import Population, Purpose, evaluation_tasks
from supervised_reptile.runs import training


@pytest.fixture
def uncompiled():
    """Step by step: three members would compile for as many numbers of tasks."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def test_without_parallel_tasks_members_share_no_training(image_set, uncompiled):
    """One after the other, tasks begin where the one before left Adam's moments."""
    flags = {"classes": 3, "shots": 1, "inner_iters": 2, "meta_batch": 2}
    config, images = Config.of("omniglot", flags), image_set({"train": 5, "test": 5}, 6)
    one = Reptile(dataclasses.replace(models.OMNIGLOT, filters=4), config)
    pixels, chunk = tf.constant(images.pixels), training.draw_chunk(config, images, range(1))
    two = team.Team(one, [team.local(one, pixels)] * 2)
    found, expected = (
        tf.nest.flatten(each.train(one.new_state(), pixels, chunk)) for each in (two, one)
    )
    for value, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(value, other)


def test_three_members_share_four_tasks_and_an_evaluation(image_set, uncompiled):
    """One device takes the part of three. Two tasks, one and one; the last batch is FOML's."""
    flags = {"classes": 3, "shots": 1, "inner_iters": 2, "eval_iters": 2, "meta_batch": 4}
    config = Config.of("omniglot", {**flags, "parallel_tasks": True, "foml": True})
    images = image_set({"train": 5, "test": 5}, 6)
    pixels, population = tf.constant(images.pixels), Population.of(images, "test")
    one = Reptile(dataclasses.replace(models.OMNIGLOT, filters=4), config)
    three = team.Team(one, [team.local(one, pixels)] * 3)
    chunk = training.draw_chunk(config, images, range(2))

    def draw(index):
        return evaluation_tasks(config, population, Purpose.FINAL_TEST, [index])

    found = []
    for algorithm in (one, three):
        step = algorithm.train(one.new_state(), pixels, chunk)
        guesses = evaluation.guesses(algorithm, step.state, pixels, draw, range(10))
        found.append((tf.nest.flatten(step), [guess.reported.tolist() for guess in guesses]))
    (expected, guesses), (values, others) = found
    for value, other in zip(values, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=0, atol=1e-6)
    assert guesses == others and len(set(map(tuple, guesses))) > 1
