"""Run directories: their record, their checkpoints, and who holds them."""

import dataclasses
import errno
import json
import os
import pathlib

import pytest
import tensorflow as tf

from supervised_reptile import plan
from supervised_reptile.args import Config
from supervised_reptile.runs import record
from supervised_reptile.system.errors import FailedError, RefusedError

MODELS = pathlib.Path(__file__).parents[2] / "experiments" / "models"
DATA = {"origin": {"source": "https://example.org"}, "digest": "12ab"}
SPLIT = {"train": ["b/2", "a/1"], "test": ["caf\u00e9"]}


@pytest.fixture
def recorded(tmp_path):
    flags = {"shots": 1, "foml": True, "foml_tail": 3, "seed": 9, "checkpoint": str(tmp_path)}
    config = Config.of("omniglot", flags)
    return record.Record(config, SPLIT, DATA, **record.part({}))


def put_checkpoints(directory, *names):
    for name in names:
        (directory / f"model.ckpt-{name}.index").touch()


def change(directory, **flags):
    """Change flags in a record by hand; None: leave them out."""
    content = json.loads((directory / "run.json").read_text())
    changed = {**content["flags"], **flags}
    content["flags"] = {name: value for name, value in changed.items() if value is not None}
    (directory / "run.json").write_text(json.dumps(content))


def test_a_record_is_read_as_it_was_written_with_composed_names(tmp_path, recorded):
    """Names of classes, as those of folders are."""
    assert record.read(tmp_path) is None  # as in the directories of the authors' program
    for name in ("caf\u00e9", "cafe\u0301"):
        record.begin(dataclasses.replace(recorded, split={**SPLIT, "test": [name]}))
        assert record.read(tmp_path) == recorded


@pytest.mark.parametrize("folder", sorted(MODELS.iterdir()), ids=lambda folder: folder.name)
def test_the_records_of_the_models_of_version_0_2_0_are_read(folder):
    """Newer flags have their defaults."""
    config = record.read(folder).config
    assert config.flags().keys() >= {"shots", "inner_iters", "seed"}
    sets = {"omniglot": ["train", "test"], "miniimagenet": ["train", "val", "test"]}
    assert config.final_sets == sets[config.dataset] and config.run.rotations


@pytest.mark.parametrize("content", ["", "{", "[]", '{"dataset": "omniglot"}', '{"flags": 1}'])
def test_a_damaged_record_is_refused_by_name(tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(RefusedError, match=r"run\.json is not a complete record"):
        record.read(tmp_path)


@pytest.mark.parametrize(
    ("flag", "value", "reason"),
    [
        ("eval_iters", None, "it lacks eval_iters"),
        ("shots", 1.5, "shots is 1.5"),
        ("label_smoothing", 0.5, "it has label_smoothing, which this version does not know"),
    ],
)
def test_a_record_that_was_changed_by_hand_is_refused(tmp_path, recorded, flag, value, reason):
    record.begin(recorded)
    change(tmp_path, **{flag: value})
    with pytest.raises(RefusedError, match=f"run.json is not a complete record .*{reason}"):
        record.read(tmp_path)


@pytest.mark.parametrize("split", [{"train": ["a"], "test": ["a"]}, {"test": ["a", "a"]}])
def test_a_record_with_a_class_twice_is_refused(tmp_path, recorded, split):
    record.begin(dataclasses.replace(recorded, split=split))
    with pytest.raises(RefusedError, match="a class is in two sets, or twice in one"):
        record.read(tmp_path)


@pytest.mark.parametrize("flag", record.ADDED)
def test_a_flag_that_is_newer_than_a_record_has_its_default(tmp_path, recorded, flag):
    record.begin(recorded)
    change(tmp_path, **{flag: None})
    assert record.read(tmp_path) == recorded


def test_a_run_that_goes_on_elsewhere_records_each_part_once(tmp_path, recorded):
    record.begin(recorded)
    own = record.part(recorded.machine)
    later = [own | {"machine": {"cores": cores}, "commit": "abc"} for cores in (1, 2)]
    for part in (own, *later, *later):
        record.add_part(tmp_path, part)
    content = json.loads((tmp_path / "run.json").read_text())
    assert content["parts"] == later and later[0]["versions"] == content["versions"]
    assert record.read(tmp_path) == recorded


STATES = ["model.ckpt-900", "{folder}/model.ckpt-900", "model.ckpt", "foo-12"]


@pytest.mark.parametrize("name", STATES)
def test_the_state_file_says_which_checkpoint_is_the_newest_as_to_tensorflow(tmp_path, name):
    put_checkpoints(tmp_path, 900, 1000)
    for other in STATES[2:]:
        (tmp_path / f"{other}.index").touch()
    named = name.format(folder=tmp_path)
    tf.compat.v1.train.update_checkpoint_state(str(tmp_path), named, [named])
    found = record.find_checkpoint(tmp_path)
    assert str(found) == tf.train.latest_checkpoint(str(tmp_path))
    prefix, warning = record.newest(tmp_path)
    assert found == prefix and "up to model.ckpt-1000" in warning


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        (None, ""),
        (b"\xff", ""),
        (b'model_checkpoint_path: "/gone/model.ckpt-1000"', ""),
        (b'model_checkpoint_path: "model.ckpt-2000"', "as the newest, but that is not there"),
        (b'model_checkpoint_path: "runs/model.ckpt-99"', "as the newest, but that is not there"),
    ],
)
def test_else_the_newest_is_the_one_of_the_highest_number(tmp_path, content, warning):
    put_checkpoints(tmp_path, 900, 1000, 99)
    if content is not None:
        (tmp_path / "checkpoint").write_bytes(content)
    assert record.find_checkpoint(tmp_path) == tmp_path / "model.ckpt-1000"
    _, found = record.newest(tmp_path)
    assert warning in found and bool(warning) == bool(found)


