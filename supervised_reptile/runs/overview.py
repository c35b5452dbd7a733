"""What TensorBoard says of a run beside its curves: what it is, how it goes, how it ended.

All of it is in the run's own folder, so that the curves of its sets stay what they always were.
"""

import contextlib
import shlex
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams

from supervised_reptile.args import OWN, Config
from supervised_reptile.data.image_set import ImageSet
from supervised_reptile.runs import pictures, tensorboard
from supervised_reptile.runs.results import SetResult
from supervised_reptile.runs.tensorboard import Events, scalar
from supervised_reptile.system import machine

MEAN_OF = 50  # points that a running mean looks back at, about
COMPARED = {"learning_rate", "meta_step", "inner_iters", "train_shots", "seed"}
NOT_COMPARED = {*OWN, "data_dir", "checkpoint_interval", "keep_checkpoints"}


class Overview(Events):
    """The events of a run as a whole."""

    def __init__(self, config: Config, images: ImageSet, last: int) -> None:
        """Continue after meta-iteration `last`, as it was; -1: from the start."""
        folder = config.run.checkpoint
        super().__init__(folder, last, lambda: _head(config, images))
        self._points, self._means = _earlier(Path(folder))
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
            *(scalar(mean_tag(split), float(mean)) for split, mean in self._means.items()),
            scalar("outer step size", step_size),
            scalar("loss of the last inner step", loss),
            scalar("meta-iterations per second", rate),
        )


def mean_tag(split: str) -> str:
    """The tag of a running mean."""
    return f"running mean/{split} accuracy"


def finish(
    config: Config, found: Mapping[str, SetResult], images: ImageSet, guesses: np.ndarray
) -> None:
    """Add the final accuracies, which are sorted and compared by, and close the session.

    guesses: what the queries of pictures.evaluation_task are taken for in the end.
    """
    last = config.outer.meta_iters - 1
    task = pictures.evaluation_task(config, images, "test")
    points = [_picture("task/test, in the end", pictures.picture(images.pixels, task, guesses))]
    for split, result in found.items():
        points.append(scalar(f"final/{split} accuracy", result.reported.mean))
        if result.transductive:
            points.append(scalar(f"final/{split} transductive", result.transductive.mean))
    end = _values(hparams.session_end_pb(api_pb2.STATUS_SUCCESS))
    with contextlib.closing(Events(config.run.checkpoint, last, tuple)) as events:
        # After the last meta-iteration, so that an evaluation that is made again replaces it.
        events.write(last + 1, *points, *end)


def _head(config: Config, images: ImageSet) -> list[Summary.Value]:
    flags = config.flags()
    shown = {name: value for name, value in flags.items() if name not in NOT_COMPARED}
    compared = {name: "none" if value is None else value for name, value in shown.items()}
    origin = images.provenance["origin"] | {"digest of the pixels": images.digest}
    versions = machine.versions() | {"commit": machine.commit() or "unknown"}
    training = pictures.training_task(config, images)
    test = pictures.evaluation_task(config, images, "test")
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    return [
        _text("run/command", f"    {command}"),
        _text("run/flags", _table(flags)),
        _text("run/data", _table(origin)),
        _text("run/versions", _table(versions)),
        _picture("task/training", pictures.picture(images.pixels, training)),
        _picture("task/test", pictures.picture(images.pixels, test)),
        *_values(hparams.session_start_pb(compared)),
        *_values(_columns(compared, images.splits)),
    ]


def _columns(flags: Mapping[str, object], splits: Iterable[str]) -> Any:
    """What the table of runs shows: all flags, and the final accuracies instead of all curves."""
    kinds = {bool: api_pb2.DATA_TYPE_BOOL, str: api_pb2.DATA_TYPE_STRING}
    ways = ("accuracy", "transductive")
    metrics = [f"final/{split} {way}" for split in reversed(list(splits)) for way in ways]
    return hparams.experiment_pb(
        hparam_infos=[
            api_pb2.HParamInfo(
                name=name,
                type=kinds.get(type(value), api_pb2.DATA_TYPE_FLOAT64),
                differs=name in COMPARED,  # which come first
            )
            for name, value in flags.items()
        ],
        metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in metrics],
    )


def _picture(tag: str, png: bytes) -> Summary.Value:
    plugin = SummaryMetadata.PluginData(plugin_name="images")
    return Summary.Value(
        tag=tag,
        metadata=SummaryMetadata(plugin_data=plugin),
        image=Summary.Image(encoded_image_string=png),
    )


def _values(summary: Any) -> Iterable[Summary.Value]:
    """The values of a Summary, which is one of TensorFlow's where that is installed."""
    return Summary.FromString(summary.SerializeToString()).value


def _table(rows: Mapping[str, object]) -> str:
    return "\n".join(
        ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())]
    )


def _text(tag: str, markdown: str) -> Summary.Value:
    text = markdown.encode(errors="backslashreplace")  # names may hold any bytes
    content = TensorProto(dtype=DT_STRING, tensor_shape=TensorShapeProto(), string_val=[text])
    plugin = SummaryMetadata.PluginData(plugin_name="text")
    return Summary.Value(tag=tag, metadata=SummaryMetadata(plugin_data=plugin), tensor=content)


def _earlier(folder: Path) -> tuple[int, dict[str, np.float32]]:
    """How many points there are, and the running means at the last one, by split."""
    points, means = 0, {}
    for event, _ in tensorboard.records(folder / tensorboard.NAME):
        values = {value.tag: value.simple_value for value in event.summary.value}
        found = {
            split: np.float32(values[mean_tag(split)])
            for split in ("train", "val", "test")
            if mean_tag(split) in values
        }
        if found:
            points, means = points + 1, found
    return points, means
