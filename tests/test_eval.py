"""Counting the right answers of many tasks, and going on with it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile import calls, eval, models, reptile, signals
from supervised_reptile.args import Config
from supervised_reptile.results import Tally
from supervised_reptile.sampling import Population, Purpose

FLAGS = {"classes": 3, "shots": 1, "eval_batch": 2, "eval_iters": 2, "eval_samples": 12}


@pytest.fixture
def evaluate(image_set):
    """A function that evaluates an untrained network, and returns the counts."""
    images = image_set({"train": 4, "test": 4}, shots=3)
    config = Config.of("omniglot", FLAGS)
    model = dataclasses.replace(models.OMNIGLOT, filters=4)
    algorithm, rows = reptile.MetaLearner(model, config), tf.constant(images.rows)
    population, learner = Population.of(images, "test"), algorithm.new_learner()

    def evaluate():
        tally = Tally()
        eval.evaluate(algorithm, learner, rows, population, Purpose.FINAL_TEST, tally)
        return tally.correct[Purpose.FINAL_TEST.name]

    return evaluate


def test_calls_side_by_side_count_what_one_after_another_count(evaluate, monkeypatch):
    counts = []
    for at_once in (1, 5):
        monkeypatch.setattr(calls, "at_once", lambda memory, at_once=at_once: at_once)
        counts.append(evaluate())
    assert counts[0] == counts[1]
    assert len(set(map(tuple, counts[0]))) > 1  # An order would show.


@pytest.mark.parametrize(("transductive", "images"), [(True, 20), (False, 101)])
def test_memory_is_that_of_the_widest_pass(monkeypatch, transductive, images):
    flags = {"classes": 20, "shots": 5, "transductive": transductive, "eval_batch": 10}
    algorithm = reptile.MetaLearner(models.MINIIMAGENET, Config.of("miniimagenet", flags))
    seen = []
    monkeypatch.setattr(calls, "side_by_side", lambda call, items, memory: seen.append(memory))
    eval.count_correct(algorithm, None, None, None, range(3))
    # The first convolution gives every image 84 x 84 times 32 float32 values.
    assert seen == [images * 84 * 84 * 32 * 4]


class StandIn:
    """Finds the number of the task, modulo 3; is interrupted after some calls."""

    def __init__(self, config, limit):
        self.config, self.model = config, models.OMNIGLOT
        self.starts, self._limit = [], limit

    def count_correct(self, learner, rows, tasks):
        if len(self.starts) == self._limit:
            raise signals.Interrupted(15)
        self.starts.append(tasks.batches.rows[0, 0, 0].numpy())
        number = np.sum(tasks.batches.rows, axis=(1, 2))
        return tf.constant(number % 3), tf.constant(number % 4)


def test_an_interrupted_evaluation_goes_on(tmp_path, image_set, monkeypatch, capsys):
    monkeypatch.setattr(calls, "at_once", lambda memory: 1)
    images = image_set({"train": 6, "test": 6}, shots=4, size=2)

    def report(folder, limit, **flags):
        settings = {"shots": 1, "eval_iters": 1, "eval_samples": 21, **flags}
        algorithm = StandIn(Config.of("omniglot", settings), limit)
        (tmp_path / folder).mkdir(exist_ok=True)
        try:
            eval.report(algorithm, None, images, tf.constant(0), tmp_path / folder, 9)
        except signals.Interrupted:
            capsys.readouterr()
            return len(algorithm.starts)
        return capsys.readouterr().out, len(algorithm.starts)

    whole, called = report("whole", None)
    assert called == 42
    assert report("cut", 7) == 7
    assert report("cut", 9) == 9
    assert report("cut", None) == (whole, 42 - 7 - 9)
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["results.jsonl"]
    # Fewer tasks or more: those that are known are not done again.
    report("other", 32)
    more, called = report("other", None, eval_samples=30)
    assert called == (30 - 21) + (30 - 11)
    assert more == report("whole", None, eval_samples=30)[0]
    report("fewer", 32)
    fewer, called = report("fewer", None, eval_samples=10)
    assert called == 0 and fewer == report("whole", None, eval_samples=10)[0]
