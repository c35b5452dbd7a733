"""TensorBoard's points, texts and pictures, as its own readers find them."""

import contextlib
import shutil
import time
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

from supervised_reptile.args import Config
from supervised_reptile.learning import sampling
from supervised_reptile.learning.accuracy import Accuracy, SetResult
from supervised_reptile.learning.sampling import Population, Purpose
from supervised_reptile.runs import tensorboard
from supervised_reptile.runs.tensorboard import MEAN_OF, Events, Overview, scalar

FLAGS = {"meta_iters": 500, "sgd": True, "classes": 2, "shots": 1, "train_shots": 2}
ACCURACIES = np.random.default_rng(0).integers(0, 6, (400, 2)) / 5  # of training and test tasks


def write(folder, iterations, last=-1):
    """Write the points of a process that continues after a meta-iteration."""
    with contextlib.closing(Events(folder, last)) as curve:
        for iteration in iterations:
            curve.write(iteration, scalar("accuracy", iteration / 1000))


def newest(folder):
    return max(folder.glob("events*"))


def running(folder):
    """What TensorBoard itself keeps of a folder, and continues to read."""
    return plugin_event_accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0})


def shown(loaded):
    events = loaded.Reload().Tensors("accuracy")
    return [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events]


def loaded(folder):
    return EventAccumulator(str(folder), {"scalars": 0, "tensors": 0}).Reload()  # 0: all of them


def scalars(folder, tag="accuracy"):
    return [(event.step, event.value) for event in loaded(folder).Scalars(tag)]


def points(folder):
    assert scalars(folder) == shown(running(folder))
    return scalars(folder)


def expected(iterations):
    return [(i, pytest.approx(i / 1000)) for i in iterations]


def test_points_are_those_of_the_authors_program(tmp_path):
    """Simple values, as tf.summary.scalar wrote them in TensorFlow 1."""

    def content(folder):
        return [
            (event.step, value.tag, value.WhichOneof("value"), value.simple_value)
            for event in tf.compat.v1.train.summary_iterator(str(newest(folder)))
            for value in event.summary.value
        ]

    write(tmp_path / "ours", [0, 10, 20000])
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        accuracy = tf.compat.v1.placeholder(tf.float32, [])
        merged = tf.compat.v1.summary.scalar("accuracy", accuracy)
        with tf.compat.v1.summary.FileWriter(str(tmp_path / "theirs")) as writer:
            for iteration in (0, 10, 20000):
                writer.add_summary(session.run(merged, {accuracy: iteration / 1000}), iteration)
    assert content(tmp_path / "ours") == content(tmp_path / "theirs")


