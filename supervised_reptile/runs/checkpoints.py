"""Saving and restoring a State, in TensorFlow's checkpoint format.

The variables have the names they have in the authors' TensorFlow 1 program, so that one reader
serves both, and TensorFlow's own tools can look into our files. Second moments are
`<variable>/Adam_1`, the step count is `beta2_power`.
"""

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
from supervised_reptile.system.errors import DamagedError, RefusedError

FILE = re.compile(r"model\.ckpt-(\d+)\.(?:index|data-00000-of-00001)")
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
    # Newer ones are damaged, or the run would have gone on from them: it comes to them again.
    kept = [number for number in record.checkpoints(directory) if number <= iteration][-keep:]
    files.write_atomically(directory / "checkpoint", _state_file(kept))
    for path in _files(directory):
        if _number(path) < kept[0]:
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


def _files(directory: str | Path) -> list[Path]:
    """The files of checkpoints, those whose other half is missing too; indices first."""
    paths = (path for path in Path(directory).iterdir() if FILE.fullmatch(path.name))
    return sorted(paths, key=lambda path: path.suffix != ".index")


def _number(path: Path) -> int:
    """The number of a file of _files."""
    return int(path.name.removeprefix("model.ckpt-").partition(".")[0])


def _state_file(numbers: Sequence[int]) -> str:
    """What tf.train.latest_checkpoint reads."""
    lines = [f'model_checkpoint_path: "model.ckpt-{numbers[-1]}"']
    lines += [f'all_model_checkpoint_paths: "model.ckpt-{number}"' for number in numbers]
    return "\n".join(lines) + "\n"


def restore_newest(directory: str | Path, model: Model, config: Config) -> tuple[State, int] | None:
    """The State in the newest sound checkpoint of a run and its number; None if none was saved.

    Damaged ones are reported on standard error. Raises RefusedError if all are.
    """
    numbers = sorted({_number(path) for path in _files(directory)}, reverse=True)
    for number in numbers:
        try:
            return restore(Path(directory) / f"model.ckpt-{number}", model, config), number
        except DamagedError as error:
            print(f"Warning: {error}", file=sys.stderr)
    # Data without an index was never a checkpoint: its process was killed as it made it.
    if record.checkpoints(directory):
        raise RefusedError(
            f"--resume: no checkpoint in {directory} is sound: remove the directory, or name "
            "another one, and start again"
        )
    return None


def restore(prefix: Path, model: Model, config: Config) -> State:
    """The State in a checkpoint of this program or of the authors'.

    Raises RefusedError if it holds another network or number of classes, or lacks the second
    moments that Adam continues from; DamagedError if it is not as it was written, or not finite.
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
        raise DamagedError(f"the checkpoint {prefix} is damaged: {reason}") from None
    state = State(parameters, moments, power)
    if not is_finite(state):
        raise DamagedError(f"the checkpoint {prefix} holds numbers that are not finite")
    return state


def _check_model(prefix: Path, shapes: Mapping[str, list[int]], model: Model, classes: int) -> None:
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
            f"--classes {classes}: the checkpoint {prefix} distinguishes {shapes[dense][1]} "
            f"classes; give --classes {shapes[dense][1]}"
        )
    for name, shape in expected.items():
        if tuple(shapes.get(name, ())) != shape:
            raise RefusedError(f"the checkpoint {prefix} lacks {name} of shape {shape}")


def _check_moments(
    prefix: Path, shapes: Mapping[str, list[int]], names: Sequence[str], sgd: bool
) -> None:
    if sgd:
        return
    if POWER not in shapes or any(name + MOMENT not in shapes for name in names):
        raise RefusedError(
            f"the checkpoint {prefix} has no second moments for Adam to continue from: it was "
            "trained with --sgd, give that flag here too"
        )
