"""The command: what it writes, what it says, and how it ends."""

import pathlib
import sys

import made_up
import pytest

from supervised_reptile.report import document, figures
from supervised_reptile.report.__main__ import main
from supervised_reptile.report.reading import read_runs

ROOT = pathlib.Path(__file__).parents[2]
FLAGS = made_up.flags_of(made_up.CELL["o15"].setting)
COMBINATION = {"sgd": True, "inner_batch": 25, "learning_rate": 0.003, "inner_iters": 4}
COMBINATION |= {"train_shots": 20, "meta_step": 0.25, "meta_batch": 1, "shots": 5}
COMBINATION = {**FLAGS, **COMBINATION, "eval_batch": 25, "eval_iters": 5, "meta_iters": 40_000}


@pytest.fixture
def runs(tmp_path):
    """A folder with a run for each figure, and an unfinished one."""
    folder = tmp_path / "runs"
    for name, flags, step in (
        ("table", FLAGS, 100),
        ("sparse", {**COMBINATION, "eval_interval": 100}, 100),
        ("dense", {**COMBINATION, "eval_interval": 50}, 50),
        ("point", {**COMBINATION, "meta_iters": 10_000}, 4000),
    ):
        made_up.events(
            made_up.run(folder / name, flags, [made_up.line(flags, 95)]), range(0, 8001, step)
        )
    made_up.run(folder / "unfinished", FLAGS)
    return folder


def test_tables_are_printed(runs, capsys):
    assert main([str(runs)]) == 0
    assert "| o15 |" in capsys.readouterr().out


def test_tables_and_figures_are_written(runs, tmp_path):
    pytest.importorskip("matplotlib")
    assert main([str(runs), "--output", str(tmp_path / "out")]) == 0
    names = ["gradients", "gradients_density", "overlap", "curve_table", "curve_point"]
    expected = {f"{name}.{ending}" for name in names for ending in ("png", "svg")}
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected | {"report.md"}
    text = (tmp_path / "out" / "report.md").read_text()
    assert all(f"({name}.png)" in text for name in names)
    assert legend(runs) == ["g1+g2+g3+g4"]


def legend(runs):
    """The labels of the figure of section 6.2."""
    figure = dict(figures.figures(read_runs(runs)))[figures.GRADIENTS]
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_same_runs_give_the_same_files(runs, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("one", "two"):
        main([str(runs), "--output", str(tmp_path / name)])
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_without_matplotlib_the_tables_are_written(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([str(runs), "--output", str(tmp_path / "out")]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.md"]
    assert capsys.readouterr().err == (
        "report: no figures: matplotlib is missing; pip install 'supervised-reptile[report]' "
        "brings it\n"
    )


def test_only_finished_runs_are_collected(runs, tmp_path, capsys):
    assert main([str(runs), "--collect", str(tmp_path / "kept")]) == 0
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert kept == {"table", "sparse", "dense", "point"}
    said = capsys.readouterr()
    assert "unfinished is not finished (0 of 100,000): it is left out" in said.err
    assert "| o15 |" not in said.out


def test_a_model_that_is_not_there_is_a_failure(runs, tmp_path, capsys):
    assert main([str(runs), "--models", str(tmp_path / "models")]) == 1
    assert "lacks its last checkpoint" in capsys.readouterr().err


def test_an_empty_folder_is_said_and_no_failure(tmp_path, capsys):
    assert main([str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    assert f"{tmp_path} holds no runs" in capsys.readouterr().err
    assert "no runs" in (tmp_path / "out" / "report.md").read_text()


def test_a_folder_that_is_not_there_is_refused(tmp_path, capsys):
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "nowhere is no folder" in capsys.readouterr().err


def test_what_cannot_be_written_is_a_failure(runs, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(runs), "--output", str(tmp_path / "file")]) == 1
    assert f"failed: {tmp_path / 'file'}" in capsys.readouterr().err


def test_the_readme_and_the_report_are_those_of_the_collected_results():
    """`make report` in experiments/ makes them anew."""
    runs = read_runs(ROOT / "experiments" / "results")
    assert document.replaced(ROOT / "README.md", runs) == (ROOT / "README.md").read_text()
    report = ROOT / "experiments" / "report" / "report.md"
    drawn = [path.stem for path in report.parent.glob("*.png")]
    assert sorted(document.write(runs, drawn).splitlines()) == sorted(
        report.read_text().splitlines()
    )
