"""Folders of runs are read, whatever is damaged in them."""

import json
import pathlib

import made_up
import pytest

from supervised_reptile.report.reading import Score, read_runs
from supervised_reptile.system.errors import RefusedError

FLAGS = made_up.flags_of(made_up.CELL["o15"].setting)


def test_a_run_is_read(tmp_path):
    folder = made_up.run(tmp_path / "mine", FLAGS, [made_up.line(FLAGS, 95.4, 97.7)])
    made_up.events(folder, range(0, 1000, 100))
    (run,) = read_runs(tmp_path)
    assert (run.name, run.total, run.seed, run.finished) == ("mine", 100_000, 0, True)
    (evaluation,) = run.evaluations
    assert evaluation.column(False) == {"test": Score(pytest.approx(95.4), pytest.approx(0.1))}
    assert evaluation.column(True)["test"].percent == pytest.approx(97.7)
    assert (run.seconds, evaluation.seconds, evaluation.tasks) == (7200, 600, 10_000)


def test_the_folder_of_one_run_is_read_too(tmp_path):
    folder = made_up.run(tmp_path / "mine", FLAGS)
    assert [run.name for run in read_runs(folder)] == ["mine"]


def test_an_unfinished_run_says_how_far_it_is(tmp_path):
    folder = made_up.run(tmp_path / "a", FLAGS)
    made_up.events(folder, range(0, 1000, 100))
    made_up.run(tmp_path / "b", FLAGS, [made_up.line(FLAGS, 40, iteration=4999)])
    made_up.run(tmp_path / "c", FLAGS)
    runs = read_runs(tmp_path)
    assert [(run.done, run.finished) for run in runs] == [(901, False), (5000, False), (0, False)]


def test_lines_of_earlier_versions_lack_much(tmp_path):
    line = made_up.line(FLAGS, 95.4)
    for name in ("data", "machine", "seconds", "commit"):
        del line[name]
    made_up.run(tmp_path / "old", FLAGS, [line])
    (evaluation,) = read_runs(tmp_path)[0].evaluations
    assert (evaluation.column(True), evaluation.seconds, evaluation.commit) == (None, None, None)


def test_the_time_of_training_that_is_still_going_on_is_known(tmp_path):
    folder = made_up.run(tmp_path / "a", FLAGS)
    (folder / "seconds.json").write_text('{"training": 62.5}')
    assert read_runs(tmp_path)[0].seconds == 62.5


def test_of_a_transductive_evaluation_one_column_is_known(tmp_path):
    flags = {**FLAGS, "transductive": True}
    made_up.run(tmp_path / "a", flags, [made_up.line(flags, 97.7)])
    (evaluation,) = read_runs(tmp_path)[0].evaluations
    assert evaluation.column(False) is None
    assert evaluation.column(True)["test"].percent == pytest.approx(97.7)


GOOD = made_up.line(FLAGS, 95.4)
DAMAGED = [
    json.dumps(GOOD)[:100],
    "",
    "[]",
    "null",
    "[" * 100_000,
    json.dumps({**GOOD, "config": []}),
    json.dumps({**GOOD, "config": {**FLAGS, "eval_samples": "many"}}),
    json.dumps({**GOOD, "iteration": "last"}),
    json.dumps({**GOOD, "accuracy": {"test": "high"}}),
    json.dumps({**GOOD, "accuracy": {"test": 95.4}}),
    json.dumps({**GOOD, "accuracy": {"test": float("nan")}}),
    json.dumps({**GOOD, "accuracy": {}}),
    json.dumps({**GOOD, "confidence_95": {}}),
    json.dumps({**GOOD, "transductive": 3}),
    json.dumps({**GOOD, "seconds": {"training": "long"}}),
    json.dumps({**GOOD, "machine": "mine"}),
]


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_line_is_named_and_the_others_are_used(tmp_path, text, capsys):
    folder = made_up.run(tmp_path / "mine", FLAGS, [GOOD, text, GOOD])
    assert len(read_runs(tmp_path)[0].evaluations) == 2
    said = capsys.readouterr().err
    assert f"{folder / 'results.jsonl'}, line 2 is damaged" in said
    assert said.count("\n") == 1


def test_bytes_that_are_no_text_are_a_damaged_line(tmp_path, capsys):
    folder = made_up.run(tmp_path / "mine", FLAGS, [GOOD])
    with open(folder / "results.jsonl", "ab") as file:
        file.write(b"\xff\xfe\n")
    assert len(read_runs(tmp_path)[0].evaluations) == 1
    assert "line 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", "[" * 100_000, '{"dataset": "omniglot", "flags": {}}', "3"]
)
def test_a_damaged_record_is_named_and_other_runs_are_read(tmp_path, text, capsys):
    made_up.run(tmp_path / "bad", FLAGS)
    made_up.run(tmp_path / "good", FLAGS)
    (tmp_path / "bad" / "run.json").write_text(text)
    assert [run.name for run in read_runs(tmp_path)] == ["good"]
    assert str(tmp_path / "bad" / "run.json") in capsys.readouterr().err


@pytest.mark.parametrize("seed", ["first", 1.5, None, True, [1]])
def test_a_seed_that_is_no_whole_number_is_a_damaged_record(tmp_path, seed, capsys):
    made_up.run(tmp_path / "bad", {**FLAGS, "seed": seed})
    made_up.run(tmp_path / "good", FLAGS)
    assert [run.name for run in read_runs(tmp_path)] == ["good"]
    assert "seed is no whole number" in capsys.readouterr().err


@pytest.mark.parametrize("commit", ["0123456789abcdef", None])
def test_the_commit_of_training_is_read(tmp_path, commit):
    made_up.run(tmp_path / "new", FLAGS, commit=commit)
    made_up.run(tmp_path / "old", FLAGS)
    assert [run.commit for run in read_runs(tmp_path)] == [commit, None]


def test_a_linked_run_has_the_name_of_the_link(tmp_path):
    folder = made_up.run(tmp_path / "elsewhere" / "target", FLAGS)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "mine").symlink_to(folder)
    (run,) = read_runs(tmp_path / "runs")
    assert (run.name, run.path) == ("mine", tmp_path / "runs" / "mine")


def test_the_folder_that_one_is_in_has_its_name(tmp_path, monkeypatch):
    folder = made_up.run(tmp_path / "mine", FLAGS)
    (folder / "inner").mkdir()
    for place, given in ((folder, "."), (folder / "inner", "..")):
        monkeypatch.chdir(place)
        assert [run.name for run in read_runs(pathlib.Path(given))] == ["mine"]


def test_the_time_of_training_is_not_that_of_an_earlier_checkpoint(tmp_path):
    early = made_up.line(FLAGS, 60, iteration=499, seconds={"training": 60, "evaluation": 1})
    made_up.run(tmp_path / "mine", FLAGS, [made_up.line(FLAGS, 95.4), early])
    assert read_runs(tmp_path)[0].seconds == 7200


def test_damaged_seconds_are_named(tmp_path, capsys):
    folder = made_up.run(tmp_path / "mine", FLAGS)
    (folder / "seconds.json").write_text('{"training": "long"}')
    assert read_runs(tmp_path)[0].seconds is None
    assert "seconds.json" in capsys.readouterr().err


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RefusedError, match="no folder"):
        read_runs(tmp_path / "nowhere")
