"""The inner loop's optimizers as pure updates of the learner's State (section 6.1)."""

import tensorflow as tf

from supervised_reptile.learning.state import BETA2, State, Tensors

EPSILON = 1e-8


def decay(state: State, rate: float) -> State:
    """Multiply all parameters by `rate`, as --weight-decay does before every inner step."""
    if rate == 1:
        return state
    return state._replace(
        parameters={name: rate * value for name, value in state.parameters.items()}
    )


def update(state: State, gradients: Tensors, learning_rate: float) -> State:
    """One step of Adam with beta1 = 0, or of SGD for a State without second moments."""
    if not state.second_moments:
        return state._replace(
            parameters={
                name: value - learning_rate * gradients[name]
                for name, value in state.parameters.items()
            }
        )
    step_size = learning_rate * tf.sqrt(1 - state.beta2_power)
    moments = {
        name: BETA2 * value + (1 - BETA2) * tf.square(gradients[name])
        for name, value in state.second_moments.items()
    }
    parameters = {
        name: value - step_size * gradients[name] / (tf.sqrt(moments[name]) + EPSILON)
        for name, value in state.parameters.items()
    }
    return State(parameters, moments, BETA2 * state.beta2_power)
