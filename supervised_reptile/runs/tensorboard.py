"""The events of a run, for TensorBoard: curves, the run as a whole, and how it ended.

Every process writes event files of its own. Each begins with the start of a session at the first
meta-iteration that it can have: earlier points from there on are void, as of a process that was
killed after its last checkpoint, and TensorBoard drops them.

Points are simple values, as the authors' program wrote them: TensorBoard turns these into the
tensors that TensorFlow 2 writes, while scripts that look for simple values read 0 from a tensor.
"""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams

from supervised_reptile.args import OWN, Config
from supervised_reptile.data.image_set import ImageSet
from supervised_reptile.learning.accuracy import SetResult
from supervised_reptile.learning.sampling import Draws, Population, Purpose, draw_images
from supervised_reptile.system import files, machine, output

Metadata = tf.compat.v1.SummaryMetadata
START = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
NAME = "events.out.tfevents."  # what the names of event files begin with
MEAN = "running mean/{} accuracy"  # the tag of a running mean of a set
MEAN_OF = 50  # points that a running mean looks back at, about
COMPARED = {"learning_rate", "meta_step", "inner_iters", "train_shots", "seed"}
NOT_COMPARED = {*OWN, "data_dir", "eval_sets", "checkpoint_interval", "keep_checkpoints"}
SIDE, GAP = 64, 4  # pixels of an image in a picture, at least, and between them
RIGHT, WRONG = (42, 157, 63), (208, 48, 48)
ROW = "a row for each class"


class Events:
    """A new event file in the folder of a run, whose events are in the order of their steps."""

    def __init__(self, run: os.PathLike, last: int, split: str = "") -> None:
        """last: the meta-iteration to continue after; -1: none. split: has a folder of its own."""
        folder = Path(run, split)
        folder.mkdir(exist_ok=True)
        # Read in the order of their names. Clocks of machines differ, so that these are numbers.
        found = [path.suffix[1:] for path in folder.glob(f"{NAME}*")]
        number = max((int(text) + 1 for text in found if text.isdigit()), default=0)
        self._removed, self._run, self._name = False, run, f"{split}/{NAME}{number:06}".lstrip("/")
        self._records = tf.io.TFRecordWriter(str(Path(run, self._name)))
        self._write(file_version="brain.Event:2")
        # TensorBoard ignores the first one of a run, and files of earlier builds have none.
        for _ in range(2):
            self._write(step=last + 1, session_log=START)

    def write(self, step: int, *values: Any) -> None:
        """Write the values of a step."""
        self._write(step=step, summary=tf.compat.v1.Summary(value=values))

    def _write(self, **content: Any) -> None:
        event = tf.compat.v1.Event(wall_time=time.time(), **content)
        self._records.write(event.SerializeToString())
        self._records.flush()

    def sync(self) -> None:
        """Wait until all events are on the disk. A file that somebody removes is no reason to stop
        a run, but it is said once."""
        path = Path(self._run, self._name)
        try:
            files.sync(path)
        except FileNotFoundError:
            if not self._removed:
                lost = "the points until the run is resumed are lost, the run itself is not"
                output.note(f"Warning: {path} was removed: {lost}")
            self._removed = True

    def close(self) -> None:
        """Close the file."""
        self._records.close()


class Overview(Events):
    """The events of a run as a whole, in its own folder."""

    def __init__(self, config: Config, images: ImageSet, last: int, run: os.PathLike) -> None:
        """last: the meta-iteration to continue after, as the run was then; -1: none."""
        super().__init__(run, last)
        if last < 0:
            self.write(0, *_head(config, images))
        self._points, self._means = earlier(run)
        self._last, self._time = last, time.monotonic()

    def add(
        self, iteration: int, accuracy: Mapping[str, float], step_size: float, loss: float
    ) -> None:
        """Add the points of a meta-iteration. accuracy: by split, on one task each."""
        self._points += 1
        weight = np.float32(max(1 / self._points, 1 / MEAN_OF))
        for split, value in accuracy.items():
            before = self._means.get(split, np.float32(value))
            self._means[split] = before + weight * (np.float32(value) - before)
        now = time.monotonic()
        rate = (iteration - self._last) / max(now - self._time, 1e-9)
        self._last, self._time = iteration, now
        self.write(
            iteration,
            *(scalar(MEAN.format(split), float(mean)) for split, mean in self._means.items()),
            scalar("outer step size", step_size),
            scalar("loss of the last inner step", loss),
            scalar("meta-iterations per second", rate),
        )


def earlier(folder: os.PathLike) -> tuple[int, dict[str, np.float32]]:
    """The number of a run's points that are not void, and the running means at the last one."""
    points: list[tuple[int, dict[str, np.float32]]] = []
    for path in sorted(Path(folder).glob(f"{NAME}*")):
        with contextlib.suppress(tf.errors.DataLossError):  # half-written when it was killed
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                event = tf.compat.v1.Event.FromString(record)
                if event.HasField("session_log"):
                    points = [point for point in points if point[0] < event.step]
                values = {one.tag: np.float32(one.simple_value) for one in event.summary.value}
                tags = {split: MEAN.format(split) for split in ("train", "val", "test")}
                if means := {split: values[tag] for split, tag in tags.items() if tag in values}:
                    points.append((event.step, means))
    return len(points), points[-1][1] if points else {}


