"""Saving and restoring a State, in TensorFlow's checkpoint format.

The variables have the names they have in the authors' TensorFlow 1 program, so that one reader
serves both, and TensorFlow's own tools can look into our files. Second moments are
`<variable>/Adam_1`, the step count is `beta2_power`.
"""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.learning import models
from supervised_reptile.learning.models import Model
from supervised_reptile.learning.state import State, Tensors, is_finite
from supervised_reptile.runs import record
from supervised_reptile.system import files
from supervised_reptile.system.errors import DamagedError, RefusedError, of_the_system

FILE = re.compile(r"model\.ckpt-(\d+)\.(?:index|data-00000-of-00001)")
Held = Mapping[str, tuple[str, tuple[int, ...]]]  # type and shape of what a checkpoint holds
MOMENT = "/Adam_1"
POWER = "beta2_power"


def save(directory: str | Path, iteration: int, state: State, keep: int) -> None:
    """Write `model.ckpt-<iteration>`, completely or not at all; remove all but the newest `keep`.

    Raises OSError if that is not possible; earlier checkpoints stay intact.
    """
    directory = Path(directory)
    prefix, temporary = directory / f"model.ckpt-{iteration}", directory / "model.ckpt.tmp"
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
        for path in directory.glob("model.ckpt.tmp*"):
            path.unlink()
    # The run has not gone on from newer ones: they are damaged, or not its own. It comes to them.
    kept = [number for number in record.checkpoints(directory) if number <= iteration][-keep:]
    files.write_atomically(directory / record.STATE, _state_file(kept))
    for number, path in _files(directory):
        if number < kept[0]:
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


def _files(directory: str | Path) -> list[tuple[int, Path]]:
    """The numbers and files of checkpoints, of those whose other half is missing too; indices
    first."""
    named = ((FILE.fullmatch(path.name), path) for path in Path(directory).iterdir())
    found = [(int(match[1]), path) for match, path in named if match]
    return sorted(found, key=lambda one: one[1].suffix != ".index")


def _state_file(numbers: Sequence[int]) -> str:
    """What tf.train.latest_checkpoint reads."""
    lines = [f'model_checkpoint_path: "model.ckpt-{numbers[-1]}"']
    lines += [f'all_model_checkpoint_paths: "model.ckpt-{number}"' for number in numbers]
    return "\n".join(lines) + "\n"


def restore_newest(directory: str | Path, model: Model, config: Config) -> tuple[State, int] | None:
    """The State in the newest sound checkpoint of a run and its number; None if none was saved.

    The state file says which is the newest. A run that was killed before it wrote that file goes on
    from the one before, and comes to the same bits. Damaged ones are reported on standard error.
    Raises RefusedError if all are.
    """
    if doubt := record.doubt(directory):
        print(f"Warning: {doubt}", file=sys.stderr)
    numbers = sorted({number for number, _ in _files(directory)}, reverse=True)
    prefixes = {number: Path(directory) / f"model.ckpt-{number}" for number in numbers}
    stated = record.stated(directory)
    newest = next((number for number in numbers if prefixes[number] == stated), math.inf)
    for number in (number for number in numbers if number <= newest):
        try:
            return restore(prefixes[number], model, config), number
        except DamagedError as error:
            print(f"Warning: {error}", file=sys.stderr)
    # Data without an index was never a checkpoint: its process was killed as it made it.
    if record.checkpoints(directory):
        higher = f"remove its file {record.STATE} to take higher numbers, "
        raise RefusedError(
            f"--resume: no checkpoint in {directory} is sound: "
            f"{higher if newest < numbers[0] else ''}remove the directory, or name another one, "
            "and start again"
        )
    return None


def restore(prefix: Path, model: Model, config: Config) -> State:
    """The State in a checkpoint of this program or of the authors'.

    Raises RefusedError if it holds another network or number of classes, other types or shapes, or
    lacks the second moments that Adam continues from; DamagedError if it is not as it was written,
    or not finite.
    """
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        types, shapes = reader.get_variable_to_dtype_map(), reader.get_variable_to_shape_map()
        held = {name: (types[name].name, tuple(shapes[name])) for name in shapes}
        _check_model(prefix, held, model, config.task.classes)
        names = model.shapes(config.task.classes)
        moments, power = {}, tf.constant(0.0)
        if not config.inner.sgd:
            _check_moments(prefix, held, names)
            moments = {name: tf.constant(reader.get_tensor(name + MOMENT)) for name in names}
            power = tf.constant(reader.get_tensor(POWER))
        parameters = {name: tf.constant(reader.get_tensor(name)) for name in names}
    except (tf.errors.OpError, LookupError, ValueError, TypeError, RuntimeError) as error:
        if elsewhere := of_the_system(error):
            raise elsewhere from None
        reason = str(error).splitlines()[0]
        raise DamagedError(f"the checkpoint {prefix} is damaged: {reason}") from None
    state = State(parameters, moments, power)
    if not is_finite(state):
        raise DamagedError(f"the checkpoint {prefix} holds numbers that are not finite")
    return state


def _check_model(prefix: Path, held: Held, model: Model, classes: int) -> None:
    expected = model.shapes(classes)
    kernel, dense = "conv2d/kernel", "dense/kernel"
    if kernel not in held or dense not in held:
        raise RefusedError(f"the checkpoint {prefix} does not hold one of the paper's networks")
    for other in models.MODELS.values():
        if held[kernel][1] == other.shapes(classes)[kernel] != expected[kernel]:
            raise RefusedError(
                f"the checkpoint {prefix} holds the {other.name} network: evaluate it with "
                f"run_{other.name}.py"
            )
    distinguished = held[dense][1][-1:]
    if len(held[dense][1]) == 2 and distinguished != (classes,):
        raise RefusedError(
            f"--classes {classes}: the checkpoint {prefix} distinguishes {distinguished[0]} "
            f"classes; give --classes {distinguished[0]}"
        )
    _check_tensors(prefix, held, expected)


def _check_moments(prefix: Path, held: Held, shapes: Mapping[str, tuple[int, ...]]) -> None:
    expected = {name + MOMENT: shape for name, shape in shapes.items()} | {POWER: ()}
    if missing := expected.keys() - held.keys():
        raise RefusedError(
            f"the checkpoint {prefix} has no Adam moments (it lacks {min(missing)}), and results "
            "need the optimizer that it was trained with: if that was SGD, give --sgd; otherwise "
            "it cannot be evaluated as it was trained"
        )
    _check_tensors(prefix, held, expected)


def _check_tensors(prefix: Path, held: Held, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse other types and shapes, which would be computed with otherwise, or not at all."""
    for name, shape in expected.items():
        if name not in held:
            raise RefusedError(f"the checkpoint {prefix} lacks {name} of shape {shape}")
        if held[name] != ("float32", shape):
            found = "{} of shape {}".format(*held[name])
            raise RefusedError(
                f"the checkpoint {prefix} holds {name} as {found}, but float32 of shape {shape} is "
                "needed: name a checkpoint as this program or its authors' wrote it"
            )
