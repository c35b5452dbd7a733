"""Run directories: their record, their results, what is refused."""

import dataclasses
import errno
import json

import pytest

from supervised_reptile import runs
from supervised_reptile.args import Config
from supervised_reptile.errors import RefusedError

DATA = {"origin": {"source": "https://example.org"}, "digest": "12ab"}


@pytest.fixture
def record(tmp_path):
    flags = {"shots": 1, "foml": True, "foml_tail": 3, "seed": 9, "checkpoint": str(tmp_path)}
    config = Config.of("omniglot", flags)
    return runs.Record(config, {"train": ["b/2", "a/1"], "test": ["c/3"]}, DATA)


def put_checkpoint(directory, number):
    (directory / f"model.ckpt-{number}.index").touch()


def test_a_record_is_read_as_it_was_written(tmp_path, record):
    runs.begin(record)
    assert runs.read_record(tmp_path) == record


def test_a_record_from_before_data_had_a_digest_is_read(tmp_path, record):
    runs.begin(record)
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
    runs.begin(record)
    with pytest.raises(RefusedError, match=r"already holds a run.*--resume"):
        runs.check_free(tmp_path)
    (tmp_path / "run.json").unlink()
    put_checkpoint(tmp_path, 0)
    with pytest.raises(RefusedError, match="already holds a run"):
        runs.check_free(tmp_path)


def test_training_refuses_a_directory_with_results(tmp_path):
    (tmp_path / "results.jsonl").touch()
    with pytest.raises(RefusedError, match="already holds a run"):
        runs.check_free(tmp_path)


def test_a_directory_that_is_a_file_or_below_one_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match="is a file"):
        runs.check_free(tmp_path / "file")
    with (
        pytest.raises(RefusedError, match="cannot be written"),
        runs.claim(tmp_path / "file" / "below", None),
    ):
        pass


def test_two_runs_cannot_hold_one_directory(tmp_path, record):
    with (
        runs.claim(tmp_path, None),
        pytest.raises(RefusedError, match="another run is at work there"),
        runs.claim(tmp_path, None),
    ):
        pass
    with runs.claim(tmp_path, None):
        runs.begin(record)
    # It was there when the images had been read, but not before.
    with pytest.raises(RefusedError, match="has just begun"), runs.claim(tmp_path, None):
        pass
    with runs.claim(tmp_path, record):
        pass


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, capsys):
    def flock(file, operation):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(runs.fcntl, "flock", flock)
    with runs.claim(tmp_path, None):
        assert "cannot be locked (Operation not supported)" in capsys.readouterr().err


def test_a_run_that_leaves_before_its_first_checkpoint_gives_the_directory_up(tmp_path, record):
    with pytest.raises(KeyboardInterrupt), runs.claim(tmp_path, None):
        runs.begin(record)
        raise KeyboardInterrupt
    runs.check_free(tmp_path)
    with pytest.raises(KeyboardInterrupt), runs.claim(tmp_path, None):
        runs.begin(record)
        put_checkpoint(tmp_path, 0)
        raise KeyboardInterrupt
    assert runs.read_record(tmp_path) == record


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    for name in ("run.json.tmp", "model.ckpt.tmp.index", "evaluation.json.tmp"):
        (tmp_path / name).touch()
    with runs.claim(tmp_path, None):
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_other_versions_of_what_computes_are_refused_with_both(record):
    runs.check_versions(record)
    older = dataclasses.replace(record, versions={**record.versions, "tensorflow": "2.20.0"})
    with pytest.raises(RefusedError, match=r"tensorflow 2\.20\.0, and this is .*==2\.20\.0"):
        runs.check_versions(older)
    runs.check_versions(dataclasses.replace(record, versions={**record.versions, "pillow": "9"}))


def test_other_images_are_refused_with_both_digests(record):
    runs.check_images(record.config, record, {"origin": {"source": "elsewhere"}, "digest": "12ab"})
    with pytest.raises(RefusedError, match=r"--data-dir data/omniglot: .*34cd.*12ab"):
        runs.check_images(record.config, record, {**DATA, "digest": "34cd"})


def test_another_machine_is_a_warning(record, capsys):
    here = runs.machine("/job:localhost/replica:0/task:0/device:CPU:0")
    assert here["device"] == "CPU" and here["cpu"] and here["cores"] >= 1
    runs.warn_of_machine(dataclasses.replace(record, machine=here), here)
    assert capsys.readouterr().err == ""
    runs.warn_of_machine(dataclasses.replace(record, machine={**here, "cores": 77}), here)
    err = capsys.readouterr().err
    assert f"cores {here['cores']} instead of 77" in err and err.count("\n") == 1


def test_foreign_files_stay(tmp_path, record):
    (tmp_path / "notes.tmp.txt").touch()
    (tmp_path / "folder.tmp").mkdir()
    (tmp_path / "run.json.tmp").touch()
    with runs.claim(tmp_path, None):
        runs.begin(record)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"notes.tmp.txt", "folder.tmp", "lock", "run.json"}
