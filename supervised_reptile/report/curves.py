"""Learning curves: read from event files or from a curve.npz, kept in one, smoothed."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.tensorflow_stub.errors import OutOfRangeError
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New

from supervised_reptile.report.say import say

Floats = npt.NDArray[np.float64]
SPLITS = ("train", "val", "test")
COMPACT = "curve.npz"
EVENTS = "events.out.tfevents.*"


@dataclasses.dataclass(frozen=True)
class Curve:
    """Accuracies of single tasks along the way, as fractions. iterations: int [points], the same
    for all sets. accuracy: float [points], by set ("train", "val", "test")."""

    iterations: npt.NDArray[np.int64]
    accuracy: dict[str, Floats]


@dataclasses.dataclass(frozen=True)
class Smooth:
    """Moving averages: mean [points] and half the width of its 95 % interval [points], NaN where
    the window has a single point."""

    mean: Floats
    interval: Floats


def read(folder: pathlib.Path) -> Curve | None:
    """The curve of a run's folder, or None if it has none. What is damaged is said and left out."""
    compact = folder / COMPACT
    if compact.exists():
        return _read_compact(compact)
    points = {split: _read_events(folder / split) for split in SPLITS}
    points = {split: found for split, found in points.items() if found}
    if "test" not in points:
        return None
    common = sorted(set.intersection(*(set(found) for found in points.values())))
    accuracy = {s: np.array([found[i] for i in common]) for s, found in points.items()}
    return Curve(np.array(common, np.int64), accuracy) if common else None


def are_there(folder: pathlib.Path) -> bool:
    """Whether a run's folder has files of its curve, readable or not."""
    return (folder / COMPACT).exists() or any(folder.glob(f"*/{EVENTS}"))


def _read_compact(path: pathlib.Path) -> Curve | None:
    try:
        with np.load(path) as content:
            steps = content["steps"]
            accuracy = {s: content[s].astype(float) for s in SPLITS if s in content.files}
        if steps.dtype.kind not in "iu" or steps.ndim != 1 or (steps[1:] <= 0).any():
            raise ValueError("its meta-iterations do not ascend")
        for values in accuracy.values():
            if values.shape != steps.shape or not ((values >= 0) & (values <= 1)).all():
                raise ValueError("it does not have an accuracy for each of its meta-iterations")
        if "test" not in accuracy:
            raise ValueError("it has no test set")
        return Curve(np.cumsum(steps, dtype=np.int64), accuracy) if len(steps) else None
    except OSError as error:
        say(f"{path} cannot be read ({error.strerror or error}): it is left out")
    except Exception as error:  # NumPy raises many kinds for what is no archive of numbers.
        reason = (str(error) or repr(error)).splitlines()[0]
        say(f"{path} is damaged ({reason}): collect it again; it is left out")
    return None


def _read_events(folder: pathlib.Path) -> dict[int, float]:
    """Accuracy by meta-iteration, of all event files of a folder."""
    points: dict[int, float] = {}
    for path in sorted(folder.glob(EVENTS)):
        try:
            points.update(_points(path))
        except OSError as error:
            say(f"{path} cannot be read ({error.strerror or error}): its points are left out")
        except Exception as error:  # TensorBoard's reader raises many kinds for damaged files.
            say(f"{path} is damaged or incomplete ({error}): its points from there on are left out")
    return points


def _points(path: pathlib.Path) -> Iterator[tuple[int, float]]:
    reader = PyRecordReader_New(str(path))
    while True:
        try:
            reader.GetNext()
        except OutOfRangeError:
            return
        event = Event.FromString(reader.record())
        for value in event.summary.value:
            if value.tag != "accuracy":
                continue
            accuracy = value.simple_value
            if len(value.tensor.tensor_content) == 4:  # as runs of 0.1.0 have them
                accuracy = float(np.frombuffer(value.tensor.tensor_content, np.float32)[0])
            elif not value.HasField("simple_value"):
                continue
            if not 0 <= accuracy <= 1:
                raise ValueError(f"an accuracy of {accuracy}")
            yield event.step, accuracy


def write_compact(curve: Curve, path: pathlib.Path) -> None:
    """Keep a curve in a few kilobytes. Raises OSError."""
    steps = np.diff(curve.iterations, prepend=0).astype(np.int32)
    with open(path, "wb") as file:
        arrays: dict[str, Any] = {s: v.astype(np.float32) for s, v in curve.accuracy.items()}
        np.savez_compressed(file, steps=steps, **arrays)


def smooth(curve: Curve, split: str, width: float) -> Smooth:
    """Moving averages of one set over windows of so many meta-iterations around each point."""
    values = curve.accuracy[split]
    begin = np.searchsorted(curve.iterations, curve.iterations - width / 2, "left")
    end = np.searchsorted(curve.iterations, curve.iterations + width / 2, "right")
    count = end - begin
    sums, squares = (np.concatenate([[0], np.cumsum(v)]) for v in (values, values**2))
    mean = (sums[end] - sums[begin]) / count
    freedom = np.where(count > 1, count - 1, np.nan)
    variance = np.maximum(squares[end] - squares[begin] - count * mean**2, 0) / freedom
    return Smooth(mean, 1.96 * np.sqrt(variance / count))


def difference(one: Curve, other: Curve, width: float) -> tuple[float, int, int]:
    """How far apart two runs' test curves are: the largest difference of their moving averages at
    common meta-iterations, how many of these there are, and at how many the single points differ.
    """
    _, i, j = np.intersect1d(one.iterations, other.iterations, return_indices=True)
    first, second = (smooth(curve, "test", width).mean for curve in (one, other))
    points = one.accuracy["test"][i], other.accuracy["test"][j]
    apart = int(np.sum(~np.isclose(*points, atol=1e-6)))
    return float(np.max(np.abs(first[i] - second[j]), initial=0)), len(i), apart