def test_a_resumed_run_has_every_point_once(tmp_path):
    """Whatever its processes did after the checkpoints that the next ones continued from."""
    lasts = (-1, 125, 0, 299, -1, 120, 119, *range(130, 290, 20))
    for last in lasts:
        write(tmp_path, range(10 * (last // 10 + 1), 300, 10), last)
        assert points(tmp_path) == expected(range(0, 300, 10))
    assert len(list(tmp_path.iterdir())) == len(lasts)


def test_another_interval_leaves_none_of_the_points_after_the_checkpoint(tmp_path):
    write(tmp_path, range(0, 200, 10))
    write(tmp_path, range(125, 200, 25), last=105)
    assert points(tmp_path) == expected([*range(0, 110, 10), 125, 150, 175])


def test_a_tensorboard_that_is_open_meanwhile_shows_every_point_once(tmp_path):
    write(tmp_path, range(0, 200, 10))
    found = running(tmp_path)
    assert shown(found) == expected(range(0, 200, 10))
    write(tmp_path, range(110, 300, 10), last=105)
    assert shown(found) == expected(range(0, 300, 10))


def test_a_run_with_the_one_file_of_version_0_2_0_is_resumed(tmp_path):
    """It has no start of a session, and perhaps points after the last checkpoint."""
    with tf.io.TFRecordWriter(str(tmp_path / "events.out.tfevents.0")) as file:
        file.write(tf.compat.v1.Event(file_version="brain.Event:2").SerializeToString())
        for step in range(0, 200, 10):
            summary = tf.compat.v1.Summary(value=[tensorboard.scalar("accuracy", step / 1000)])
            file.write(tf.compat.v1.Event(step=step, summary=summary).SerializeToString())
    write(tmp_path, range(110, 300, 10), last=105)
    assert points(tmp_path) == expected(range(0, 300, 10))


def test_a_half_written_point_does_not_matter(tmp_path):
    """As a kill or a full disk leaves it, or a power failure: zeros that were never written."""
    write(tmp_path / "short", [0, 10])
    write(tmp_path / "long", [0, 10, 20])
    size = newest(tmp_path / "short").stat().st_size
    content = newest(tmp_path / "long").read_bytes()
    for kept in range(size, len(content), 3):
        for tail in (b"", bytes(len(content) - kept)):
            folder = tmp_path / f"{kept} {len(tail)}"
            write(folder, [])
            newest(folder).write_bytes(content[:kept] + tail)
            write(folder, [20, 30], 15)
            assert points(folder) == expected([0, 10, 20, 30])


def test_a_curve_that_somebody_removes_does_not_end_the_run(tmp_path, capsys):
    with contextlib.closing(Events(tmp_path, -1, "test")) as curve:
        curve.sync()
        shutil.rmtree(tmp_path / "test")
        for _ in range(2):
            curve.write(10, scalar("accuracy", 0.5))
            curve.sync()
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "test/events.out.tfevents.000000 was removed: the" in err


@pytest.fixture
def images(image_set):
    return image_set({"train": 3, "test": 2}, shots=2, size=2)


def add(folder, images, last, iterations, **flags):
    config = Config.of("omniglot", {**FLAGS, **flags})
    with contextlib.closing(Overview(config, images, last, folder)) as seen:
        for iteration in iterations:
            train, test = ACCURACIES[iteration]
            seen.add(iteration, {"train": train, "test": test}, 0.25, 1.5)


@pytest.fixture
def finished(tmp_path, images, monkeypatch):
    """What TensorBoard loads of a run of two meta-iterations whose evaluation was made twice."""
    monkeypatch.setattr("sys.argv", ["/x/run_omniglot.py", "--sgd", "--checkpoint", "a b"])
    add(tmp_path, images, -1, range(2))
    config = Config.of("omniglot", FLAGS)
    found = {"train": SetResult(Accuracy(0.875, 0.1, 9))}
    found["test"] = SetResult(Accuracy(0.5, 0.1, 9), Accuracy(0.75, 0.1, 9))
    for _ in range(2):
        tensorboard.finish(tmp_path, config, found, images, np.array([1, 1]))
    return loaded(tmp_path)


def session(folder, name):
    """What the table of runs knows of the start, or the end, of a run."""
    metadata = loaded(folder).summary_metadata[f"_hparams_/session_{name}_info"]
    content = plugin_data_pb2.HParamsPluginData.FromString(metadata.plugin_data.content)
    return getattr(content, f"session_{name}_info")


def test_the_running_mean_is_that_of_all_at_first_and_forgets_later(images, tmp_path):
    add(tmp_path, images, -1, range(400))
    means = dict(scalars(tmp_path, "running mean/test accuracy"))
    truth = ACCURACIES[:, 1]
    for count in (1, 2, 7, MEAN_OF):
        np.testing.assert_allclose(means[count - 1], truth[:count].mean(), atol=1e-5)
    mean = truth[:MEAN_OF].mean()
    for value in truth[MEAN_OF:]:
        mean += (value - mean) / MEAN_OF
    np.testing.assert_allclose(means[399], mean, atol=1e-4)


def test_a_resumed_run_has_the_same_means(images, tmp_path):
    whole, again = tmp_path / "whole", tmp_path / "again"
    add(whole, images, -1, range(60))
    add(again, images, -1, range(45))
    path = newest(again)
    path.write_bytes(path.read_bytes()[:-5])  # killed as it wrote
    add(again, images, 29, range(30, 40))  # from the checkpoint of meta-iteration 29
    add(again, images, 34, range(35, 60))
    mean = "running mean/train accuracy"
    assert scalars(again, mean) == scalars(whole, mean)
    assert scalars(again, "loss of the last inner step") == [(i, 1.5) for i in range(60)]


def test_what_the_run_is_stands_there_as_text(finished):
    tags = ("run/command", "run/flags", "run/versions")
    found = {tag: finished.Tensors(tag)[0].tensor_proto.string_val[0].decode() for tag in tags}
    assert found["run/command"] == "    run_omniglot.py --sgd --checkpoint 'a b'"
    assert "| meta_iters | 500 |" in found["run/flags"] and "| sgd | True |" in found["run/flags"]
    assert "| tensorflow | 2." in found["run/versions"]


def test_runs_can_be_compared_by_flags_and_final_accuracies(finished, tmp_path):
    """The session has begun with all flags but those of places, and it ends with the results."""
    assert scalars(tmp_path, "final/train accuracy") == [(500, 0.875)]
    assert scalars(tmp_path, "final/test accuracy") == [(500, 0.5)]
    assert scalars(tmp_path, "final/test transductive") == [(500, 0.75)]
    flags = session(tmp_path, "start").hparams
    assert flags["meta_iters"].number_value == 500 and flags["sgd"].bool_value
    assert "foml" in flags and "checkpoint" not in flags
    assert session(tmp_path, "end").status == 1  # success


def test_a_flag_has_one_type_in_the_table_of_runs_whatever_its_value(images, tmp_path):
    """TensorBoard fails to filter or sort a column that has numbers beside text."""
    kinds = []
    for name, changed in {"a": {}, "b": {"foml": True, "foml_tail": 1}}.items():
        add(tmp_path / name, images, -1, [], **changed)
        flags = session(tmp_path / name, "start").hparams
        kinds.append({flag: flags[flag].WhichOneof("kind") for flag in flags})
    assert kinds[0] == kinds[1]


def test_the_pictures_are_of_the_first_tasks_of_training_and_of_the_curve(image_set, tmp_path):
    images = image_set({"train": 9, "test": 9}, shots=9, size=2)
    config = Config.of("omniglot", {**FLAGS, "meta_batch": 3})
    first, test = (tensorboard.first_task(config, images, split) for split in ("train", "test"))
    drawn = sampling.training_tasks(config, Population.of(images, "train"), [0])
    assert set(first.ravel()) == set(drawn.batches.indices[0, 0].ravel())
    curve = Population.of(images, "test")
    drawn = sampling.evaluation_tasks(config, curve, Purpose.INTERVAL_TEST, [0])
    assert drawn.queries[0].tolist() == [[*test[:, 0], query] for query in test[:, 1]]
    add(tmp_path, images, -1, [], meta_batch=3)
    for name, task in (("training", first), ("test", test)):
        (shown,) = loaded(tmp_path).Images(f"task/{name}")
        expected = tensorboard.picture(images.pixels, task).encoded_image_string
        assert shown.encoded_image_string == expected


def test_step_sizes_and_the_speed_since_the_last_point_are_shown(images, tmp_path, monkeypatch):
    now = mock.Mock(side_effect=(100.0, 101.0, 105.0))  # at the start, and at each point
    monkeypatch.setattr(tensorboard, "time", mock.Mock(monotonic=now, time=time.time))
    add(tmp_path, images, 9, (19, 39))
    assert scalars(tmp_path, "meta-iterations per second") == [(19, 10), (39, 5)]
    assert scalars(tmp_path, "outer step size") == [(19, 0.25), (39, 0.25)]


def test_tasks_are_seen_as_the_network_sees_them(finished, images):
    """Pixels of the picture are those of the images, enlarged; its frames say right and wrong."""
    tags = {"task/training", "task/test", "task/test, in the end"}
    assert set(finished.Tags()["images"]) == tags
    task = tensorboard.first_task(Config.of("omniglot", FLAGS), images, "test")
    (last,) = finished.Images("task/test, in the end")
    sheet = tf.io.decode_png(last.encoded_image_string).numpy()
    gap, scale = tensorboard.GAP, 32  # of 2x2 pixels
    for row, members in enumerate(task):
        for column, index in enumerate([*members, task[1][0]]):
            top, left = (gap + place * (64 + gap) for place in (row, column))
            seen = sheet[top : top + 64 : scale, left : left + 64 : scale, 0]
            assert (seen == images.pixels[index, :, :, 0]).all()
            frame = sheet[top - 1, left]
            if column:
                assert frame.argmax() == (1 if row == 1 else 0)  # green or red
            else:
                assert (frame == 255).all()
