"""The state of training, as one value that goes in and comes out; nothing hides elsewhere."""

import typing
from collections.abc import Mapping

import tensorflow as tf

Tensors = dict[str, tf.Tensor]
Shapes = Mapping[str, tuple[int, ...]]
BETA2 = 0.999
VECTORS = "vectors"  # the name of all of them, in one tensor


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

    loss: of the images of the last inner step's mini-batch, float32: [tasks, batch] of an inner
    step, a scalar (their mean) of an outer one. It changes nothing; people look at it.
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


def packed(state: State) -> State:
    """The State with kernels as they are, and all vectors (biases, scales, shifts) in one tensor.

    An inner step then updates these in one operation: for a GPU, a quarter fewer to launch, which
    is what most of the time on small tasks is spent on.
    """

    def joined(tensors: Tensors) -> Tensors:
        kernels = {name: value for name, value in tensors.items() if name.endswith("kernel")}
        vectors = [tensors[name] for name in sorted(tensors.keys() - kernels.keys())]
        return kernels | {VECTORS: tf.concat(vectors, -1)} if vectors else kernels

    return State(joined(state.parameters), joined(state.second_moments), state.beta2_power)


def unpacked(tensors: Tensors, shapes: Shapes) -> Tensors:
    """The parameters or second moments of a State by their own names, if they were packed.

    shapes: of all parameters, without an axis of tasks.
    """
    if VECTORS not in tensors:
        return tensors
    names = sorted(name for name in shapes if not name.endswith("kernel"))
    vectors = tf.split(tensors[VECTORS], [shapes[name][0] for name in names], -1)
    known = tensors | dict(zip(names, vectors))
    return {name: known[name] for name in shapes}


@tf.function(autograph=False)  # not by XLA, which takes a second to compile it
def _all_finite(values: list[tf.Tensor]) -> tf.Tensor:
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(value)) for value in values])


def is_finite(state: State) -> bool:
    """Whether all numbers of a State are; only that leaves the device."""
    return bool(_all_finite(tf.nest.flatten(state)))
