"""The training run: schedule, lines, curves, checkpoints; the arithmetic is a stand-in."""

import json
import os
import signal

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from supervised_reptile.args import Config
from supervised_reptile.devices.choice import Devices
from supervised_reptile.learning import models, reptile, state
from supervised_reptile.runs import checkpoints, record, training
from supervised_reptile.system import signals
from supervised_reptile.system.errors import FailedError


class StandIn:
    """Counts meta-iterations in its one parameter; is right (iteration + split) mod 6 times.

    at_31: what happens during meta-iteration 31. ahead: the meta-iterations of the first call,
    whose result is dropped.
    """

    def __init__(self, config, at_31):
        self.config, self.calls, self._at_31 = config, [], at_31
        self.devices, self.model, self.ahead = Devices(), models.MINIIMAGENET, None

    def train(self, before, pixels, chunk):
        done, (tasks, step_sizes, count) = int(before.parameters["x"]), chunk
        if self.ahead is None:
            self.ahead = count
        else:
            self.calls.append((done, count, step_sizes[:count], tasks.batches.indices.shape))
            if done == 31:
                self._at_31()
        after = before._replace(parameters={"x": before.parameters["x"] + count})
        return state.Step(after, tf.constant(0.5))

    def tasks_at_once(self, total):
        return 1, 2

    def guess(self, trained, pixels, tasks):
        done = int(trained.parameters["x"])
        # The images of 6 classes of 4, then those of 5: train, val, test.
        split = np.searchsorted([24, 44], tasks.queries[0, 0, 0], side="right")
        right = (done - 1 + split) % 6
        guesses = np.where(np.arange(5) < right, np.arange(5), -1)[None]
        return reptile.Guesses(guesses, guesses, np.array([True]))


@pytest.fixture
def run(tmp_path, image_set, handlers):
    """A function that trains the stand-in with some flags, and returns it."""
    images = image_set({"train": 6, "val": 5, "test": 5}, shots=4, size=2)

    def run(at_31=lambda: None, done=0, **flags):
        small = {"shots": 1, "inner_iters": 1, "eval_iters": 1, "checkpoint": str(tmp_path)}
        config = Config.of("miniimagenet", {**small, **flags})
        algorithm = StandIn(config, at_31)
        start = state.State({"x": tf.constant(float(done))}, {}, tf.constant(0.999))
        training.train(algorithm, start, images, tf.constant(images.pixels), done)
        return algorithm

    return run


def scalars(directory):
    """The points of a TensorBoard folder: (step, value) of the scalar `accuracy`."""
    events = EventAccumulator(str(directory), size_guidance={"scalars": 0}).Reload()
    assert events.Tags()["scalars"] == ["accuracy"]
    return [(event.step, event.value) for event in events.Scalars("accuracy")]


def test_every_iteration_is_done_once_with_its_step_size(run):
    algorithm = run(meta_iters=237, meta_step=1.0, meta_step_final=0.0, eval_interval=25)
    assert algorithm.ahead == 1  # or else the pieces would be compiled later
    done, sizes = 0, []
    for first, count, chunk, _ in algorithm.calls:
        assert first == done
        done += count
        sizes.extend(chunk)
    assert done == 237
    np.testing.assert_allclose(sizes, [1 - i / 237 for i in range(237)], rtol=1e-6)


def test_lines_and_curves_at_every_interval(run, tmp_path, capsys):
    run(meta_iters=121, eval_interval=40)
    expected = [(i, (i % 6) / 5, ((i + 1) % 6) / 5, ((i + 2) % 6) / 5) for i in (0, 40, 80, 120)]
    assert capsys.readouterr().out.splitlines() == [
        f"batch {i}: train={first:f} test={last:f}" for i, first, _, last in expected
    ]
    for column, split in enumerate(("train", "val", "test"), start=1):
        points = [(point[0], pytest.approx(point[column])) for point in expected]
        assert scalars(tmp_path / split) == points


@pytest.mark.parametrize("interval", [7, 10, 300])
def test_checkpoints_at_every_hundredth_iteration_and_the_last(run, tmp_path, interval):
    run(meta_iters=250, eval_interval=interval)
    assert record.checkpoints(tmp_path) == [0, 100, 200, 249]
    for number in (0, 100, 200, 249):
        value = tf.train.load_variable(str(tmp_path / f"model.ckpt-{number}"), "x")
        assert value == number + 1


def test_checkpoints_as_often_and_as_many_as_wanted(run, tmp_path):
    run(meta_iters=40, checkpoint_interval=7, keep_checkpoints=3)
    assert record.checkpoints(tmp_path) == [28, 35, 39]


