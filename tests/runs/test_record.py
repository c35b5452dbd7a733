"""Run directories: their record, and who holds them."""

import dataclasses
import errno
import json
import pathlib

import pytest
import tensorflow as tf

from supervised_reptile import plan
from supervised_reptile.args import Config
from supervised_reptile.runs import record
from supervised_reptile.system import files
from supervised_reptile.system.errors import RefusedError

DATA = {"origin": {"source": "https://example.org"}, "digest": "12ab"}


@pytest.fixture
def recorded(tmp_path):
    flags = {"shots": 1, "foml": True, "foml_tail": 3, "seed": 9, "checkpoint": str(tmp_path)}
    config = Config.of("omniglot", flags)
    return record.Record(config, {"train": ["b/2", "a/1"], "test": ["c/3"]}, DATA)


def put_checkpoint(directory, number):
    (directory / f"model.ckpt-{number}.index").touch()


def test_a_record_is_read_as_it_was_written(tmp_path, recorded):
    record.begin(recorded)
    assert record.read(tmp_path) == recorded


def test_a_record_from_before_data_had_a_digest_is_read(tmp_path, recorded):
    record.begin(recorded)
    content = json.loads((tmp_path / "run.json").read_text())
    del content["data"]
    (tmp_path / "run.json").write_text(json.dumps(content))
    assert record.read(tmp_path) == dataclasses.replace(recorded, data={})


def test_the_authors_directories_have_no_record(tmp_path):
    assert record.read(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"dataset": "omniglot"}', '{"flags": 1}'])
def test_a_damaged_record_is_refused_by_name(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RefusedError, match=r"run\.json"):
        record.read(tmp_path)


STATES = ["model.ckpt-900", "{folder}/model.ckpt-900", "model.ckpt", "foo-12", "größe-3"]


@pytest.mark.parametrize("name", STATES)
def test_the_state_file_says_which_checkpoint_is_the_newest_as_to_tensorflow(tmp_path, name):
    for number in (900, 1000):
        put_checkpoint(tmp_path, number)
    for other in STATES[2:]:
        (tmp_path / f"{other}.index").touch()
    named = name.format(folder=tmp_path)
    tf.compat.v1.train.update_checkpoint_state(str(tmp_path), named, [named])
    found = record.find_checkpoint(tmp_path)
    assert str(found) == tf.train.latest_checkpoint(str(tmp_path))
    assert found == record.stated(tmp_path) and "up to model.ckpt-1000" in record.doubt(tmp_path)


def test_a_state_file_that_was_copied_with_its_folder_is_read(tmp_path):
    put_checkpoint(tmp_path, 900)
    put_checkpoint(tmp_path, 1000)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "/gone/model.ckpt-900"\n')
    assert record.find_checkpoint(tmp_path) == tmp_path / "model.ckpt-900"


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\xff", b'model_checkpoint_path: "\\x"'])
def test_a_state_file_that_says_nothing_is_as_good_as_none(tmp_path, content):
    put_checkpoint(tmp_path, 900)
    (tmp_path / "checkpoint").write_bytes(content)
    assert record.find_checkpoint(tmp_path) == tmp_path / "model.ckpt-900"
    assert record.doubt(tmp_path) is None


def test_a_state_file_may_name_what_is_gone(tmp_path):
    put_checkpoint(tmp_path, 900)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1000"\n')
    assert record.find_checkpoint(tmp_path) == tmp_path / "model.ckpt-900"
    assert "model.ckpt-1000 as the newest, but that is not there" in record.doubt(tmp_path)


def test_where_the_newest_is_the_highest_nothing_is_doubted(tmp_path):
    put_checkpoint(tmp_path, 900)
    put_checkpoint(tmp_path, 1000)
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1000"\n')
    assert record.doubt(tmp_path) is None
    assert record.doubt(tmp_path / "model.ckpt-900") is None  # named: nothing was to be found


@pytest.mark.parametrize("prefix", ["model.ckpt", "foo", "bar-12", "model.ckpt-7"])
@pytest.mark.parametrize("end", ["", ".index", ".meta", ".data-00000-of-00001"])
def test_a_checkpoint_is_named_by_any_prefix_or_by_one_of_its_files(tmp_path, prefix, end):
    (tmp_path / f"{prefix}.index").touch()
    assert record.find_checkpoint(f"{tmp_path}/{prefix}{end}") == tmp_path / prefix


@pytest.mark.parametrize(
    ("name", "number"), [("model.ckpt", None), ("foo", None), ("bar-12", 12), ("model.ckpt-0", 0)]
)
def test_the_number_is_in_the_name_if_it_is_known(name, number):
    assert record.number(pathlib.Path("a-7", name)) == number


@pytest.mark.parametrize("name", ["model.ckpt-999", "foo", "model.ckpt", "model.ckpt-999.index"])
def test_where_a_checkpoint_is_not_those_that_are_there_are_named(tmp_path, name):
    for number in (9, 100, 20):
        put_checkpoint(tmp_path, number)
    with pytest.raises(RefusedError, match=r"model.ckpt-9, model.ckpt-20, model.ckpt-100: name"):
        record.find_checkpoint(tmp_path / name)
    for number in range(1000, 1020):
        put_checkpoint(tmp_path, number)
    with pytest.raises(RefusedError) as caught:
        record.find_checkpoint(tmp_path / name)
    assert "..., model.ckpt-1010, " in str(caught.value) and len(str(caught.value)) < 700


