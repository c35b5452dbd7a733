"""Saving and restoring a State, in TensorFlow's checkpoint format.

The variables have the names they have in the authors' TensorFlow 1 program, so that one reader
serves both, and TensorFlow's own tools can look into our files. Second moments are
`<variable>/Adam_1`, the step count is `beta2_power`.
"""

import errno
import os
import re
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.learning import models
from supervised_reptile.learning.models import Model
from supervised_reptile.learning.state import State, Tensors, is_finite
from supervised_reptile.runs import record
from supervised_reptile.system import files, output
from supervised_reptile.system.errors import EXHAUSTED, DamagedError, RefusedError

FILE = re.compile(r"model\.ckpt-(\d+)\.(?:index|data-00000-of-00001)")
MOMENT = "/Adam_1"
POWER = "beta2_power"


def save(directory: str | os.PathLike, iteration: int, state: State, keep: int) -> None:
    """Write `model.ckpt-<iteration>`, completely or not at all; remove all but the newest `keep`.

    Raises OSError if that is not possible; earlier checkpoints stay intact.
    """
    directory = Path(directory)
    prefix, temporary = directory / f"model.ckpt-{iteration}", directory / record.TEMPORARY
    tensors = {**state.parameters}
    if state.second_moments:
        tensors |= {name + MOMENT: value for name, value in state.second_moments.items()}
        tensors[POWER] = state.beta2_power
    try:
        write(temporary, tensors)
        # The index goes last: a checkpoint without one does not exist.
        suffixes = (".data-00000-of-00001", ".index")
        files.put_in_place({Path(f"{temporary}{end}"): Path(f"{prefix}{end}") for end in suffixes})
    finally:
        for path in directory.glob(f"{record.TEMPORARY}*"):
            path.unlink()
    # Newer ones are damaged, or of another run: this one has not continued from them.
    kept = [number for number in record.checkpoints(directory) if number <= iteration][-keep:]
    record.name_newest(directory, kept)
    for path in sorted(directory.iterdir(), reverse=True):  # indices first
        if (found := FILE.fullmatch(path.name)) and int(found[1]) < kept[0]:
            path.unlink()


def write(prefix: Path, tensors: Tensors) -> None:
    """Write tensors by name as one TensorFlow checkpoint. Raises OSError if that fails."""
    try:
        tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=list(tensors),
            shape_and_slices=[""] * len(tensors),
            tensors=list(tensors.values()),
        )
    except tf.errors.OpError as error:
        reason = error.message.split("; ")[-1].split(" [Op:")[0]
        raise OSError(f"cannot write the checkpoint {prefix}: {reason}") from None


def restore_newest(
    directory: str | os.PathLike, model: Model, config: Config
) -> tuple[State, int] | None:
    """The State in the newest sound checkpoint of a run and its number; None if none was saved.

    The state file says which is the newest. A run that was killed before it wrote that file resumes
    from the one before, and comes to the same bits. Damaged ones are reported on standard error.
    Raises RefusedError if all are.
    """
    newest, warning = record.newest(directory)
    if warning:
        output.note(f"Warning: {warning}")
    numbers = record.checkpoints(directory)
    prefixes = [Path(directory) / f"model.ckpt-{number}" for number in numbers]
    last = prefixes.index(newest) if newest in prefixes else len(prefixes) - 1
    for number, prefix in reversed(list(zip(numbers, prefixes))[: last + 1]):
        try:
            return restore(prefix, model, config), number
        except DamagedError as error:
            output.note(f"Warning: {error}")
    if numbers:
        raise RefusedError(
            f"--resume: no checkpoint in {directory} is sound: remove the directory, or name "
            "another one, and start again"
        )
    return None


def restore(prefix: Path, model: Model, config: Config) -> State:
    """The State in a checkpoint of this program or of the authors'.

    Raises RefusedError if it holds another network or number of classes, other types or shapes, or
    lacks the second moments that Adam continues from, or is gone; DamagedError if it is not as it
    was written, or not finite.
    """
    shapes, adam = dict(model.shapes(config.task.classes)), not config.inner.sgd
    moments = {name + MOMENT: shape for name, shape in shapes.items()} | {POWER: ()}
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        types, found = reader.get_variable_to_dtype_map(), reader.get_variable_to_shape_map()
        held = {name: (types[name].name, tuple(found[name])) for name in found}
        _check_network(prefix, held, model, config.task.classes)
        expected = shapes | moments if adam else shapes
        _check_tensors(prefix, held, expected)
        tensors = {name: tf.constant(reader.get_tensor(name)) for name in expected}
    except (tf.errors.OpError, LookupError, ValueError, TypeError, RuntimeError) as error:
        _raise_system_error(error, str(prefix))
        if not os.path.exists(f"{prefix}.index"):
            raise RefusedError(
                f"the checkpoint {prefix} is gone: a run that trains there keeps only its newest "
                "ones: give the same command again, or name a newer one"
            ) from None
        reason = str(error).splitlines()[0]
        raise DamagedError(f"the checkpoint {prefix} is damaged: {reason}") from None
    state = State(
        {name: tensors[name] for name in shapes},
        {name: tensors[name + MOMENT] for name in shapes} if adam else {},
        tensors.get(POWER, tf.constant(0.0)),
    )
    if not is_finite(state):
        raise DamagedError(f"the checkpoint {prefix} holds numbers that are not finite")
    return state


def _raise_system_error(failure: Exception, path: str) -> None:
    """Raise the OSError that TensorFlow has put into words, if it says nothing about what a file
    holds. path: of the file."""
    for number in (*EXHAUSTED, errno.EACCES, errno.EIO):
        if os.strerror(number) in str(failure):
            raise OSError(number, os.strerror(number), path) from None


Held = Mapping[str, tuple[str, tuple[int, ...]]]  # type and shape of what a checkpoint holds


def _check_network(prefix: Path, held: Held, model: Model, classes: int) -> None:
    kernel, dense = (held.get(f"{layer}/kernel", ("", ()))[1] for layer in ("conv2d", "dense"))
    for other in models.MODELS.values():
        if other.name != model.name and kernel == other.shapes(classes)["conv2d/kernel"]:
            raise RefusedError(
                f"the checkpoint {prefix} holds the {other.name} network: evaluate it with "
                f"run_{other.name}.py"
            )
    if len(dense) == 2 and dense[1] != classes:
        raise RefusedError(
            f"--classes {classes}: the checkpoint {prefix} distinguishes {dense[1]} classes; give "
            f"--classes {dense[1]}"
        )


def _check_tensors(prefix: Path, held: Held, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse other types and shapes, which would be computed with otherwise, or not at all."""
    for name, shape in expected.items():
        if name not in held and (name.endswith(MOMENT) or name == POWER):
            raise RefusedError(
                f"the checkpoint {prefix} has no Adam moments (it lacks {name}), and results need "
                "the optimizer that it was trained with: if that was SGD, give --sgd; otherwise it "
                "cannot be evaluated as it was trained"
            )
        if held.get(name) != ("float32", shape):
            found = "{} of shape {}".format(*held[name]) if name in held else "nothing"
            raise RefusedError(
                f"the checkpoint {prefix} holds {name} as {found}, but float32 of shape {shape} is "
                "needed: name a checkpoint as this program or its authors' wrote it"
            )
