"""What is kept of a run gives the same report, says nothing of its machine's folders, and takes the
place of no other run."""

import hashlib
import json

import made_up
import pytest

from supervised_reptile.data.miniimagenet import CLASSES
from supervised_reptile.report import document, keeping
from supervised_reptile.report.reading import read_runs
from supervised_reptile.system import files
from supervised_reptile.system.errors import FailedError, RefusedError

FLAGS = made_up.flags_of("o15")


@pytest.fixture
def source(tmp_path):
    folder = made_up.run(tmp_path / "runs" / "mine", FLAGS, [made_up.line(FLAGS, 95.4, 97.7)])
    made_up.events(folder, range(0, 20_000, 100))
    for number in (99_899, 99_999):
        for ending in ("index", "data-00000-of-00001"):
            (folder / f"model.ckpt-{number}.{ending}").write_text(f"{ending} of {number}")
    return folder


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "kept"


def keep(keep_one, source):
    """Keep the only run beside its folder's parent; where it was kept."""
    (run,) = read_runs(source.parent)
    return keep_one(run, source.parents[1] / "kept")


def change(source, **changed):
    """Change the flags of a run's record and of its results."""
    record = json.loads((source / "run.json").read_text())
    record["flags"].update(changed)
    (source / "run.json").write_text(json.dumps(record))
    line = made_up.line(record["flags"], 95.4, 97.7)
    (source / "results.jsonl").write_text(json.dumps(line) + "\n")


def test_the_report_on_collected_runs_is_that_on_whole_ones(source, kept):
    assert keep(keeping.collect, source) == kept / "table2.jsonl"
    whole, small = read_runs(source.parent), read_runs(kept)
    assert document.write(small, []) == document.write(whole, [])
    assert list(small[0].curve.iterations) == list(whole[0].curve.iterations)
    assert (kept / "table2.jsonl").stat().st_size < 5000


@pytest.mark.parametrize(
    "name, file",
    [("m15", "table1"), ("g3", "figure_gradients"), ("reptile_cycling_2x25", "figure_overlap")],
)
def test_each_table_and_figure_has_a_file(source, kept, name, file):
    record = json.loads((source / "run.json").read_text())
    if name == "m15":
        record |= {"dataset": "miniimagenet", "split": CLASSES}
    record["flags"] = made_up.flags_of(name)
    (source / "run.json").write_text(json.dumps(record))
    assert keep(keeping.collect, source) == kept / f"{file}.jsonl"


def test_a_run_of_no_setting_is_collected_too(source, kept):
    change(source, meta_step=0.5)
    assert keep(keeping.collect, source) == kept / "others.jsonl"


def test_classes_become_their_number_and_a_digest(source):
    (line,) = map(json.loads, keep(keeping.collect, source).read_text().splitlines())
    digest = hashlib.sha256(b"a\nb").hexdigest()
    assert line["split"]["train"] == {"classes": 2, "sha256": digest}


def test_collecting_again_changes_nothing(source, kept):
    path = keep(keeping.collect, source)
    before = path.read_bytes()
    assert keep(keeping.collect, source).read_bytes() == before
    (run,) = read_runs(kept)
    assert keeping.collect(run, kept / "again").read_bytes() == before


def test_another_evaluation_is_added(source):
    keep(keeping.collect, source)
    with open(source / "results.jsonl", "a") as file:
        file.write(json.dumps(made_up.line({**FLAGS, "shots": 5}, 98.9)) + "\n")
    (line,) = map(json.loads, keep(keeping.collect, source).read_text().splitlines())
    assert [result["config"]["shots"] for result in line["results"]] == [1, 5]


@pytest.mark.parametrize("what", ["seed", "machine", "commit", "results", "curve"])
def test_another_run_of_the_same_name_is_refused(source, what):
    path = keep(keeping.collect, source)
    before = path.read_bytes()
    if what == "seed":
        change(source, seed=1)
    elif what == "results":
        (source / "results.jsonl").write_text(json.dumps(made_up.line(FLAGS, 95.5)))
    elif what == "curve":
        (source / "test" / made_up.FIRST).unlink()
    else:
        record = json.loads((source / "run.json").read_text())
        (source / "run.json").write_text(json.dumps({**record, what: {"device": "GPU"}}))
    with pytest.raises(FailedError, match=rf"another run of this name \(other .*{what}"):
        keep(keeping.collect, source)
    assert path.read_bytes() == before


