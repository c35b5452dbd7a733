"""The command: what it writes, what it says, and how it ends."""

import json
import os
import pathlib
import re
import subprocess
import sys

import made_up
import numpy as np
import pytest

from supervised_reptile.report import curves, document, figures
from supervised_reptile.report.__main__ import main
from supervised_reptile.report.reading import read_runs
from supervised_reptile.system import files

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


def checkpoint(folder, number):
    """Put a checkpoint into a run's folder."""
    for ending in ("index", "data-00000-of-00001"):
        (folder / f"model.ckpt-{number}.{ending}").write_text(ending)


@pytest.mark.parametrize("what", ["--models", "--collect"])
def test_an_unsuitable_run_does_not_stop_the_others(runs, tmp_path, what, capsys):
    checkpoint(runs / "table", 99_999)
    record = json.loads((runs / "dense" / "run.json").read_text())
    (runs / "dense" / "run.json").write_text(json.dumps({**record, "split": None}))
    assert main([str(runs), what, str(tmp_path / "kept"), "--output", str(tmp_path / "out")]) == 1
    kept = {path.name for path in (tmp_path / "kept").iterdir()}
    assert kept == ({"table"} if what == "--models" else {"table", "sparse", "point"})
    said = capsys.readouterr().err
    assert "dense is left out" in said and "table is left out" not in said
    assert (tmp_path / "out" / "report.md").exists()


@pytest.mark.parametrize("what", ["--models", "--collect"])
def test_a_run_without_training_is_left_out(tmp_path, what, capsys):
    flags = {**FLAGS, "meta_iters": 0}
    made_up.run(tmp_path / "runs" / "none", flags, [made_up.line(flags, 20, iteration=None)])
    assert main([str(tmp_path / "runs"), what, str(tmp_path / "kept")]) == 0
    assert not (tmp_path / "kept").exists()
    assert "none was not trained (0 meta-iterations)" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["--models", "--collect"])
def test_linked_runs_are_kept_by_their_own_names(runs, tmp_path, what):
    checkpoint(runs / "table", 99_999)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "mine").symlink_to(runs / "table")
    assert main([str(tmp_path / "links"), what, str(tmp_path / "kept")]) == 0
    assert (tmp_path / "kept" / "mine" / "run.json").exists()


def test_the_report_and_the_readme_are_written_whole_or_not_at_all(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    readme, report = tmp_path / "README.md", tmp_path / "report.md"
    before = f"{document.BEGIN}\n{document.END}\n"
    readme.write_text(before)
    report.write_text(before)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "sync", full)
    assert main([str(runs), "--readme", str(readme)]) == 1
    assert main([str(runs), "--output", str(tmp_path)]) == 1
    assert (readme.read_text(), report.read_text()) == (before, before)


def test_a_readme_stays_the_users_own_file(runs, tmp_path):
    """A link stays one; line breaks, permissions and files of similar names are kept."""
    readme, link = tmp_path / "readme.md", tmp_path / "link.md"
    (tmp_path / "readme.md.tmp").write_text("precious")
    readme.write_bytes(f"é\r\n{document.BEGIN}\r\nold\r\n{document.END}".encode())
    readme.chmod(0o640)
    link.symlink_to(readme)
    assert main([str(runs), "--readme", str(link)]) == 0
    assert link.is_symlink() and readme.stat().st_mode & 0o777 == 0o640
    text = readme.read_bytes().decode()
    assert text.startswith(f"é\r\n{document.BEGIN}\r\n\r\n| setting |") and "old" not in text
    assert text.endswith(f"|\r\n\r\n{document.END}") and text.count("\n") == text.count("\r\n")
    assert (tmp_path / "readme.md.tmp").read_text() == "precious"


