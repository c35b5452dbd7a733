"""TensorBoard's points: as tf.summary writes them, and cut where a run goes on."""

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event

from supervised_reptile.runs import tensorboard


def write(folder, iterations, last=-1):
    curve = tensorboard.Curve(folder, last)
    for iteration in iterations:
        curve.add(iteration, iteration / 1000)
    curve.close()
    return folder / tensorboard.NAME


def reader(folder):
    return EventAccumulator(str(folder), size_guidance={"tensors": 0})  # 0: all of them


def points(folder):
    loaded = reader(folder).Reload()
    return [(e.step, float(tf.make_ndarray(e.tensor_proto))) for e in loaded.Tensors("accuracy")]


def expected(iterations):
    return [(i, pytest.approx(i / 1000)) for i in iterations]


def test_points_are_those_of_tf_summary(tmp_path):
    def content(path):
        records = [Event.FromString(r.numpy()) for r in tf.data.TFRecordDataset(str(path))]
        for record in records:
            record.ClearField("wall_time")
            record.ClearField("source_metadata")
        return records

    ours = write(tmp_path / "ours", [0, 10, 20000])
    with tf.summary.create_file_writer(str(tmp_path / "theirs")).as_default():
        for iteration in (0, 10, 20000):
            tf.summary.scalar("accuracy", iteration / 1000, step=iteration)
    tf.summary.flush()
    (theirs,) = (tmp_path / "theirs").iterdir()
    assert content(ours) == content(theirs)


def test_points_after_the_restored_iteration_are_cut(tmp_path):
    path = write(tmp_path, range(0, 300, 10))
    whole = path.stat().st_size
    for last in (125, 0, 299, -1):
        write(tmp_path, [i for i in range(0, 300, 10) if i > last], last)
        assert points(tmp_path) == expected(range(0, 300, 10))
        assert path.stat().st_size == whole  # as many bytes, to the record
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_half_written_point_is_cut(tmp_path):
    """As a kill or a full disk leaves it, or a power failure: zeros that were never written."""
    path = write(tmp_path, [0, 10])
    size = path.stat().st_size
    content = write(tmp_path, [20], 10).read_bytes()
    for kept in range(size, len(content)):
        for tail in (b"", bytes(len(content) - kept)):
            path.write_bytes(content[:kept] + tail)
            write(tmp_path, [20, 30], 15)
            assert points(tmp_path) == expected([0, 10, 20, 30])


def test_a_reader_that_is_beyond_the_cut_sees_every_point_once(tmp_path):
    """TensorBoard keeps its file open, and goes on reading where it was."""
    write(tmp_path, range(0, 200, 10))
    running = reader(tmp_path).Reload()
    write(tmp_path, range(110, 300, 10), last=105)
    assert [event.step for event in running.Reload().Tensors("accuracy")] == [*range(0, 300, 10)]