def test_a_slow_run_saves_after_some_minutes_too(run, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "SECONDS_UNSAVED", -1)  # they are over at every look
    algorithm = run(meta_iters=40, checkpoint_interval=100, eval_interval=10)
    ends = [done + count - 1 for done, count, *_ in algorithm.calls]
    assert len(ends) > 2 and record.checkpoints(tmp_path) == ends[-5:]


def test_a_run_goes_on_with_the_same_lines_and_points(run, tmp_path, capsys):
    """The stand-in of a killed process that got beyond what it had saved."""
    run(meta_iters=121, eval_interval=4)
    lines = capsys.readouterr().out.splitlines()
    points = {split: scalars(tmp_path / split) for split in ("train", "val", "test")}
    for done in (98, 0, 97, 121):
        run(meta_iters=121, eval_interval=4, done=done)
        again = capsys.readouterr().out.splitlines()
        assert again == [line for line in lines if int(line[6:].split(":")[0]) >= done]
        assert {split: scalars(tmp_path / split) for split in points} == points


def test_what_trains_a_later_part_is_recorded_unless_nothing_is_left_to_train(run, tmp_path):
    path = tmp_path / record.RECORD
    path.write_text("{}")
    run(meta_iters=30, done=30)
    assert path.read_text() == "{}"
    run(meta_iters=30, done=20)
    (part,) = json.loads(path.read_text())["parts"]
    assert part["machine"] == Devices().describe()


def test_the_seconds_of_earlier_parts_count(run, tmp_path):
    record.keep_training_seconds(tmp_path, 1000)
    run(done=5, meta_iters=10)
    assert 1000 <= record.training_seconds(tmp_path, started=True) < 1100


def test_points_are_on_the_disk_before_their_checkpoint(run, tmp_path, monkeypatch):
    saved, save = [], checkpoints.save

    def save_and_look(directory, iteration, *arguments):
        saved.append((iteration, scalars(tmp_path / "test")[-1][0]))
        save(directory, iteration, *arguments)

    monkeypatch.setattr(checkpoints, "save", save_and_look)
    run(meta_iters=25, checkpoint_interval=10)
    assert saved == [(0, 0), (10, 10), (20, 20), (24, 20)]


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_numbers_that_break_end_the_run_at_the_iteration(run, tmp_path, monkeypatch, value):
    count_up = StandIn.train

    def train_and_break(algorithm, before, *arguments):
        after = count_up(algorithm, before, *arguments).state
        done = int(after.parameters["x"])
        broken = after._replace(second_moments={"x": tf.constant(value if done > 27 else 1.0)})
        return state.Step(broken, tf.constant(0.5))

    monkeypatch.setattr(StandIn, "train", train_and_break)
    sizes = {"meta_step": 1.0, "meta_step_final": 0.0, "learning_rate": 0.002}
    with pytest.raises(FailedError, match=r"meta-iteration 27 .*step size 0\.73, inner 0\.002\)"):
        run(meta_iters=100, checkpoint_interval=20, **sizes)
    assert record.checkpoints(tmp_path) == [0, 20]


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_ends_the_run_with_a_checkpoint(run, tmp_path, number, capsys):
    with pytest.raises(signals.Interrupted) as caught:
        run(lambda: signal.raise_signal(number), meta_iters=1000)
    assert caught.value.number == number
    assert record.checkpoints(tmp_path) == [0, 40]
    assert tf.train.load_variable(str(tmp_path / "model.ckpt-40"), "x") == 41
    assert f"{tmp_path}/model.ckpt-40" in str(caught.value)
    assert capsys.readouterr().out.splitlines()[-1].startswith("batch 40:")


def test_a_signal_after_all_that_was_due_still_saves(run, tmp_path, monkeypatch):
    """It may come when an iteration is printed, and nothing but its checkpoint is left to do."""
    report = training.Progress.report

    def report_and_signal(journal, iteration, *values):
        report(journal, iteration, *values)
        if iteration == 40:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(training.Progress, "report", report_and_signal)
    with pytest.raises(signals.Interrupted, match=r"saved as .*model\.ckpt-40"):
        run(meta_iters=1000)
    assert record.checkpoints(tmp_path) == [0, 40]


def test_a_closed_output_ends_the_run_with_a_checkpoint(run, tmp_path, monkeypatch):
    read, write = os.pipe()
    with open(write, "w") as closed:
        monkeypatch.setattr("sys.stdout", closed)
        with pytest.raises(FailedError, match=r"model\.ckpt-40"):
            run(lambda: os.close(read), meta_iters=1000)
    assert record.checkpoints(tmp_path) == [0, 40]
