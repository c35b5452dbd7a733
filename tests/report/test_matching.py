"""A run gives a number of the paper by what it records: flags, images, checkpoint. The verdicts are
at the edges of the paper's and the replications' numbers."""

import made_up
import pytest

from supervised_reptile.args import Config
from supervised_reptile.data.miniimagenet import CLASSES
from supervised_reptile.report.matching import by_seed, judge, mean_of, place, pools
from supervised_reptile.report.reading import Score, read_runs
from supervised_reptile.settings import SETTINGS

FLAGS = made_up.flags_of("o15")


@pytest.fixture
def found(tmp_path):
    """A function: the entries of a setting from runs of given flags and lines (or accuracies)."""

    def find(*runs, setting="o15", **record):
        for number, (flags, *lines) in enumerate(runs):
            made_up.run(tmp_path / f"run{number}", flags, lines, **record)
        return place(read_runs(tmp_path))[0][setting]

    return find


def test_an_evaluation_with_other_shots_fills_the_other_cell(found):
    line = made_up.line({**FLAGS, "shots": 5, "pretrained": True}, 98.9)
    assert found((FLAGS, line)) == []
    assert len(found(setting="o55")) == 1


CHANGED = [
    *({"inner_batch": 5}, {"meta_step": 0.5}, {"meta_batch": 1}, {"sgd": True}, {"foml": True}),
    *({"train_shots": 15}, {"train_shots": 0}, {"train_classes": 1000}, {"weight_decay": 0.99}),
    *({"inner_iters": 6}, {"learning_rate": 0.01}, {"replacement": True}, {"classes": 6}),
    *({"meta_step_final": 0.1}, {"foml": True, "foml_tail": 1}, {"parallel_tasks": True}),
    *({"meta_iters": 200_000}, {"synthetic": True}, {"rotations": False}, {"clean": True}),
]


@pytest.mark.parametrize("changed", CHANGED, ids=str)
def test_a_run_trained_otherwise_fills_no_cell(found, changed):
    assert found(({**FLAGS, **changed}, 95.4)) == []


def test_every_flag_that_decides_training_is_changed_above():
    elsewhere = {"shots", "eval_batch", "eval_iters", "eval_samples", "eval_interval"}
    elsewhere |= {"transductive", "pretrained", "seed", "checkpoint", "checkpoint_interval"}
    elsewhere |= {"keep_checkpoints", "data_dir", "eval_sets"}
    changed = {name for flags in CHANGED for name in flags}
    assert set(Config.of("omniglot", {}).flags()) == elsewhere | changed


@pytest.mark.parametrize(
    "changed",
    [
        *({"eval_batch": 10}, {"eval_iters": 5}, {"learning_rate": 0.01}, {"synthetic": True}),
        *({"seed": 1}, {"train_classes": 1000}, {"clean": True}, {"weight_decay": 0.9}),
        *({"replacement": True}, {"sgd": True}),
    ],
    ids=str,
)
def test_an_evaluation_done_otherwise_fills_no_cell(found, changed):
    assert found((FLAGS, made_up.line({**FLAGS, "pretrained": True, **changed}, 95.4))) == []


OTHER_PIXELS = {**made_up.DATA, "digest": "4"}
OTHERS = {"images": "not those of the run; classes that it knows keep their part"}
OWN = {"origin": {"source": "mine, a folder without origin.json"}, "digest": "2"}


@pytest.mark.parametrize("data", [OWN, {**made_up.DATA, "origin": {"digest": "3"}}, OTHER_PIXELS])
def test_an_evaluation_on_other_images_fills_no_cell(found, data):
    assert found((FLAGS, made_up.line(FLAGS, 95.4, data=data))) == []


@pytest.mark.parametrize("data", [OWN, {}, OTHER_PIXELS])
def test_training_on_other_images_fills_no_cell(found, data):
    assert found((FLAGS, 95.4), data=data) == []


@pytest.mark.parametrize(
    ("split", "note", "number"), [(CLASSES, {}, 1), ({"test": ["n1"]}, {}, 0), (CLASSES, OTHERS, 0)]
)
def test_miniimagenet_needs_its_classes_and_the_images_of_the_run(found, split, note, number):
    flags, record = made_up.flags_of("m15"), {"dataset": "miniimagenet", "split": split}
    data = {"origin": {"digest": "1", "packaging": "p"}, "digest": "2"}
    evaluated = {**data, "origin": {**data["origin"], **note}}
    line = made_up.line(flags, 47, data=evaluated, dataset="miniimagenet")
    assert len(found((flags, line), setting="m15", data=data, **record)) == number