def test_a_folder_with_other_names_and_no_state_file_names_them(tmp_path):
    (tmp_path / "foo.index").touch()
    with pytest.raises(RefusedError, match=r"model\.ckpt-<number> in .*, but foo: name"):
        record.find_checkpoint(tmp_path)


def test_a_system_without_files_is_not_blamed_on_the_record(tmp_path, recorded, monkeypatch):
    record.begin(recorded)

    def read_text(path):
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    monkeypatch.setattr(pathlib.Path, "read_text", read_text)
    with pytest.raises(OSError, match="Too many open files"):
        record.read(tmp_path)


def test_without_a_state_file_the_newest_checkpoint_is_found_by_number(tmp_path):
    for number in (900, 1000, 99):
        put_checkpoint(tmp_path, number)
    assert record.find_checkpoint(tmp_path) == tmp_path / "model.ckpt-1000"


def test_one_checkpoint_can_be_named(tmp_path):
    put_checkpoint(tmp_path, 900)
    put_checkpoint(tmp_path, 1000)
    assert record.find_checkpoint(tmp_path / "model.ckpt-900") == tmp_path / "model.ckpt-900"


@pytest.mark.parametrize("name", ["", "nothing", "model.ckpt-901"])
def test_no_checkpoint_is_refused(tmp_path, name):
    with pytest.raises(RefusedError, match="no checkpoint in"):
        record.find_checkpoint(tmp_path / name)


def test_two_runs_cannot_hold_one_directory(tmp_path, recorded):
    with (
        record.claim(tmp_path, None),
        pytest.raises(RefusedError, match="another process is training there"),
        record.claim(tmp_path, None),
    ):
        pass
    with record.claim(tmp_path, None):
        record.begin(recorded)
    # It was there when the images had been read, but not before.
    with pytest.raises(RefusedError, match="has just started"), record.claim(tmp_path, None):
        pass
    with record.claim(tmp_path, recorded):
        pass


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, capsys):
    def flock(file, operation):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(files.fcntl, "flock", flock)
    with record.claim(tmp_path, None):
        assert "cannot be locked (Operation not supported)" in capsys.readouterr().err


def test_a_run_that_leaves_before_its_first_checkpoint_gives_the_directory_up(tmp_path, recorded):
    with pytest.raises(KeyboardInterrupt), record.claim(tmp_path, None):
        record.begin(recorded)
        raise KeyboardInterrupt
    plan.check_free(tmp_path)
    with pytest.raises(KeyboardInterrupt), record.claim(tmp_path, None):
        record.begin(recorded)
        put_checkpoint(tmp_path, 0)
        raise KeyboardInterrupt
    assert record.read(tmp_path) == recorded


def test_what_a_killed_process_was_writing_is_removed(tmp_path):
    for name in ("run.json.tmp", "model.ckpt.tmp.index", "evaluation.json.tmp"):
        (tmp_path / name).touch()
    with record.claim(tmp_path, None):
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_foreign_files_stay(tmp_path, recorded):
    (tmp_path / "notes.tmp.txt").touch()
    (tmp_path / "folder.tmp").mkdir()
    (tmp_path / "run.json.tmp").touch()
    with record.claim(tmp_path, None):
        record.begin(recorded)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"notes.tmp.txt", "folder.tmp", "lock", "run.json"}


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("eval_iters", None, "it lacks eval_iters"),
        ("shots", 1.5, "shots is 1.5"),
        ("sgd", "yes", "sgd is 'yes'"),
        ("foml_tail", 0.5, "foml_tail is 0.5"),
    ],
)
def test_a_record_that_was_changed_by_hand_is_refused(tmp_path, flag, value, reason):
    config = Config.of("omniglot", {"checkpoint": str(tmp_path)})
    record.begin(record.Record(config, {"train": ["a"], "test": ["b"]}, {}))
    content = json.loads((tmp_path / "run.json").read_text())
    content["flags"].pop(flag)
    if value is not None:
        content["flags"][flag] = value
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(RefusedError, match=f"run.json is not a complete record .*{reason}"):
        record.read(tmp_path)


def test_a_class_for_training_is_none_for_testing(tmp_path):
    config = Config.of("omniglot", {"checkpoint": str(tmp_path)})
    record.begin(record.Record(config, {"train": ["a", "b"], "test": ["b"]}, {}))
    with pytest.raises(RefusedError, match="a class is in two sets"):
        record.read(tmp_path)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("shots", 0),
        ("eval_samples", 0),
        ("eval_batch", -3),
        ("learning_rate", float("nan")),
        ("learning_rate", -1.0),
        ("label_smoothing", 0.5),
    ],
)
def test_a_record_with_what_no_command_line_takes_is_refused(tmp_path, recorded, flag, value):
    record.begin(recorded)
    content = json.loads((tmp_path / "run.json").read_text())
    content["flags"][flag] = value
    (tmp_path / "run.json").write_text(json.dumps(content))
    with pytest.raises(RefusedError, match=f"run.json is not a complete record .*{flag}"):
        record.read(tmp_path)


@pytest.mark.parametrize("seconds", ["1e999", "-1", "NaN"])
def test_seconds_that_make_no_sense_are_not_known(tmp_path, seconds):
    (tmp_path / "seconds.json").write_text(f'{{"training": {seconds}}}')
    assert record.training_seconds(tmp_path, started=True) is None
