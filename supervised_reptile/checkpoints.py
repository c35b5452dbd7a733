"""Saving and restoring a learner, in TensorFlow's checkpoint format.

The variables have the names they have in the authors' TensorFlow 1 program, so that one reader
serves both, and TensorFlow's own tools can look into our files. Second moments are
`<variable>/Adam_1`, the step count is `beta2_power`.
"""

import os
import pathlib

import tensorflow as tf

from supervised_reptile import models, runs
from supervised_reptile.errors import FailedError, RefusedError
from supervised_reptile.optimizers import Learner

KEPT = 5
MOMENT = "/Adam_1"
POWER = "beta2_power"


def save(directory, iteration, learner):
    """Write `model.ckpt-<iteration>`, whole or not at all, and keep the newest few."""
    directory = pathlib.Path(directory)
    prefix, temporary = directory / f"model.ckpt-{iteration}", directory / "model.ckpt.tmp"
    tensors = {**learner.parameters}
    if learner.second_moments:
        tensors |= {name + MOMENT: value for name, value in learner.second_moments.items()}
        tensors[POWER] = learner.beta2_power
    write(temporary, tensors)
    # The index goes last: a checkpoint without one does not exist.
    for suffix in (".data-00000-of-00001", ".index"):
        os.replace(f"{temporary}{suffix}", f"{prefix}{suffix}")
    kept = runs.checkpoints(directory)[-KEPT:]
    runs.write_atomically(directory / "checkpoint", _state_file(kept))
    for number in runs.checkpoints(directory)[:-KEPT]:
        for suffix in (".index", ".data-00000-of-00001"):
            os.remove(directory / f"model.ckpt-{number}{suffix}")


def write(prefix, tensors):
    """Write tensors by name as one TensorFlow checkpoint. Raises FailedError if that fails."""
    try:
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )
    except tf.errors.OpError as error:
        raise FailedError(f"cannot write the checkpoint {prefix}: {error.message}") from None


def _state_file(numbers):
    """What tf.train.latest_checkpoint reads."""
    lines = [f'model_checkpoint_path: "model.ckpt-{numbers[-1]}"']
    lines += [f'all_model_checkpoint_paths: "model.ckpt-{number}"' for number in numbers]
    return "\n".join(lines) + "\n"


def restore(prefix, model, config):
    """The Learner in a checkpoint of this program or of the authors'.

    Raises RefusedError if it is damaged, holds another network or number of classes, or lacks the
    second moments that Adam goes on from.
    """
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
        _check_model(prefix, shapes, model, config.task.classes)
        names = list(model.shapes(config.task.classes))
        _check_moments(prefix, shapes, names, config.inner.sgd)
        moments, power = {}, tf.constant(0.0)
        if not config.inner.sgd:
            moments = {name: tf.constant(reader.get_tensor(name + MOMENT)) for name in names}
            power = tf.constant(reader.get_tensor(POWER))
        parameters = {name: tf.constant(reader.get_tensor(name)) for name in names}
    except (tf.errors.OpError, IndexError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise RefusedError(f"the checkpoint {prefix} is damaged: {reason}") from None
    return Learner(parameters, moments, power)


def _check_model(prefix, shapes, model, classes):
    expected = model.shapes(classes)
    kernel, dense = "conv2d/kernel", "dense/kernel"
    if kernel not in shapes or dense not in shapes:
        raise RefusedError(f"the checkpoint {prefix} does not hold one of the paper's networks")
    for other in models.MODELS.values():
        if tuple(shapes[kernel]) == other.shapes(classes)[kernel] != expected[kernel]:
            raise RefusedError(
                f"the checkpoint {prefix} holds the {other.name} network: evaluate it with "
                f"run_{other.name}.py"
            )
    if shapes[dense][1] != classes:
        raise RefusedError(
            f"--classes {classes}: the checkpoint {prefix} tells {shapes[dense][1]} classes apart; "
            f"give --classes {shapes[dense][1]}"
        )
    for name, shape in expected.items():
        if tuple(shapes.get(name, ())) != shape:
            raise RefusedError(f"the checkpoint {prefix} lacks {name} of shape {shape}")


def _check_moments(prefix, shapes, names, sgd):
    if sgd:
        return
    if POWER not in shapes or any(name + MOMENT not in shapes for name in names):
        raise RefusedError(
            f"the checkpoint {prefix} has no second moments for Adam to go on from: it was "
            "trained with --sgd, give that flag here too"
        )
