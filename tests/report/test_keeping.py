"""What is kept of a run gives the same report, and says nothing of its machine's folders."""

import dataclasses
import hashlib
import json

import made_up
import pytest

from supervised_reptile.report import document, keeping
from supervised_reptile.report.reading import read_runs
from supervised_reptile.system import files
from supervised_reptile.system.errors import FailedError

FLAGS = made_up.flags_of(made_up.CELL["o15"].setting)


@pytest.fixture
def source(tmp_path):
    folder = made_up.run(tmp_path / "runs" / "mine", FLAGS, [made_up.line(FLAGS, 95.4, 97.7)])
    made_up.events(folder, range(0, 20_000, 100))
    (folder / "seconds.json").write_text('{"training": 3600}')
    for number in (99_899, 99_999):
        for ending in ("index", "data-00000-of-00001"):
            (folder / f"model.ckpt-{number}.{ending}").write_text(f"{ending} of {number}")
    return folder


def keep(keep_one, source):
    """Keep the only run beside others, and return the folder of all that are kept."""
    (run,) = read_runs(source.parent)
    target = source.parents[1] / "kept"
    keep_one(run, target / run.name)
    return target


def test_the_report_on_collected_runs_is_that_on_whole_ones(source):
    kept = keep(keeping.collect, source)
    whole, small = read_runs(source.parent), read_runs(kept)
    assert document.write(small, []) == document.write(whole, [])
    assert small[0].seconds == 3600
    assert list(small[0].curve.iterations) == list(whole[0].curve.iterations)
    assert sum(path.stat().st_size for path in (kept / "mine").iterdir()) < 6000


def test_classes_become_their_number_and_a_digest(source):
    record = json.loads((keep(keeping.collect, source) / "mine" / "run.json").read_text())
    digest = hashlib.sha256(b"a\nb").hexdigest()
    assert record["split"]["train"] == {"classes": 2, "sha256": digest}


def test_collecting_what_was_collected_changes_nothing(source):
    kept = keep(keeping.collect, source)
    before = {path.name: path.read_bytes() for path in (kept / "mine").iterdir()}
    (run,) = read_runs(kept)
    keeping.collect(run, kept / "again")
    assert {path.name: path.read_bytes() for path in (kept / "again").iterdir()} == before


@pytest.mark.parametrize("keep_one", [keeping.collect, keeping.keep_model])
def test_places_on_the_machine_are_left_out(source, keep_one):
    for path in (keep(keep_one, source) / "mine").iterdir():
        assert b"/home" not in path.read_bytes()
        assert b"file:" not in path.read_bytes()


def test_damaged_lines_are_not_collected(source, capsys):
    with open(source / "results.jsonl", "a") as file:
        file.write('{"iteration": 7, "acc\n')
    kept = keep(keeping.collect, source)
    assert (kept / "mine" / "results.jsonl").read_text().count("\n") == 1
    assert "line 2 is damaged" in capsys.readouterr().err


def test_a_model_is_its_last_checkpoint_and_the_whole_record(source):
    kept = keep(keeping.keep_model, source) / "mine"
    assert {path.name for path in kept.iterdir()} == {
        *("checkpoint", "run.json", "model.ckpt-99999.index"),
        "model.ckpt-99999.data-00000-of-00001",
    }
    assert (kept / "model.ckpt-99999.index").read_text() == "index of 99999"
    assert (kept / "checkpoint").read_text().splitlines() == [
        'model_checkpoint_path: "model.ckpt-99999"',
        'all_model_checkpoint_paths: "model.ckpt-99999"',
    ]
    record = json.loads((kept / "run.json").read_text())
    assert record["split"] == {"train": ["a", "b"], "test": ["c"]}
    assert record["flags"]["data_dir"] == "data/omniglot"


def test_a_model_is_evaluated_on_as_many_tasks_as_the_tables_show(source):
    record = json.loads((source / "run.json").read_text())
    record["flags"]["eval_samples"] = 50
    (source / "run.json").write_text(json.dumps(record))
    kept = keep(keeping.keep_model, source) / "mine"
    assert json.loads((kept / "run.json").read_text())["flags"]["eval_samples"] == 10_000