def test_a_readme_does_not_lose_its_results_to_a_folder_without_runs(tmp_path, capsys):
    (tmp_path / "README.md").write_text(f"{document.BEGIN}\nmine\n{document.END}\n")
    assert main([str(tmp_path), "--readme", str(tmp_path / "README.md")]) == 2
    assert "mine" in (tmp_path / "README.md").read_text()
    assert "would lose its results" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["a$x_$b", os.fsdecode(b"caf\xe9"), "x" * 250, "my (1)\nrun #2", "文"]
)
def test_a_runs_name_is_any_that_a_folder_has(tmp_path, name, capsys):
    pytest.importorskip("matplotlib")
    folder = made_up.run(tmp_path / "runs" / name, FLAGS, [made_up.line(FLAGS, 95)])
    curve = curves.Curve(np.arange(0, 500, 100), {"test": np.zeros(5)})
    curves.write_compact(curve, folder / curves.COMPACT)
    assert main([str(tmp_path / "runs"), "--output", str(tmp_path / "out")]) == 0
    (png,) = (tmp_path / "out").glob("*.png")
    assert f"![{png.stem}]({png.name})" in (tmp_path / "out" / "report.md").read_text()
    assert re.fullmatch(r"curve_[\w.+-]{1,90}\.png", png.name, re.ASCII)
    assert capsys.readouterr().err == ""


def test_a_figure_is_whole_or_the_old_one(runs, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    assert main([str(runs), "--output", str(tmp_path)]) == 0
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}

    def full(figure, path, **_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    assert main([str(runs), "--output", str(tmp_path)]) == 1
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == before
    assert f"failed: {tmp_path / 'gradients.png'}: No space left" in capsys.readouterr().err


def test_ctrl_c_ends_it_without_a_traceback(runs, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(document, "write", interrupted)
    assert main([str(runs)]) == 130
    assert capsys.readouterr().err == "report: stopped by SIGINT\n"


def test_a_folder_that_cannot_be_read_is_named(runs, monkeypatch, capsys):
    real = os.stat

    def stat(path, *rest, **others):
        if str(path).endswith("table/run.json"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **others)

    monkeypatch.setattr(os, "stat", stat)
    assert main([str(runs)]) == 0
    assert f"{runs / 'table'} cannot be read (Permission denied)" in capsys.readouterr().err


def curve_run(path, step, seed, end):
    """A run of section 6.2, with a curve of every so many meta-iterations up to an end."""
    flags = {**COMBINATION, "eval_interval": step, "seed": seed}
    folder = made_up.run(path, flags, [made_up.line(flags, 95)])
    iterations = np.arange(0, end, step)
    accuracy = {"test": np.zeros(len(iterations))}
    curves.write_compact(curves.Curve(iterations, accuracy), folder / curves.COMPACT)


@pytest.mark.parametrize(
    "one, other, chosen",
    [
        ((100, 0, 39_901), (100, 0, 8001), "a"),  # a truncated curve has fewer points
        ((100, 0, 8001), (10, 0, 39_991), "b"),
        ((100, 1, 39_901), (10, 0, 39_991), "a"),  # a larger interval comes before a seed
        ((100, 1, 39_901), (100, 0, 39_901), "b"),
        ((100, 0, 8001), (100, 0, 9001), "b"),
    ],
)
def test_of_several_runs_of_a_curve_the_whole_one_is_drawn(tmp_path, one, other, chosen):
    for name, (step, seed, end) in (("a", one), ("b", other)):
        curve_run(tmp_path / name, step, seed, end)
    runs = read_runs(tmp_path)
    assert [run.name for _, run in figures.combinations(runs)] == [chosen]
    (step, seed, _), (other_step, other_seed, _) = one, other
    assert not figures.densities(runs) or (step != other_step and seed == other_seed)


def test_curves_pair_by_how_often_they_were_to_be_evaluated(tmp_path):
    for name, step, end in (("whole", 100, 39_901), ("cut", 100, 8001), ("dense", 50, 9001)):
        curve_run(tmp_path / name, step, 0, end)
    ((_, sparse, dense),) = figures.densities(read_runs(tmp_path))
    assert (sparse.name, dense.name) == ("whole", "dense")


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


def test_a_full_standard_output_is_a_failure_of_its_own(runs):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "supervised_reptile.report", str(runs)]
        process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.returncode == 1
    assert process.stderr.startswith("report: failed: standard output: No space left on device")


def test_the_readme_and_the_report_are_those_of_the_collected_results():
    """`make report` in experiments/ makes them anew."""
    runs = read_runs(ROOT / "experiments" / "results")
    assert document.replaced(ROOT / "README.md", runs) == (ROOT / "README.md").read_text()
    report = ROOT / "experiments" / "report" / "report.md"
    drawn = [path.stem for path in report.parent.glob("*.png")]
    assert sorted(document.write(runs, drawn).splitlines()) == sorted(
        report.read_text().splitlines()
    )