def test_a_damaged_file_of_collected_runs_stops_and_stays(source, kept):
    path = keep(keeping.collect, source)
    path.write_text(path.read_text().replace("mine", "other") + "{half a li")
    before = path.read_bytes()
    for attempt in (lambda: keep(keeping.collect, source), lambda: read_runs(kept)):
        with pytest.raises(RefusedError, match=r"table2.jsonl, line 2 is no run"):
            attempt()
    assert path.read_bytes() == before


@pytest.mark.parametrize("keep_one", [keeping.collect, keeping.keep_model])
def test_places_on_the_machine_are_left_out(source, kept, keep_one):
    keep(keep_one, source)
    for path in filter(lambda path: path.is_file(), kept.rglob("*")):
        assert b"/home" not in path.read_bytes()
        assert b"file:" not in path.read_bytes()


def test_a_model_whose_copy_was_interrupted_is_completed(source):
    folder = keep(keeping.keep_model, source)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for lost in ("run.json", "checkpoint", "model.ckpt-99999.data-00000-of-00001"):
        (folder / lost).unlink()
        (folder / f".{lost}.tmp").touch()
    keep(keeping.keep_model, source)
    assert {name: (folder / name).read_bytes() for name in whole} == whole


def test_a_model_is_its_last_checkpoint_and_the_whole_record(source):
    folder = keep(keeping.keep_model, source)
    assert {path.name for path in folder.iterdir()} == {
        *("checkpoint", "run.json", "model.ckpt-99999.index"),
        "model.ckpt-99999.data-00000-of-00001",
    }
    assert (folder / "model.ckpt-99999.index").read_text() == "index of 99999"
    assert (folder / "checkpoint").read_text().splitlines() == [
        'model_checkpoint_path: "model.ckpt-99999"',
        'all_model_checkpoint_paths: "model.ckpt-99999"',
    ]
    record = json.loads((folder / "run.json").read_text())
    assert record["split"] == {"train": ["a", "b"], "test": ["c"]}
    assert record["flags"]["data_dir"] == "data/omniglot"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    keep(keeping.keep_model, source)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_model_is_evaluated_on_as_many_tasks_as_the_tables_show(source):
    change(source, eval_samples=50)
    with open(source / "results.jsonl", "a") as file:
        file.write(json.dumps(made_up.line(FLAGS, 95.4)))
    kept = keep(keeping.keep_model, source)
    assert json.loads((kept / "run.json").read_text())["flags"]["eval_samples"] == 10_000


def test_a_run_without_its_last_checkpoint_has_no_model(source):
    (source / "model.ckpt-99999.data-00000-of-00001").unlink()
    with pytest.raises(FailedError, match=r"lacks its last checkpoint, model\.ckpt-99999"):
        keep(keeping.keep_model, source)


def test_a_model_is_not_kept_in_its_runs_own_folder(source):
    (source / "lock").touch()
    before = {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()}
    (run,) = read_runs(source.parent)
    with pytest.raises(FailedError, match=f"{source} holds something else"):
        keeping.keep_model(run, source.parent)
    assert {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()} == before


@pytest.mark.parametrize("keep_one", [keeping.collect, keeping.keep_model])
def test_a_write_that_fails_leaves_the_old_file(source, kept, keep_one, monkeypatch):
    keep(keep_one, source)
    before = {path: path.read_bytes() for path in kept.rglob("*.*") if path.is_file()}
    with open(source / "results.jsonl", "a") as file:
        file.write(json.dumps(made_up.line({**FLAGS, "eval_samples": 20_000}, 95.4)) + "\n")

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        keep(keep_one, source)
    assert {path: path.read_bytes() for path in kept.rglob("*.*") if path.is_file()} == before
