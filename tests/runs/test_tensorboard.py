"""TensorBoard's points: as the authors' program wrote them, and cut where a run goes on."""

import pytest
import tensorflow as tf
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import DATA_CLASS_SCALAR

from supervised_reptile.runs import tensorboard


def write(folder, iterations, last=-1):
    curve = tensorboard.Curve(folder, last)
    for iteration in iterations:
        curve.add(iteration, iteration / 1000)
    curve.close()
    return folder / tensorboard.NAME


def scalars(folder):
    loaded = EventAccumulator(str(folder), size_guidance={"scalars": 0})  # 0: all of them
    return [(event.step, event.value) for event in loaded.Reload().Scalars("accuracy")]


def running(folder):
    """What TensorBoard itself keeps of a folder, and goes on reading."""
    return plugin_event_accumulator.EventAccumulator(str(folder), size_guidance={"tensors": 0})


def shown(loaded):
    events = loaded.Reload().Tensors("accuracy")
    return [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events]


def points(folder):
    assert scalars(folder) == shown(running(folder))
    return scalars(folder)


def expected(iterations):
    return [(i, pytest.approx(i / 1000)) for i in iterations]


def test_points_are_those_of_the_authors_program(tmp_path):
    """Simple values, as tf.summary.scalar wrote them in TensorFlow 1."""

    def content(path):
        events = tf.compat.v1.train.summary_iterator(str(path))
        return [
            (event.step, value.tag, value.WhichOneof("value"), value.simple_value)
            for event in events
            for value in event.summary.value
        ]

    ours = write(tmp_path / "ours", [0, 10, 20000])
    with (
        tf.Graph().as_default(),
        tf.compat.v1.Session() as session,
        tf.compat.v1.summary.FileWriter(str(tmp_path / "theirs")) as writer,
    ):
        accuracy = tf.compat.v1.placeholder(tf.float32, [])
        merged = tf.compat.v1.summary.scalar("accuracy", accuracy)
        for iteration in (0, 10, 20000):
            writer.add_summary(session.run(merged, {accuracy: iteration / 1000}), iteration)
    (theirs,) = (tmp_path / "theirs").iterdir()
    assert content(ours) == content(theirs)


def test_tensorboard_takes_the_points_for_scalars(tmp_path):
    write(tmp_path, [0, 10])
    loaded = running(tmp_path).Reload()
    assert list(loaded.PluginTagToContent("scalars")) == ["accuracy"]
    assert loaded.SummaryMetadata("accuracy").data_class == DATA_CLASS_SCALAR
    assert points(tmp_path) == expected([0, 10])


def write_tensors(folder, iterations):
    """As 0.1.0 wrote its points, in a file that begins as every file does."""
    folder.mkdir(exist_ok=True)
    with tf.summary.create_file_writer(str(folder)).as_default():
        for iteration in iterations:
            tf.summary.scalar("accuracy", iteration / 1000, step=iteration)
    (path,) = folder.iterdir()
    events = [event for event in map(Event.FromString, tf_records(path))]
    path.unlink()
    with tf.io.TFRecordWriter(str(folder / tensorboard.NAME)) as file:
        for event in events:
            event.ClearField("source_metadata")
            file.write(event.SerializeToString())


def tf_records(path):
    return [record.numpy() for record in tf.data.TFRecordDataset(str(path))]


def test_a_run_with_tensors_goes_on_with_every_point_once(tmp_path):
    write_tensors(tmp_path / "test", range(0, 200, 10))
    loaded = running(tmp_path / "test")
    assert shown(loaded) == expected(range(0, 200, 10))
    write(tmp_path / "test", range(110, 300, 10), last=105)
    # TensorBoard sees them, and so does one that had read beyond the cut.
    assert shown(loaded) == shown(running(tmp_path / "test")) == expected(range(0, 300, 10))


def test_points_after_the_restored_iteration_are_cut(tmp_path):
    path = write(tmp_path, range(0, 300, 10))
    whole = path.stat().st_size
    for last in (125, 0, 299, -1):
        write(tmp_path, [i for i in range(0, 300, 10) if i > last], last)
        assert points(tmp_path) == expected(range(0, 300, 10))
        assert path.stat().st_size == whole  # as many bytes, to the record
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_curve_that_is_missing_when_its_run_goes_on_is_said(tmp_path, capsys):
    write(tmp_path, [0, 10])
    assert capsys.readouterr().err == ""
    (tmp_path / tensorboard.NAME).unlink()
    write(tmp_path, [20], 19)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / tensorboard.NAME} is missing" in line and "19" in line
    assert points(tmp_path) == expected([20])


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
    loaded = running(tmp_path)
    assert shown(loaded) == expected(range(0, 200, 10))
    write(tmp_path, range(110, 300, 10), last=105)
    assert shown(loaded) == expected(range(0, 300, 10))
