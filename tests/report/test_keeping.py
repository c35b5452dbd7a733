"""What is kept of a run gives the same report, says nothing of its machine's folders, and takes the
place of no other run."""

import hashlib
import json
from unittest import mock

import made_up
import numpy as np
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


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def change(source, **changed):
    """Change what a run's record says."""
    record = json.loads((source / "run.json").read_text())
    (source / "run.json").write_text(json.dumps({**record, **changed}))


def test_the_report_on_collected_runs_is_that_on_whole_ones(source, kept):
    """Classes become their number and a digest. Collecting again changes nothing."""
    path = keep(keeping.collect, source)
    assert path == kept / "table2.jsonl" and path.stat().st_size < 5000
    whole, small = read_runs(source.parent), read_runs(kept)
    assert document.write(small, []) == document.write(whole, [])
    np.testing.assert_equal(vars(small[0].curve), vars(whole[0].curve))
    before, digest = path.read_bytes(), hashlib.sha256(b"a\nb").hexdigest()
    assert json.loads(before)["split"]["train"] == {"classes": 2, "sha256": digest}
    assert keep(keeping.collect, source).read_bytes() == before
    assert keeping.collect(small[0], kept / "again").read_bytes() == before


@pytest.mark.parametrize(
    "file, record",
    [
        ("table1", {"flags": made_up.flags_of("m15"), "dataset": "miniimagenet", "split": CLASSES}),
        ("figure_gradients", {"flags": made_up.flags_of("g3")}),
        ("figure_overlap", {"flags": made_up.flags_of("reptile_cycling_2x25")}),
        ("others", {"flags": {**FLAGS, "meta_step": 0.5}}),
    ],
)
def test_each_table_and_figure_has_a_file_and_so_have_other_runs(source, kept, file, record):
    change(source, **record)
    assert keep(keeping.collect, source) == kept / f"{file}.jsonl"


def test_another_evaluation_is_added(source):
    keep(keeping.collect, source)
    made_up.add_result(source, made_up.line({**FLAGS, "shots": 5}, 98.9))
    (line,) = map(json.loads, keep(keeping.collect, source).read_text().splitlines())
    assert [result["config"]["shots"] for result in line["results"]] == [1, 5]


@pytest.mark.parametrize("what", ["seed", "machine", "commit", "results", "curve"])
def test_another_run_of_the_same_name_is_refused(source, what):
    path = keep(keeping.collect, source)
    before = path.read_bytes()
    if what == "seed":
        change(source, flags={**FLAGS, "seed": 1})
    elif what == "results":
        (source / "results.jsonl").write_text(json.dumps(made_up.line(FLAGS, 95.5)))
    elif what == "curve":
        (source / "test" / made_up.FIRST).unlink()
    else:
        change(source, **{what: {"device": "GPU"}})
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
    for content in contents(kept).values():
        assert b"/home" not in content and b"file:" not in content


@pytest.mark.parametrize("lost", ["", "run.json checkpoint model.ckpt-99999.data-00000-of-00001"])
def test_a_model_is_kept_again_and_completed_if_its_copy_was_interrupted(source, lost):
    folder = keep(keeping.keep_model, source)
    whole = contents(folder)
    for name in lost.split():
        (folder / name).unlink()
        (folder / f".{name}.tmp").touch()
    keep(keeping.keep_model, source)
    assert contents(folder) == whole


def test_a_model_is_its_last_checkpoint_and_the_whole_record(source):
    kept = {path.name: path.read_text() for path in keep(keeping.keep_model, source).iterdir()}
    record, name = json.loads(kept.pop("run.json")), "model.ckpt-99999"
    assert kept == {
        f"{name}.index": "index of 99999",
        f"{name}.data-00000-of-00001": "data-00000-of-00001 of 99999",
        "checkpoint": f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n',
    }
    assert record["split"] == {"train": ["a", "b"], "test": ["c"]}
    assert record["flags"]["data_dir"] == "data/omniglot"


def test_a_model_is_evaluated_on_as_many_tasks_as_the_tables_show(source):
    for tasks in (20_000, 50):
        made_up.add_result(source, made_up.line({**FLAGS, "eval_samples": tasks}, 95.4))
    kept = keep(keeping.keep_model, source)
    assert json.loads((kept / "run.json").read_text())["flags"]["eval_samples"] == 20_000


def test_a_model_that_was_evaluated_where_it_is_kept_can_be_kept_again(source):
    kept = keep(keeping.keep_model, source)
    made_up.add_result(kept, made_up.line(FLAGS, 95.4))
    before = contents(kept)
    keep(keeping.keep_model, source)
    assert contents(kept) == before and kept / "results.jsonl" in before


def test_a_run_without_its_last_checkpoint_has_no_model(source):
    (source / "model.ckpt-99999.data-00000-of-00001").unlink()
    with pytest.raises(FailedError, match=r"lacks its last checkpoint, model\.ckpt-99999"):
        keep(keeping.keep_model, source)


def test_a_model_is_not_kept_in_its_runs_own_folder(source):
    (source / "lock").touch()
    before = contents(source)
    (run,) = read_runs(source.parent)
    with pytest.raises(FailedError, match=f"{source} holds something else"):
        keeping.keep_model(run, source.parent)
    assert contents(source) == before


@pytest.mark.parametrize("keep_one", [keeping.collect, keeping.keep_model])
def test_a_write_that_fails_leaves_the_old_file(source, kept, keep_one, monkeypatch):
    keep(keep_one, source)
    before = contents(kept)
    made_up.add_result(source, made_up.line({**FLAGS, "eval_samples": 20_000}, 95.4))
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(files, "sync", mock.Mock(side_effect=full))
    with pytest.raises(OSError, match="No space left"):
        keep(keep_one, source)
    assert contents(kept) == before
