"""What training changes, as one value that goes in and comes out; nothing hides elsewhere."""

import typing
from collections.abc import Mapping

import tensorflow as tf

Tensors = dict[str, tf.Tensor]
Shapes = Mapping[str, tuple[int, ...]]
BETA2 = 0.999


class State(typing.NamedTuple):
    """The parameters and the state of the inner loop's optimizer.

    parameters: float32 tensors by name. second_moments: Adam's v, likewise; empty with SGD.
    beta2_power: float32 scalar, 0.999^(t + 1) after t inner steps. It is the power that is carried,
    not t: a long run lets it underflow to 0, which is as good as exact.
    """

    parameters: Tensors
    second_moments: Tensors
    beta2_power: tf.Tensor


class Step(typing.NamedTuple):
    """Where a step of training led.

    loss: mean over the images of the last inner step's mini-batch, float32: [tasks] of an inner
    step, a scalar (the mean over tasks) of an outer one. It changes nothing; people look at it.
    """

    state: State
    loss: tf.Tensor


def untrained(parameters: Tensors, sgd: bool) -> State:
    """A State that has made no step yet."""
    moments = {} if sgd else {name: tf.zeros_like(value) for name, value in parameters.items()}
    return State(parameters, moments, tf.constant(BETA2))


def copies(state: State, tasks: int) -> State:
    """The State with a leading axis of tasks: each has a copy of its own to adapt."""

    def repeated(tensors: Tensors) -> Tensors:
        return {name: tf.stack([value] * tasks) for name, value in tensors.items()}

    return State(repeated(state.parameters), repeated(state.second_moments), state.beta2_power)


@tf.function(autograph=False)  # not by XLA, which takes a second to compile it
def _all_finite(values: list[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in values])


def is_finite(state: State) -> bool:
    """Whether all numbers of a State are; only that leaves the device."""
    return bool(_all_finite(tf.nest.flatten(state)))