@pytest.mark.parametrize("prefix", ["model.ckpt", "foo", "bar-12", "model.ckpt-7"])
@pytest.mark.parametrize("end", ["", ".index", ".meta", ".data-00000-of-00001"])
def test_a_checkpoint_is_named_by_any_prefix_or_by_one_of_its_files(tmp_path, prefix, end):
    put_checkpoints(tmp_path, 900)
    (tmp_path / f"{prefix}.index").touch()
    assert record.find_checkpoint(f"{tmp_path}/{prefix}{end}") == tmp_path / prefix


@pytest.mark.parametrize("name", ["model.ckpt-999", "foo", "model.ckpt", "model.ckpt-999.index"])
def test_where_a_checkpoint_is_not_those_that_are_there_are_named(tmp_path, name):
    put_checkpoints(tmp_path, 9, 100, 20)
    with pytest.raises(RefusedError, match=r"model.ckpt-100, model.ckpt-20, model.ckpt-9: name"):
        record.find_checkpoint(tmp_path / name)


@pytest.mark.parametrize("name", ["", "nothing", "model.ckpt-901"])
def test_no_checkpoint_is_refused(tmp_path, name):
    with pytest.raises(RefusedError, match=f"no checkpoint, but {tmp_path} has nothing: name a"):
        record.find_checkpoint(tmp_path / name)
    for run in ("o15", "o120"):
        (tmp_path / run).mkdir()
        put_checkpoints(tmp_path / run, 9)
    with pytest.raises(RefusedError, match="has o120, o15: name a folder"):
        record.find_checkpoint(tmp_path / name)


def test_two_runs_cannot_hold_one_directory(tmp_path, recorded):
    def refused(reason):
        with pytest.raises(RefusedError, match=reason), record.claim(tmp_path, None):
            pass

    with record.claim(tmp_path, None):
        refused("another process is training there")
        (tmp_path / "lock").unlink()  # somebody tidies up
        refused("another process is training there")
    with record.claim(tmp_path, None):
        record.begin(recorded)
    refused("has just started")  # It was there when the images had been read, but not before.
    with record.claim(tmp_path, recorded):
        pass


def test_a_folder_that_is_moved_is_found_and_no_other_taken_for_it(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    own = record.OwnFolder(tmp_path / "run")
    assert os.fspath(own) == str(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "moved")
    (tmp_path / "run").mkdir()
    assert os.fspath(own) == str(own) == str(tmp_path / "moved")
    assert capsys.readouterr().err.count("was moved: this run goes on in") == 1
    (tmp_path / "moved").rmdir()
    with pytest.raises(FailedError, match="moved, the folder of this run, is gone"):
        os.fspath(own)


@pytest.mark.parametrize("number", [errno.ENOLCK, 524])
def test_where_there_are_no_locks_a_run_is_only_warned(tmp_path, monkeypatch, capsys, number):
    """524 is what NFS on clusters answers."""

    def flock(*given):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", flock)
    with record.claim(tmp_path, None):
        assert "cannot be locked" in capsys.readouterr().err


def test_a_run_that_leaves_before_its_first_checkpoint_gives_the_directory_up(tmp_path, recorded):
    with pytest.raises(KeyboardInterrupt), record.claim(tmp_path, None):
        record.begin(recorded)
        record.keep_training_seconds(tmp_path, 2.5)  # which come before the checkpoint
        raise KeyboardInterrupt
    plan.check_free(tmp_path)
    with pytest.raises(KeyboardInterrupt), record.claim(tmp_path, None):
        record.begin(recorded)
        put_checkpoints(tmp_path, 0)
        raise KeyboardInterrupt
    assert record.read(tmp_path) == recorded


def test_an_unfinished_evaluation_of_an_untrained_network_is_work_to_keep(tmp_path, recorded):
    with pytest.raises(KeyboardInterrupt), record.claim(tmp_path, None):
        record.begin(recorded)
        (tmp_path / "evaluation.json").touch()
        raise KeyboardInterrupt
    assert record.read(tmp_path) == recorded


def test_what_a_killed_process_was_writing_is_removed_and_foreign_files_stay(tmp_path, recorded):
    for name in (".run.json.tmp", ".model.ckpt.tmp.index", ".evaluation.json.tmp", "notes.tmp.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.tmp").mkdir()
    with record.claim(tmp_path, None):
        record.begin(recorded)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"notes.tmp.txt", "folder.tmp", "lock", "run.json"}
