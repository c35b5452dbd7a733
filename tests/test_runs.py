"""Run directories: their record, their results, what is refused."""

import dataclasses
import json

import pytest

from supervised_reptile import runs
from supervised_reptile.args import Config
from supervised_reptile.errors import RefusedError
from supervised_reptile.eval import Accuracy

DATA = {"origin": {"source": "https://example.org"}, "digest": "12ab"}


@pytest.fixture
def record(tmp_path):
    flags = {"shots": 1, "foml": True, "foml_tail": 3, "seed": 9, "checkpoint": str(tmp_path)}
    config = Config.of("omniglot", flags)
    return runs.Record(config, {"train": ["b/2", "a/1"], "test": ["c/3"]}, DATA)


def put_checkpoint(directory, number):
    (directory / f"model.ckpt-{number}.index").touch()


def test_a_record_is_read_as_it_was_written(tmp_path, record):
    with runs.claim(record):
        assert runs.read_record(tmp_path) == record
    assert runs.read_record(tmp_path) == record


def test_a_record_from_before_data_had_a_digest_is_read(tmp_path, record):
    with runs.claim(record):
        content = json.loads((tmp_path / "run.json").read_text())
    del content["data"]
    (tmp_path / "run.json").write_text(json.dumps(content))
    assert runs.read_record(tmp_path) == dataclasses.replace(record, data={})


def test_the_authors_directories_have_no_record(tmp_path):
    assert runs.read_record(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"dataset": "omniglot"}', '{"flags": 1}'])
def test_a_damaged_record_is_refused_by_name(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RefusedError, match=r"run\.json"):
        runs.read_record(tmp_path)


def test_the_newest_checkpoint_is_found_by_number(tmp_path):
    for number in (900, 1000, 99):
        put_checkpoint(tmp_path, number)
    assert runs.find_checkpoint(tmp_path) == tmp_path / "model.ckpt-1000"


def test_one_checkpoint_can_be_named(tmp_path):
    put_checkpoint(tmp_path, 900)
    put_checkpoint(tmp_path, 1000)
    assert runs.find_checkpoint(tmp_path / "model.ckpt-900") == tmp_path / "model.ckpt-900"


@pytest.mark.parametrize("name", ["", "nothing", "model.ckpt-901"])
def test_no_checkpoint_is_refused(tmp_path, name):
    with pytest.raises(RefusedError, match="no checkpoint in"):
        runs.find_checkpoint(tmp_path / name)


def test_training_refuses_a_directory_that_holds_a_run(tmp_path, record):
    runs.check_free(tmp_path)
    runs.check_free(tmp_path / "new")
    with runs.claim(record), pytest.raises(RefusedError, match="already holds a run"):
        runs.check_free(tmp_path)
    (tmp_path / "run.json").unlink()
    put_checkpoint(tmp_path, 0)
    with pytest.raises(RefusedError, match="already holds a run"):
        runs.check_free(tmp_path)


def test_training_refuses_a_directory_with_results(tmp_path, record):
    runs.append_result(tmp_path, record.config, None, {"test": Accuracy(0.2, None, 1)}, DATA)
    with pytest.raises(RefusedError, match="already holds a run"):
        runs.check_free(tmp_path)


def test_a_directory_that_is_a_file_or_below_one_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match="is a file"):
        runs.check_free(tmp_path / "file")
    config = Config.of("omniglot", {"checkpoint": str(tmp_path / "file" / "below")})
    with (
        pytest.raises(RefusedError, match="cannot be written"),
        runs.claim(runs.Record(config, {}, {})),
    ):
        pass


def test_two_runs_cannot_begin_in_one_directory(record):
    with (
        runs.claim(record),
        pytest.raises(RefusedError, match="another run has just begun"),
        runs.claim(record),
    ):
        pass


def test_a_run_that_leaves_before_its_first_checkpoint_gives_the_directory_up(tmp_path, record):
    with pytest.raises(KeyboardInterrupt), runs.claim(record):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), runs.claim(record):
        put_checkpoint(tmp_path, 0)
        raise KeyboardInterrupt
    assert runs.read_record(tmp_path) == record


def test_each_evaluation_is_one_line_with_the_whole_configuration(tmp_path, record):
    accuracies = {"train": Accuracy(0.9, 0.01, 50), "test": Accuracy(0.8, None, 1)}
    for iteration in (None, 1499):
        runs.append_result(tmp_path, record.config, iteration, accuracies, DATA)
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [None, 1499]
    for line in lines:
        assert line["accuracy"] == {"train": 0.9, "test": 0.8}
        assert line["data"] == DATA
        assert line["confidence_95"] == {"train": 0.01, "test": None}
        assert Config.of(line["dataset"], line["config"]) == record.config
        assert {"python", "tensorflow", "numpy", "pillow"} <= set(line["versions"])


def test_results_that_cannot_be_written_are_a_warning(tmp_path, record, capsys):
    (tmp_path / "results.jsonl").mkdir()  # Works for root, whom permissions do not stop.
    runs.append_result(tmp_path, record.config, 1, {"test": Accuracy(0.8, 0.1, 9)}, DATA)
    assert "not recorded" in capsys.readouterr().err
