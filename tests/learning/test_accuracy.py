"""Accuracies and their intervals: by hand, by many draws, by the normal distribution."""

import math

import numpy as np
import pytest

from supervised_reptile.learning.accuracy import accuracy


def test_accuracy_and_interval_by_hand():
    # Four tasks of five queries: accuracies 1, .8, .6, .8; mean .8, sample variance .08 / 3.
    found = accuracy(np.array([5, 4, 3, 4]), classes=5)
    assert found.mean == 16 / 20
    # Student's t with three degrees of freedom is 3.182.
    assert found.confidence == pytest.approx(3.182 * math.sqrt(0.08 / 3 / 4 + 2 / 20**2), rel=0.02)
    assert found.tasks == 4
    assert accuracy(np.array([3]), classes=5).confidence is None
    # Nothing is outside of 0 to 1.
    assert accuracy(np.array([5, 0]), classes=5).confidence == 0.5


@pytest.mark.parametrize("tasks", [2, 5, 10, 50, 1000])
@pytest.mark.parametrize("true", [0.5, 0.9546, 0.99])
def test_the_interval_holds_the_truth_in_95_of_100_evaluations_however_few_the_tasks(tasks, true):
    draws = np.random.default_rng(1)
    difficulty = draws.beta(30 * true, 30 * (1 - true), (1500, tasks))
    found = [accuracy(correct, 5) for correct in draws.binomial(5, difficulty)]
    held = np.mean([abs(one.mean - true) <= one.confidence for one in found])
    assert held > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 1500)
    assert min(one.confidence for one in found) > 0


def test_of_many_tasks_the_interval_is_the_normal_one():
    correct = np.random.default_rng(0).binomial(5, 0.95, 10_000)
    normal = 1.96 * np.std(correct / 5, ddof=1) / 100
    assert accuracy(correct, 5).confidence == pytest.approx(normal, rel=0.001)
