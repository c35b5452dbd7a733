"""What TensorBoard says of a run beside its curves, as TensorBoard's own reader finds it."""

import contextlib
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from supervised_reptile.args import Config
from supervised_reptile.runs import overview, pictures
from supervised_reptile.runs.overview import MEAN_OF, Overview
from supervised_reptile.runs.results import Accuracy, SetResult


@pytest.fixture
def setting(tmp_path, image_set):
    images = image_set({"train": 3, "test": 2}, shots=2, size=2)
    flags = {"checkpoint": str(tmp_path), "meta_iters": 500, "sgd": True}
    config = Config.of("omniglot", {**flags, "classes": 2, "shots": 1, "train_shots": 2})
    return config, images


def found(config):
    events = EventAccumulator(config.run.checkpoint, {"scalars": 0, "tensors": 0})
    return events.Reload()


def scalars(config, tag):
    return [(event.step, event.value) for event in found(config).Scalars(tag)]


def accuracies(count):
    return np.random.default_rng(0).integers(0, 6, (count, 2)) / 5


def add(config, images, last, iterations):
    with contextlib.closing(Overview(config, images, last)) as seen:
        for iteration in iterations:
            train, test = accuracies(400)[iteration]
            seen.add(iteration, {"train": train, "test": test}, 0.25, 1.5)


def test_the_running_mean_is_that_of_all_at_first_and_forgets_later(setting):
    add(*setting, -1, range(400))
    means = dict(scalars(setting[0], "running mean/test accuracy"))
    truth = accuracies(400)[:, 1]
    for count in (1, 2, 7, MEAN_OF):
        np.testing.assert_allclose(means[count - 1], truth[:count].mean(), atol=1e-5)
    expected = truth[:MEAN_OF].mean()
    for value in truth[MEAN_OF:]:
        expected += (value - expected) / MEAN_OF
    np.testing.assert_allclose(means[399], expected, atol=1e-4)


def test_a_resumed_run_has_every_point_once_and_the_same_means(setting, tmp_path):
    add(*setting, -1, range(60))
    whole = scalars(setting[0], "running mean/train accuracy")
    next(tmp_path.glob("events*")).unlink()
    add(*setting, -1, range(45))
    add(*setting, 29, range(30, 60))  # from the checkpoint of meta-iteration 29
    assert scalars(setting[0], "running mean/train accuracy") == whole
    assert scalars(setting[0], "loss of the last inner step") == [(i, 1.5) for i in range(60)]


def test_what_the_run_is_stands_there_as_text(setting, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/x/run_omniglot.py", "--sgd", "--checkpoint", "a b"])
    add(*setting, -1, range(2))
    tensors = {tag: found(setting[0]).Tensors(tag) for tag in found(setting[0]).Tags()["tensors"]}
    texts = {
        tag: value[0].tensor_proto.string_val[0].decode()
        for tag, value in tensors.items()
        if tag[0] == "r"
    }
    assert texts["run/command"] == "    run_omniglot.py --sgd --checkpoint 'a b'"
    assert "| meta_iters | 500 |" in texts["run/flags"] and "| sgd | True |" in texts["run/flags"]
    assert "| tensorflow | 2." in texts["run/versions"]


def test_runs_can_be_compared_by_flags_and_final_accuracies(setting):
    """The session has begun with all flags but those of places, and it ends with the results."""
    add(*setting, -1, range(2))
    config = setting[0]
    result = SetResult(Accuracy(0.5, 0.1, 9), Accuracy(0.75, 0.1, 9))
    for _ in range(2):  # an evaluation that is made again
        overview.finish(config, {"test": result}, setting[1], np.array([1, 1]))
    assert scalars(config, "final/test accuracy") == [(500, 0.5)]
    assert scalars(config, "final/test transductive") == [(500, 0.75)]
    metadata = found(config).summary_metadata
    content = {
        name: plugin_data_pb2.HParamsPluginData.FromString(
            metadata[f"_hparams_/session_{name}_info"].plugin_data.content
        )
        for name in ("start", "end")
    }
    flags = content["start"].session_start_info.hparams
    assert flags["meta_iters"].number_value == 500 and flags["sgd"].bool_value
    assert "foml" in flags and "checkpoint" not in flags
    assert content["end"].session_end_info.status == 1  # success


def test_tasks_are_seen_as_the_network_sees_them(setting):
    """Pixels of the picture are those of the images, enlarged; its frames say right and wrong."""
    config, images = setting
    add(config, images, -1, range(2))
    result = SetResult(Accuracy(0.5, 0.1, 9))
    overview.finish(config, {"test": result}, images, np.array([1, 1]))
    kept = found(config)
    assert set(kept.Tags()["images"]) == {"task/training", "task/test", "task/test, in the end"}
    task = pictures.evaluation_task(config, images, "test")
    (last,) = kept.Images("task/test, in the end")
    sheet = np.asarray(Image.open(io.BytesIO(last.encoded_image_string)))
    side, scale = 64 + pictures.GAP, 32  # of 2x2 pixels
    for row, members in enumerate(task):
        for column, index in enumerate([*members, task[1][0]]):
            top, left = pictures.TITLE + pictures.GAP + row * side, pictures.GAP + column * side
            seen = sheet[top : top + 64 : scale, left : left + 64 : scale, 0]
            assert (seen == images.pixels[index, :, :, 0]).all()
            frame = sheet[top - 1, left]
            if column:
                assert frame.argmax() == (1 if row == 1 else 0)  # green or red
            else:
                assert (frame == 255).all()


def test_a_folder_of_any_name_can_be_told(setting):
    config, images = setting
    run = dataclasses.replace(config.run, data_dir="\udce9")
    add(dataclasses.replace(config, run=run), images, -1, [0])
    (text,) = found(config).Tensors("run/flags")
    assert b"| data_dir | \\udce9 |" in text.tensor_proto.string_val[0]
