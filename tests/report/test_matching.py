"""A run fills a cell by what it records: flags, images, checkpoint."""

import dataclasses

import made_up
import pytest

from supervised_reptile.report.matching import by_seed, entries, of_no_setting, pools
from supervised_reptile.report.reading import read_runs
from supervised_reptile.report.settings import COMBINATIONS, METHODS, OVERLAPS

O15, O55, M15 = (made_up.CELL[name].setting for name in ("o15", "o55", "m15"))
FLAGS = made_up.flags_of(O15)


@pytest.fixture
def found(tmp_path):
    """A function: the entries of a setting from runs of given flags and lines."""

    def find(*runs, setting=O15, transductive=False):
        for number, (flags, *lines) in enumerate(runs):
            made_up.run(tmp_path / f"run{number}", flags, lines)
        return entries(read_runs(tmp_path), setting, transductive)

    return find


def test_one_evaluation_fills_both_columns(found):
    line = made_up.line(FLAGS, 95.4, 97.7)
    (asked,) = found((FLAGS, line))
    (together,) = found(setting=O15, transductive=True)
    assert asked.score.percent == pytest.approx(95.4)
    assert together.score.percent == pytest.approx(97.7)
    assert asked.complete


def test_an_evaluation_with_other_shots_fills_the_other_cell(found):
    line = made_up.line({**FLAGS, "shots": 5, "pretrained": True, "seed": 3}, 98.9)
    assert found((FLAGS, line)) == []
    (entry,) = found(setting=O55)
    assert entry.run.seed == 0  # that of training


@pytest.mark.parametrize(
    "changed",
    [
        {"inner_batch": 5},
        {"meta_step": 0.5},
        {"meta_batch": 1},
        {"sgd": True},
        {"foml": True},
        {"parallel_tasks": True},
        {"train_shots": 15},
        {"train_shots": 0},
        {"train_classes": 1000},
        {"weight_decay": 0.99},
        {"meta_iters": 200_000},
        {"synthetic": True},
    ],
)
def test_a_run_trained_otherwise_fills_no_cell(found, changed):
    flags = {**FLAGS, **changed}
    assert found((flags, made_up.line(flags, 95.4))) == []


@pytest.mark.parametrize(
    "changed",
    [{"eval_batch": 10}, {"eval_iters": 5}, {"learning_rate": 0.01}, {"synthetic": True}],
)
def test_an_evaluation_done_otherwise_fills_no_cell(found, changed):
    assert found((FLAGS, made_up.line({**FLAGS, "pretrained": True, **changed}, 95.4))) == []


OTHER_PIXELS = {**made_up.DATA, "digest": "4"}
OWN = {"origin": {"source": "mine, a folder without origin.json"}, "digest": "2"}


@pytest.mark.parametrize(
    "data", [OWN, {**made_up.DATA, "origin": {"digest": "3"}}, {"origin": 3}, OTHER_PIXELS]
)
def test_an_evaluation_on_other_images_fills_no_cell(found, data):
    assert found((FLAGS, made_up.line(FLAGS, 95.4, data=data))) == []


def test_training_on_other_images_fills_no_cell(tmp_path):
    for number, data in enumerate((OWN, {}, OTHER_PIXELS)):
        made_up.run(tmp_path / str(number), FLAGS, [made_up.line(FLAGS, 95.4)], data=data)
    runs = read_runs(tmp_path)
    assert entries(runs, O15) == []
    assert [run for run, _ in of_no_setting(runs)] == runs


def test_flags_that_older_records_lack_are_the_defaults(found):
    flags = {name: value for name, value in FLAGS.items() if name != "parallel_tasks"}
    assert len(found((flags, made_up.line(flags, 95.4)))) == 1


def test_train_shots_that_follow_the_shots_are_the_same(found):
    setting = dataclasses.replace(O15, flags={**O15.flags, "train_shots": 1})
    flags = made_up.flags_of(setting, train_shots=0)
    assert len(found((flags, made_up.line(flags, 95.4)), setting=setting)) == 1


def test_a_shorter_run_and_an_earlier_checkpoint_are_shortened(found):
    short = {**FLAGS, "meta_iters": 1000}
    early = made_up.line({**FLAGS, "pretrained": True}, 80, iteration=999)
    shorter, earlier = found((short, made_up.line(short, 80)), (FLAGS, early))
    assert (shorter.shortened, earlier.shortened) == (True, True)
    assert (shorter.done, earlier.done, earlier.full) == (1000, 1000, 100_000)
    assert by_seed([shorter, earlier]) == []


def test_of_several_evaluations_that_with_most_tasks_counts_then_the_newest(found):
    def line(percent, tasks, hour, **other):
        flags = {**FLAGS, "eval_samples": tasks}
        return made_up.line(flags, percent, time=f"2030-01-01T{hour:02}:00:00+00:00", **other)

    early = line(50, 10_000, 9, iteration=499)
    (entry,) = found((FLAGS, line(1, 500, 8), line(2, 9000, 4), line(3, 9000, 3), early))
    assert entry.score.percent == pytest.approx(2)
    assert not entry.complete  # for lack of tasks


def test_of_each_seed_one_run_counts(found):
    def run(seed, percent, tasks):
        flags = {**FLAGS, "seed": seed, "eval_samples": tasks}
        return flags, made_up.line(flags, percent)

    kept = by_seed(found(run(1, 95.1, 10_000), run(0, 95.2, 500), run(0, 95.3, 10_000)))
    assert [entry.score.percent for entry in kept] == pytest.approx([95.3, 95.1])


@pytest.mark.parametrize("recorded", [{}, {"digest": ""}])
def test_older_records_lack_the_digest_of_the_pixels(found, recorded):
    data = {"origin": made_up.DATA["origin"], **recorded}
    assert len(found((FLAGS, made_up.line(FLAGS, 95.4, data=data)))) == 1


def test_copies_of_miniimagenet_are_told_apart(tmp_path):
    for seed, pixels in enumerate("aba"):
        flags = made_up.flags_of(M15, seed=seed)
        data = {"origin": {"digest": "files"}, "digest": pixels}
        line = made_up.line(flags, 47, data=data)
        made_up.run(tmp_path / str(seed), flags, [line], data=data, dataset="miniimagenet")
    found = pools(entries(read_runs(tmp_path), M15))
    assert [[entry.run.seed for entry in pool] for pool in found] == [[0, 2], [1]]


SUM, LAST = (c.setting for c in COMBINATIONS if c.name in ("g1_g2_g3_g4", "g4"))


@pytest.mark.parametrize(
    "setting, line", [(SUM, "Reptile, cycling"), (LAST, f"{METHODS[1]}, cycling")]
)
def test_a_whole_run_of_section_6_3_is_no_shortened_one_of_6_2(found, setting, line):
    (point,) = [o for o in OVERLAPS if (o.line, o.inner_iters, o.inner_batch) == (line, 4, 25)]
    flags = made_up.flags_of(point.setting)
    assert len(found((flags, made_up.line(flags, 90)), setting=point.setting)) == 1
    assert found(setting=setting) == []


def test_a_run_shorter_than_both_is_a_shortened_one_of_both(found):
    flags = made_up.flags_of(SUM, meta_iters=500)
    (entry,) = found((flags, made_up.line(flags, 90)), setting=SUM)
    assert entry.shortened
