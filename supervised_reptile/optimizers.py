"""The inner loop's optimizers as pure updates of the learner's state (section 6.1)."""

import typing

import tensorflow as tf

BETA2 = 0.999
EPSILON = 1e-8


class Learner(typing.NamedTuple):
    """All that training changes: one value that goes in and comes out.

    parameters: float32 tensors by name. second_moments: Adam's v, likewise; empty with SGD.
    beta2_power: float32 scalar, 0.999^(t + 1) after t inner steps. It is the power that is carried,
    not t: a long run lets it underflow to 0, which is as good as exact.
    """

    parameters: dict
    second_moments: dict
    beta2_power: tf.Tensor


def new_learner(parameters, sgd):
    """A Learner that has made no step yet."""
    moments = {} if sgd else {name: tf.zeros_like(value) for name, value in parameters.items()}
    return Learner(parameters, moments, tf.constant(BETA2))


def decay(learner, rate):
    """Multiply all parameters by `rate`, as --weight-decay does before every inner step."""
    if rate == 1:
        return learner
    return learner._replace(
        parameters={name: rate * value for name, value in learner.parameters.items()}
    )


def update(learner, gradients, learning_rate):
    """One step of Adam with beta1 = 0, or of SGD for a learner without second moments."""
    if not learner.second_moments:
        return learner._replace(
            parameters={
                name: value - learning_rate * gradients[name]
                for name, value in learner.parameters.items()
            }
        )
    step_size = learning_rate * tf.sqrt(1 - learner.beta2_power)
    moments = {
        name: BETA2 * value + (1 - BETA2) * tf.square(gradients[name])
        for name, value in learner.second_moments.items()
    }
    parameters = {
        name: value - step_size * gradients[name] / (tf.sqrt(moments[name]) + EPSILON)
        for name, value in learner.parameters.items()
    }
    return Learner(parameters, moments, BETA2 * learner.beta2_power)
