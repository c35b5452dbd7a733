"""Runs are read from their folders; what is damaged is named, and the rest is used."""

import json
import pathlib

import made_up
import numpy as np
import pytest

from supervised_reptile.report.__main__ import main
from supervised_reptile.report.reading import Score, read_curve, read_runs

FLAGS = made_up.flags_of("o15")


def test_a_run_is_read(tmp_path):
    folder = made_up.run(tmp_path / "mine", FLAGS, [made_up.line(FLAGS, 95.4, 97.7)], commit="ab")
    made_up.events(folder, range(0, 1000, 10))
    (run,) = read_runs(tmp_path)
    assert (run.name, run.total, run.seed, run.finished) == ("mine", 100_000, 0, True)
    (evaluation,) = run.evaluations
    assert evaluation.scores == {
        False: Score(pytest.approx(95.4), pytest.approx(0.1)),
        True: Score(pytest.approx(97.7), pytest.approx(0.1)),
    }
    assert (run.content["seconds"], run.content["commit"]) == (7200, "ab")
    assert (evaluation.iteration, evaluation.tasks) == (99_999, 10_000)
    assert list(run.curve.iterations) == list(range(0, 1000, 10))
    assert set(run.curve.accuracy) == {"train", "test"}
    drawn = np.random.default_rng(500).random(5)
    assert run.curve.accuracy["test"][50] == pytest.approx(np.mean(drawn < 500 / 990))


def test_an_unfinished_run_says_how_far_it_is(tmp_path):
    folder = made_up.run(tmp_path / "a", FLAGS)
    made_up.events(folder, range(0, 1000, 100))
    made_up.run(tmp_path / "b", FLAGS, [made_up.line(FLAGS, 40, iteration=4999)])
    (made_up.run(tmp_path / "c", FLAGS) / "model.ckpt-99.index").touch()
    made_up.run(tmp_path / "d", FLAGS)
    runs = read_runs(tmp_path)
    assert [run.done for run in runs] == [901, 5000, 100, 0]
    assert not any(run.finished for run in runs)
    assert runs[-1].curve is None


def test_of_a_transductive_evaluation_one_column_is_known(tmp_path):
    made_up.run(tmp_path / "a", {**FLAGS, "transductive": True}, [97.7])
    (evaluation,) = read_runs(tmp_path)[0].evaluations
    assert evaluation.scores == {True: Score(pytest.approx(97.7), pytest.approx(0.1))}


def test_the_score_of_a_single_task_has_no_interval(tmp_path):
    line = made_up.line(FLAGS, 80, confidence_95={"test": None})
    made_up.run(tmp_path / "a", FLAGS, [line])
    (evaluation,) = read_runs(tmp_path)[0].evaluations
    assert str(evaluation.scores[False]) == "80.00"


def test_an_evaluation_of_other_sets_has_no_score(tmp_path):
    line = made_up.line(FLAGS, 95.4, 97)
    for numbers in (line, line["transductive"]):
        numbers["accuracy"] = {"train": 0.9}
    made_up.run(tmp_path / "a", FLAGS, [line])
    (run,) = read_runs(tmp_path)
    assert run.finished and run.evaluations[0].scores == {}


GOOD = made_up.line(FLAGS, 95.4)
BAD = {"config": [], "accuracy": {"test": "high"}, "confidence_95": {}, "time": 1, "iteration": "9"}


@pytest.mark.parametrize(
    "text",
    [
        *(json.dumps(GOOD)[:100], "[]", "[" * 100_000),
        *(json.dumps({**GOOD, name: value}) for name, value in BAD.items()),
        b"\xff\xfe".decode(errors="surrogateescape"),
    ],
    ids=range(9),
)
def test_a_damaged_line_is_named_and_the_others_are_used(tmp_path, text, capsys):
    folder = made_up.run(tmp_path / "mine", FLAGS)
    lines = [json.dumps(GOOD), text, json.dumps(GOOD)]
    (folder / "results.jsonl").write_text("\n".join(lines), errors="surrogateescape")
    assert len(read_runs(tmp_path)[0].evaluations) == 2
    said = capsys.readouterr().err
    assert f"{folder / 'results.jsonl'}, line 2 is damaged" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"dataset": "omniglot", "flags": {}}'])
def test_a_damaged_record_is_named_and_other_runs_are_read(tmp_path, text, capsys):
    for name in ("bad", "good"):
        made_up.run(tmp_path / name, FLAGS)
    (tmp_path / "bad" / "run.json").write_text(text)
    assert [run.name for run in read_runs(tmp_path)] == ["good"]
    assert str(tmp_path / "bad" / "run.json") in capsys.readouterr().err


def test_a_linked_run_has_the_name_of_the_link_unless_the_run_lies_beside_it(tmp_path):
    folder = made_up.run(tmp_path / "mine", FLAGS)
    (tmp_path / "all").mkdir()
    for link in ("latest", "z", "all/other"):
        (tmp_path / link).symlink_to(folder)
    assert [run.name for run in read_runs(tmp_path)] == ["mine"]
    (run,) = read_runs(tmp_path / "all")
    assert (run.name, run.path) == ("other", tmp_path / "all" / "other")


def test_a_run_is_found_in_its_own_folder_and_up_to_two_levels_above(tmp_path, monkeypatch):
    for name in ("mine", "a/mine", "b/mine", "b/far/away"):
        made_up.run(tmp_path / name, FLAGS)
    monkeypatch.chdir(tmp_path / "b" / "mine")
    for folder, names in (
        (tmp_path, ["a/mine", "b/mine", "mine"]),
        (tmp_path / "b" / "far" / "..", ["far/away", "mine"]),
        (tmp_path / "b" / "mine", ["mine"]),
        (pathlib.Path("."), ["mine"]),
    ):
        assert [run.name for run in read_runs(folder)] == names


def test_a_folder_that_is_not_there_is_refused(tmp_path, capsys):
    (tmp_path / "README.md").write_text("no results")
    for name in ("nowhere", "README.md"):
        assert main([str(tmp_path / name)]) == 2
        assert f"{name} is no folder" in capsys.readouterr().err


def test_a_resumed_run_has_each_point_once(tmp_path):
    """Its files are read in order of time; where one starts, the points of earlier ones end."""
    files = [
        (made_up.FIRST, {0: 0.2, 10: 0.4, 20: 0.6, 30: 0.8}, None),
        ("events.out.tfevents.1790000000.host.7.0", {20: 0.0, 40: 0.4}, 20),
        ("events.out.tfevents.1790000100.host.6.0", {30: 1.0}, 25),
    ]
    for name, points, start in reversed(files):
        made_up.event_file(tmp_path / "test" / name, points, start)
    curve = read_curve(tmp_path)
    points = dict(zip(curve.iterations.tolist(), curve.accuracy["test"].round(1)))
    assert points == {0: 0.2, 10: 0.4, 20: 0.0, 30: 1.0}


def test_points_before_the_damage_are_used(tmp_path, capsys):
    made_up.events(tmp_path, range(0, 1000, 10))
    path, whole = tmp_path / "test" / made_up.FIRST, range(0, 1000, 10)
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    assert list(read_curve(tmp_path).iterations) == list(whole[:-1])
    path.write_bytes(content[:1000] + b"\xff" * 1000 + content[2000:])
    assert 0 < len(read_curve(tmp_path).iterations) < 99
    assert capsys.readouterr().err.count(f"{path} is damaged") == 2
