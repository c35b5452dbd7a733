"""The final report: what is printed and kept, and going on with it."""

import json

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.devices.choice import Devices
from supervised_reptile.learning import sampling
from supervised_reptile.learning.reptile import Guesses
from supervised_reptile.learning.sampling import Population, Purpose
from supervised_reptile.runs import final_evaluation
from supervised_reptile.runs.training import Trained
from supervised_reptile.system import machine, signals


class StandIn:
    """Is right as often as the number of the task, modulo 3; is interrupted after some calls."""

    def __init__(self, config, limit):
        self.config, self.devices = config, Devices()
        self.asked, self._limit = [], limit

    def tasks_at_once(self, total):
        return 1, 1

    def guess(self, state, pixels, tasks):
        if len(self.asked) == self._limit:
            raise signals.Interrupted(15)
        self.asked.append(tasks.batches.indices.tolist())
        number = np.sum(tasks.batches.indices)
        first, second = (np.where(np.arange(5) < number % n, np.arange(5), -1) for n in (3, 4))
        return Guesses(first[None], second[None], np.array([True]))


@pytest.fixture
def images(image_set):
    return image_set({"train": 6, "test": 6}, shots=4, size=2)


@pytest.fixture
def report(tmp_path, images, monkeypatch, capsys):
    """A function that evaluates into a folder, and returns what was printed, and the tasks that
    were asked for; only these, if it is interrupted after so many."""
    shown = {"test": Guesses(0, 0, 0)}
    monkeypatch.setattr(final_evaluation.training, "guess_interval", lambda *_: shown)
    monkeypatch.setattr(
        final_evaluation.tensorboard, "finish", lambda folder, *_: (folder / "finished").touch()
    )

    def run(name, limit, assumed=(), **flags):
        settings = {"shots": 1, "eval_iters": 1, "eval_samples": 21, **flags}
        algorithm, folder = StandIn(Config.of("omniglot", settings), limit), tmp_path / name
        folder.mkdir(exist_ok=True)
        trained = Trained((), 9, 2.5, assumed)
        try:
            final_evaluation.report(algorithm, trained, images, tf.constant(0), folder)
        except signals.Interrupted:
            capsys.readouterr()
            return algorithm.asked
        return capsys.readouterr().out, algorithm.asked

    return run


def line_of(folder):
    return json.loads((folder / "results.jsonl").read_text())


def test_each_set_has_its_own_tasks(report, images):
    _, tasks = report("whole", None, eval_samples=2)
    config = Config.of("omniglot", {"shots": 1, "eval_iters": 1})
    assert tasks == [
        sampling.evaluation_tasks(
            config, Population.of(images, split), purpose, [index]
        ).batches.indices.tolist()
        for split, purpose in (("train", Purpose.FINAL_TRAIN), ("test", Purpose.FINAL_TEST))
        for index in range(2)
    ]


def test_an_interrupted_evaluation_goes_on(report, tmp_path):
    whole, tasks = report("whole", None)
    assert len(tasks) == 42
    first, second, (again, rest) = report("cut", 7), report("cut", 9), report("cut", None)
    assert again == whole and first + second + rest == tasks
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {"results.jsonl", "finished"}


def test_the_record_names_the_commits_that_evaluated(report, tmp_path, monkeypatch):
    for folder, commits in (("same", ("new", "new")), ("upgraded", ("old", "new"))):
        for commit, limit in zip(commits, (7, None)):
            monkeypatch.setattr(machine, "commit", lambda commit=commit: commit)
            report(folder, limit)
    assert "parts" not in line_of(tmp_path / "same")
    line = line_of(tmp_path / "upgraded")
    assert line["commit"] == "new"
    assert [part["commit"] for part in line["parts"]] == ["old", "new"]


def test_one_set_alone_has_the_same_numbers(report):
    whole, tasks = report("whole", None)
    only, found = report("only", None, eval_sets="test")
    assert (found, only) == (tasks[21:], f"Evaluating...\n{whole[whole.index('Test accuracy') :]}")


@pytest.mark.parametrize(("first", "then", "left"), [(21, 30, 9 + 30 - 11), (30, 21, 21 - 2)])
def test_with_more_or_fewer_tasks_those_that_are_known_are_not_done_again(
    report, first, then, left
):
    report("other", 32, eval_samples=first)
    again, tasks = report("other", None, eval_samples=then)
    assert len(tasks) == left and again == report("whole", None, eval_samples=then)[0]


def test_a_saved_model_is_evaluated_from_the_start_and_leaves_its_runs_page_alone(report, tmp_path):
    """Another evaluation may have had other shots."""
    whole, tasks = report("whole", None)
    report("cut", 7, pretrained=True)
    assert list((tmp_path / "cut").iterdir()) == []
    assert report("cut", None, ("seed",), pretrained=True) == (whole, tasks)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["results.jsonl"]
    assert line_of(tmp_path / "cut")["assumed"] == ["seed"]