def test_a_shorter_run_and_an_earlier_checkpoint_are_shortened(found):
    short = {**FLAGS, "meta_iters": 1000}
    early = made_up.line({**FLAGS, "pretrained": True}, 80, iteration=999)
    shorter, earlier = found((short, 80), (FLAGS, early))
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


def test_an_evaluation_without_the_test_set_is_named_only_if_its_run_has_no_other(tmp_path):
    trained = made_up.line(FLAGS, 0)
    trained |= {name: {"train": 0.5} for name in ("accuracy", "confidence_95")}
    folder = made_up.run(tmp_path / "run", FLAGS, [trained])
    _, ((_, evaluation),) = place(read_runs(tmp_path))
    assert evaluation.scores == {}
    made_up.add_result(folder, made_up.line(FLAGS, 95.4))
    placed, others = place(read_runs(tmp_path))
    assert [entry.score.percent for entry in placed["o15"]] == pytest.approx([95.4])
    assert others == []


def test_of_each_seed_one_run_counts_and_complete_ones_before_others(found):
    def run(seed, percent, tasks):
        return {**FLAGS, "seed": seed, "eval_samples": tasks}, percent

    entries = found(
        run(1, 95.1, 10_000), run(0, 95.2, 500), run(0, 95.3, 10_000), run(2, 95.4, 500)
    )
    assert [entry.score.percent for entry in by_seed(entries)] == pytest.approx([95.3, 95.1, 95.4])
    (pool,) = pools(entries)
    assert [entry.run.seed for entry in pool] == [0, 1]


@pytest.mark.parametrize(
    "whole, shortened",
    [("reptile_cycling_4x25", "g1_g2_g3_g4"), ("shared_tail_cycling_4x25", "g4")],
)
def test_a_whole_run_of_section_6_3_is_no_shortened_one_of_6_2(found, whole, shortened):
    assert len(found((made_up.flags_of(whole), 90), setting=whole)) == 1
    assert found(setting=shortened) == []


def test_a_run_shorter_than_both_is_a_shortened_one_of_both(found):
    short = made_up.flags_of("g1_g2_g3_g4", meta_iters=500)
    (entry,) = found((short, 90), setting="g1_g2_g3_g4")
    assert entry.shortened
    assert len(found(setting="reptile_cycling_4x25")) == 1


INSIDE = "inside the replications' range"
WIDENED = "inside the paper's interval widened by ours"
OUTSIDE = "outside the replications' range by {} points"
ALARM = "**OUTSIDE the replications' range by {} points: look for a defect**"


@pytest.mark.parametrize(
    "name, percent, interval, expected",
    [
        ("o15", 95.20, 0.1, INSIDE),
        ("o15", 95.5649, 0.1, INSIDE),  # is shown as 95.56
        ("o15", 95.57, 0.1, WIDENED),  # 95.39 + 0.09 + 0.10 is 95.58
        ("o15", 95.58, 0.1, WIDENED),
        ("o15", 95.59, 0.1, OUTSIDE.format("0.03")),
        ("o15", 95.86, 0.1, OUTSIDE.format("0.30")),
        ("o15", 94.90, 0.1, OUTSIDE.format("0.30")),
        ("o15", 94.89, 0.1, ALARM.format("0.31")),
        ("o520", 90.00, 0.1, OUTSIDE.format("6.47")),  # not 5-way
        ("m55t", 66.60, 0.3, ALARM.format("0.41")),
    ],
)
def test_the_verdict_on_a_complete_run(name, percent, interval, expected):
    assert judge(SETTINGS[name], [Score(percent, interval)], alike=True) == expected


def test_no_defect_is_suspected_of_an_evaluation_on_few_tasks():
    assert judge(SETTINGS["m55t"], [Score(66.60, 0.3)], alike=False) == WIDENED
    assert "0.80 points" in judge(SETTINGS["o15"], [Score(94.40, 0.3)], alike=False)
    assert judge(SETTINGS["o15"], [Score(95.3, None)], alike=False) == INSIDE


def test_the_mean_of_two_seeds_by_hand():
    found = mean_of([Score(95.0, 0.3), Score(96.0, 0.4)])
    assert (found.percent, found.interval) == (95.5, pytest.approx(0.25))
    assert mean_of([Score(95.0, 0.3), Score(96.0, None)]).interval is None


def test_one_seed_far_outside_is_enough_to_suspect_a_defect():
    scores = [Score(94.80, 0.1), Score(95.60, 0.1)]  # mean: 95.20
    assert judge(SETTINGS["o15"], scores, alike=True) == ALARM.format("up to 0.40")
    assert judge(SETTINGS["o15"], scores, alike=False) == INSIDE