def test_a_run_without_its_last_checkpoint_has_no_model(source):
    (run,) = read_runs(source.parent)
    with pytest.raises(FailedError, match=r"lacks its last checkpoint, model\.ckpt-99998"):
        flags = {**run.flags, "meta_iters": 99_999}
        keeping.keep_model(dataclasses.replace(run, flags=flags), source.parent / "kept")


@pytest.mark.parametrize("keep_one", [keeping.collect, keeping.keep_model])
def test_a_run_is_not_kept_in_a_runs_own_folder(source, keep_one):
    """Of which it would leave little: names of classes, damaged lines, other checkpoints."""
    (run,) = read_runs(source.parent)
    before = {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()}
    other = made_up.run(source.parents[1] / "other", FLAGS)
    (other / "lock").touch()
    for folder in (source, other):
        with pytest.raises(FailedError, match=f"{folder}"):
            keep_one(run, folder)
    assert {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()} == before
    assert sorted(path.name for path in other.iterdir()) == ["lock", "run.json"]


def test_results_are_not_collected_over_a_model(source):
    kept = keep(keeping.keep_model, source) / "mine"
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    with pytest.raises(FailedError, match="holds checkpoints"):
        keep(keeping.collect, source)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before


def test_a_kept_curve_does_not_go_with_one_that_cannot_be_read(source):
    kept = keep(keeping.collect, source) / "mine"
    before = {path.name: path.read_bytes() for path in kept.iterdir()}
    for path in source.glob("*/events*"):
        path.write_bytes(b"damaged")
    with pytest.raises(FailedError, match="cannot be read"):
        keep(keeping.collect, source)
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == before


def test_a_checkpoint_without_its_data_is_no_model(source):
    (source / "model.ckpt-99999.data-00000-of-00001").unlink()
    with pytest.raises(FailedError, match="lacks its last checkpoint"):
        keep(keeping.keep_model, source)


def test_what_a_run_lacks_is_not_left_from_an_earlier_one(source):
    kept = keep(keeping.collect, source) / "mine"
    for path in (source / "seconds.json", *source.glob("*/events*")):
        path.unlink()
    keep(keeping.collect, source)
    assert sorted(path.name for path in kept.iterdir()) == ["results.jsonl", "run.json"]


@pytest.mark.parametrize(
    "keep_one, name",
    [
        (keeping.collect, "curve.npz"),
        (keeping.keep_model, "model.ckpt-99999.index"),
        (keeping.collect, "run.json"),
        (keeping.collect, "results.jsonl"),
        (keeping.keep_model, "run.json"),
        (keeping.keep_model, "checkpoint"),
    ],
)
def test_a_write_that_fails_leaves_the_old_file(source, keep_one, name, monkeypatch):
    kept = keep(keep_one, source) / "mine"
    (kept / name).write_text("old")

    def full(path):
        if path.name.startswith(name):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        keep(keep_one, source)
    assert (kept / name).read_text() == "old"
    assert not list(kept.glob("*.tmp"))


def test_an_origin_that_is_none_is_kept(source):
    record = json.loads((source / "run.json").read_text())
    record["data"]["origin"] = 3
    (source / "run.json").write_text(json.dumps(record))
    kept = keep(keeping.collect, source) / "mine" / "run.json"
    assert json.loads(kept.read_text())["data"]["origin"] == 3


@pytest.mark.parametrize("split", [None, 3, {"train": "a"}])
def test_a_record_with_damaged_classes_is_named(source, split):
    record = json.loads((source / "run.json").read_text())
    (source / "run.json").write_text(json.dumps({**record, "split": split}))
    with pytest.raises(FailedError, match="does not say which classes"):
        keep(keeping.collect, source)


def test_a_record_without_classes_is_named(source):
    record = json.loads((source / "run.json").read_text())
    del record["split"]
    (source / "run.json").write_text(json.dumps(record))
    with pytest.raises(FailedError, match="does not say which classes"):
        keep(keeping.collect, source)