def finish(
    run: os.PathLike,
    config: Config,
    found: Mapping[str, SetResult],
    images: ImageSet,
    guesses: np.ndarray,
) -> None:
    """Add the final accuracies to a run, which are sorted and compared by, and close the session.

    guesses: what the queries of `first_task` of the test set are taken for, int [classes].
    """
    last = config.outer.meta_iters - 1
    shown = picture(images.pixels, first_task(config, images, "test"), guesses)
    shows = f"{ROW}: support, the query, what that is taken for"
    points = [_value("task/test, in the end", "images", shows, image=shown)]
    for split, result in found.items():
        points.append(scalar(f"final/{split} accuracy", result.reported.mean))
        if result.transductive:
            points.append(scalar(f"final/{split} transductive", result.transductive.mean))
    end = hparams.session_end_pb(api_pb2.STATUS_SUCCESS).value
    with contextlib.closing(Events(run, last)) as events:
        # After the last meta-iteration, so that an evaluation that is made again replaces it.
        events.write(last + 1, *points, *end)


def _head(config: Config, images: ImageSet) -> list[Any]:
    """The run itself: texts, pictures of tasks, its flags in the table of runs (HParams)."""
    flags = config.flags()
    shown = {name: value for name, value in flags.items() if name not in NOT_COMPARED}
    # A column has one type: TensorBoard does not filter or sort numbers beside "none".
    compared = shown | {"foml_tail": str(flags["foml_tail"] or "none")}
    kinds = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
    columns = [
        api_pb2.HParamInfo(
            name=name,
            type=kinds.get(type(value), api_pb2.DATA_TYPE_FLOAT64),
            differs=name in COMPARED,  # which come first
        )
        for name, value in compared.items()
    ]
    # The final accuracies instead of all curves.
    metrics = [
        api_pb2.MetricInfo(name=api_pb2.MetricName(tag=f"final/{split} {way}"))
        for split in reversed(list(images.splits))
        for way in ("accuracy", "transductive")
    ]
    texts = {
        "flags": _table(flags),
        "data": _table(images.provenance["origin"] | {"digest of the pixels": images.digest}),
        "versions": _table(machine.versions() | {"commit": machine.commit() or "unknown"}),
        "command": f"    {shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}",
    }
    # Names may hold any bytes.
    encoded = {name: text.encode(errors="backslashreplace") for name, text in texts.items()}
    tensors = {name: tf.make_tensor_proto(text) for name, text in encoded.items()}
    first, test = (first_task(config, images, split) for split in ("train", "test"))
    return [
        *(_value(f"run/{name}", "text", tensor=tensor) for name, tensor in tensors.items()),
        _value("task/training", "images", ROW, image=picture(images.pixels, first)),
        _value("task/test", "images", f"{ROW}: support, query", image=picture(images.pixels, test)),
        *hparams.session_start_pb(compared).value,
        *hparams.experiment_pb(hparam_infos=columns, metric_infos=metrics).value,
    ]


def scalar(tag: str, value: float) -> Any:
    """A point of a curve."""
    return _value(tag, "scalars", simple_value=value)


def _value(tag: str, plugin: str, description: str = "", **content: Any) -> Any:
    data = Metadata.PluginData(plugin_name=plugin)
    metadata = Metadata(plugin_data=data, summary_description=description)
    return tf.compat.v1.Summary.Value(tag=tag, metadata=metadata, **content)


def _table(rows: Mapping[str, object]) -> str:
    lines = [f"| {name} | {value} |" for name, value in rows.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def first_task(config: Config, images: ImageSet, split: str) -> np.ndarray:
    """Indices of the first task of training ("train"), or of the first one of the curve of another
    split, whose last column has the queries: int [classes, images]."""
    task, tasks, purpose = config.task, 1, Purpose[f"INTERVAL_{split.upper()}"]
    number = task.shots + 1
    if split == "train":
        number, tasks, purpose = task.training_shots, config.outer.meta_batch, Purpose.TRAINING
    draws, population = Draws(config.run.seed, purpose, [0]), Population.of(images, split)
    return draw_images(population, tasks, task.classes, number, draws)[0, 0]


def picture(pixels: np.ndarray, task: np.ndarray, guesses: np.ndarray | None = None) -> Any:
    """A task as the network sees it: inverted or wrongly decoded images show at once.

    task: indices of images, int [classes, images]; a row for each class. guesses: what each query
    (the last column) was taken for, int [classes]; an image of that class stands next to it.
    """
    if guesses is not None:
        task = np.column_stack([task, task[guesses, 0]])
    scale = -(-SIDE // pixels.shape[1])
    side = scale * pixels.shape[1] + GAP
    sheet = np.full([side * len(task) + GAP, side * task.shape[1] + GAP, 3], 255, np.uint8)
    for row, column in np.ndindex(task.shape):
        top, left = GAP + row * side, GAP + column * side
        if guesses is not None and column >= task.shape[1] - 2:
            frame = [slice(begin - GAP // 2, begin + side - GAP // 2) for begin in (top, left)]
            sheet[tuple(frame)] = RIGHT if guesses[row] == row else WRONG
        image = np.asarray(pixels[task[row, column]]).repeat(scale, 0).repeat(scale, 1)
        sheet[top : top + side - GAP, left : left + side - GAP] = image
    return tf.compat.v1.Summary.Image(encoded_image_string=tf.io.encode_png(sheet).numpy())
