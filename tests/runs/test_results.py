"""Results: their lines, their record, and those of an evaluation under way."""

import json
import resource
import signal

import pytest

from supervised_reptile.args import Config
from supervised_reptile.learning.accuracy import Accuracy, SetResult, summarize
from supervised_reptile.runs import results
from supervised_reptile.runs.results import Tally

CIRCUMSTANCES = {"data": {"digest": "12ab"}, "seconds": {"training": 2.5}, "machine": {}}


def result(mean, confidence, tasks, together=None):
    """A SetResult with both columns alike, but for the second mean."""
    transductive = Accuracy(mean if together is None else together, confidence, tasks)
    return SetResult(Accuracy(mean, confidence, tasks), transductive)


def append(folder, iteration, found, **flags):
    results.append(folder, Config.of("omniglot", flags), iteration, found, CIRCUMSTANCES)


def test_each_evaluation_is_one_line_with_the_whole_configuration(tmp_path):
    found = {"train": result(0.9, 0.01, 50, together=0.95), "test": result(0.8, None, 1)}
    flags = {"shots": 1, "foml": True, "foml_tail": 3, "seed": 9}
    for iteration in (None, 1499):
        append(tmp_path, iteration, found, **flags)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [None, 1499]
    for line in lines:
        assert line["accuracy"] == {"train": 0.9, "test": 0.8}
        assert line["confidence_95"] == {"train": 0.01, "test": None}
        assert line["transductive"]["accuracy"] == {"train": 0.95, "test": 0.8}
        assert line["transductive"]["confidence_95"] == {"train": 0.01, "test": None}
        assert line == line | CIRCUMSTANCES
        assert Config.of(line["dataset"], line["config"]) == Config.of("omniglot", flags)


def test_results_that_cannot_be_written_fail_a_run_and_not_an_evaluation(tmp_path, capsys):
    (tmp_path / "results.jsonl").mkdir()  # Works for root, whom permissions do not stop.
    found = {"test": result(0.8, 0.1, 9)}
    with pytest.raises(OSError, match="not recorded"):
        append(tmp_path, 1, found)
    append(tmp_path, 1, found, pretrained=True)
    assert "not recorded" in capsys.readouterr().err


def test_the_results_of_a_finished_run_are_found(tmp_path):
    flags = {"meta_iters": 8, "eval_samples": 50}
    both, test = (Config.of("omniglot", {**flags, "eval_sets": sets}) for sets in ("all", "test"))
    others, own = ({"test": result(mean, 0.01, 50)} for mean in (0.1, 0.4))
    assert results.of_finished(tmp_path, test) is None
    append(tmp_path, 7, others, **flags, pretrained=True)
    append(tmp_path, 3, others, **flags, pretrained=True)
    append(tmp_path, 7, others, meta_iters=8, eval_samples=20)
    assert results.of_finished(tmp_path, test) is None
    with open(tmp_path / "results.jsonl", "a") as file:
        file.write('{"iteration": 7, "acc')  # as a full disk leaves it
    append(tmp_path, 7, own, **flags)
    assert results.of_finished(tmp_path, both) is None  # it lacks training characters
    assert results.of_finished(tmp_path, test) == own


def test_both_columns_are_printed_unless_the_second_is_reported(capsys):
    """The lines of the original program stay; ours begin with two spaces and say the kind."""
    found = SetResult(Accuracy(2 / 3, 0.16, 3), Accuracy(14 / 15, 0.098, 3))
    results.show("test", found, transductive=False)
    assert capsys.readouterr().out == (
        "Test accuracy: 0.6666666666666666\n"
        "  +/- 0.16000 (95% confidence over 3 tasks, not transductive)\n"
        "  transductive: 0.93333 +/- 0.09800\n"
    )
    single = summarize([[3, 4]], 5, transductive=True)
    for found, line in (
        (SetResult(Accuracy(0.6, 0.16, 3)), "+/- 0.16000 (95% confidence over 3 tasks"),
        (single, "(1 task"),
    ):
        results.show("test", found, transductive=True)
        assert capsys.readouterr().out == f"Test accuracy: 0.6\n  {line}, transductive)\n"


def test_a_line_that_the_disk_has_no_room_for_leaves_none(tmp_path):
    found = {"test": result(0.8, 0.1, 9)}
    append(tmp_path, 1, found)
    path = tmp_path / "results.jsonl"
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(OSError, match="No space left"):
            append(tmp_path, 2, found)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert path.read_bytes() == before


def test_an_evaluation_goes_on_where_it_was_kept(tmp_path):
    path, of = tmp_path / "evaluation.json", [99, 2]
    tally = Tally(tmp_path, of)
    tally.correct["FINAL_TRAIN"].extend([[3, 4], [1, 1]])
    tally.keep()
    assert not path.exists()  # not yet: every few seconds is enough
    tally.keep(at_once=True)
    path.write_text(json.dumps({**json.loads(path.read_text()), "seconds": 1000}))
    assert 1000 <= Tally(tmp_path, of).seconds() < 1001
    for part, parts in (({"commit": "abc"}, [None, {"commit": "abc"}]), (None, [None])):
        again = Tally(tmp_path, of, part)
        assert (again.correct, again.parts) == ({"FINAL_TRAIN": [[3, 4], [1, 1]]}, parts)
    assert Tally(tmp_path, [98, 2]).correct == {}
    path.write_text("{")
    assert Tally(tmp_path, of).correct == {}
    tally.remove()
    assert list(tmp_path.iterdir()) == []
