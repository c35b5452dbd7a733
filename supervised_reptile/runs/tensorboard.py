"""TensorBoard's points of a run: one file for each split, which a resumed run appends to.

Points are simple values, as the authors' program wrote them: TensorBoard turns these into the
tensors that TensorFlow 2 writes, while scripts that look for simple values read 0 from a tensor.

A point of one meta-iteration always takes as many bytes, so that a TensorBoard that had read beyond
the cut, too, finds every point once.
"""

import os
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.tensorflow_stub.errors import DataLossError, OutOfRangeError
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import PyRecordReader_New
from tensorboard.summary.writer.record_writer import RecordWriter

NAME = "events.out.tfevents.0"
FRAME = 16  # bytes of a record beside its content: length and checksums
# Makes a point as long as the tensors that 0.1.0 wrote, in case that one of its runs is resumed.
FILLER = "const"
METADATA = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars"))


def scalar(tag: str, value: float, filler: str = "") -> Summary.Value:
    """A point of a curve."""
    return Summary.Value(tag=tag, metadata=METADATA, node_name=filler, simple_value=value)


class Events:
    """The events of one folder, in the order of their steps."""

    def __init__(
        self, folder: str | pathlib.Path, last: int, head: Callable[[], Sequence[Summary.Value]]
    ) -> None:
        """Continue after meta-iteration `last` with the events in a folder; -1: with none.

        head: makes what a new file begins with.
        """
        path = pathlib.Path(folder) / NAME
        path.parent.mkdir(exist_ok=True)
        self._file = open(path, "ab")  # noqa: SIM115
        self._file.truncate(end_of(path, last))
        self._records = RecordWriter(self._file)
        if not os.path.getsize(path):
            self._write(file_version="brain.Event:2")
            if values := head():
                self._write(summary=Summary(value=values))

    def write(self, step: int, *values: Summary.Value) -> None:
        """Write the values of a step."""
        self._write(step=step, summary=Summary(value=values))

    def _write(self, **content: Any) -> None:
        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._records.flush()

    def sync(self) -> None:
        """Wait until all events are on the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Curve(Events):
    """The scalar `accuracy` of one split over meta-iterations."""

    def __init__(self, folder: str | pathlib.Path, last: int) -> None:
        """Continue after meta-iteration `last` with the points in a folder; -1: with none."""
        if last >= 0 and not (path := pathlib.Path(folder) / NAME).exists():
            print(f"Warning: {path} is missing: its points up to {last} are lost", file=sys.stderr)
        super().__init__(folder, last, head=tuple)

    def add(self, iteration: int, accuracy: float) -> None:
        """Add the point of a meta-iteration."""
        self.write(iteration, scalar("accuracy", accuracy, FILLER))


class EventsDamagedError(Exception):
    """A record of an event file is not what was written."""


def records(path: pathlib.Path) -> Iterator[tuple[Event, int]]:
    """The whole events of a file, and the bytes that each takes.

    A half-written one at the end is left out. Raises EventsDamagedError at a damaged one.
    The only place that knows TensorBoard's own reader, which is no public part of it.
    """
    reader = PyRecordReader_New(str(path))
    while True:
        try:
            reader.GetNext()
        except OutOfRangeError:
            return
        except DataLossError:
            raise EventsDamagedError(f"{path} is damaged") from None
        yield Event.FromString(reader.record()), FRAME + len(reader.record())


def end_of(path: pathlib.Path, last: int) -> int:
    """Where the points up to meta-iteration `last` end, before any half-written or damaged one."""
    end, step = 0, -1
    try:
        for event, size in records(path):
            if event.step > last:
                break
            step = event.step
            end += size
    except EventsDamagedError:
        if step < last:
            print(
                f"Warning: {path} is damaged after meta-iteration {step}: its points between that "
                f"and {last}, if it had any, are lost",
                file=sys.stderr,
            )
    return end
