"""The inner loop's updates against the formulas of the specification, number by number."""

import math

import pytest
import tensorflow as tf

from supervised_reptile.learning import optimizers, state
from supervised_reptile.learning.state import State

GRADIENTS = [0.5, -2.0, 1e-9, 0.25]


def state_of(theta, v=0.0, power=0.999):
    return State({"x": tf.constant([theta])}, {"x": tf.constant([v])}, tf.constant(power))


def test_adam_follows_the_formula_from_its_first_step():
    state, theta, v = state_of(1.0), 1.0, 0.0
    for t, g in enumerate(GRADIENTS, start=1):
        v = 0.999 * v + 0.001 * g**2
        theta -= 0.01 * math.sqrt(1 - 0.999**t) * g / (math.sqrt(v) + 1e-8)
        state = optimizers.update(state, {"x": tf.constant([g])}, 0.01)
        assert state.parameters["x"].numpy()[0] == pytest.approx(theta, rel=1e-5)
        assert state.second_moments["x"].numpy()[0] == pytest.approx(v, rel=1e-5)
        assert state.beta2_power.numpy() == pytest.approx(0.999 ** (t + 1), rel=1e-5)


def test_epsilon_stands_outside_the_square_root():
    # With g = 1e-8, sqrt(v) = 3.2e-10 is far below epsilon, which therefore rules the step.
    g, factor = 1e-8, math.sqrt(0.001)
    state = optimizers.update(state_of(0.0), {"x": tf.constant([g])}, 1.0)
    expected = -factor * g / (factor * g + 1e-8)
    assert state.parameters["x"].numpy()[0] == pytest.approx(expected, rel=1e-4)


def test_an_underflown_power_leaves_a_factor_of_one():
    state = optimizers.update(state_of(0.0, v=4.0, power=0.0), {"x": tf.constant([2.0])}, 0.1)
    assert state.parameters["x"].numpy()[0] == pytest.approx(-0.1 * 2 / 2, rel=1e-6)
    assert state.beta2_power.numpy() == 0


def test_sgd_follows_the_gradient():
    start = state.untrained({"x": tf.constant([1.0])}, sgd=True)
    after = optimizers.update(start, {"x": tf.constant([3.0])}, 0.1)
    assert after.parameters["x"].numpy()[0] == pytest.approx(0.7)
    assert after.second_moments == {}


def test_decay_multiplies_parameters_and_leaves_the_moments():
    after = optimizers.decay(state_of(2.0, v=5.0), 0.9)
    assert after.parameters["x"].numpy()[0] == pytest.approx(1.8)
    assert after.second_moments["x"].numpy()[0] == 5
