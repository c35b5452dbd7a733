"""The command: what it writes, what it says, and how it ends."""

import os
import pathlib
import re
import sys
from unittest import mock

import made_up
import numpy as np
import pytest

from supervised_reptile.report import document, figures
from supervised_reptile.report.__main__ import main
from supervised_reptile.report.reading import Curve, read_runs
from supervised_reptile.system import files

ROOT = pathlib.Path(__file__).parents[2]
FLAGS = made_up.flags_of("o15")


@pytest.fixture
def runs(tmp_path):
    """A folder with a run for each figure, and an unfinished one."""
    folder = tmp_path / "runs"
    settings = {"table": "o15", "sum": "g1_g2_g3_g4", "point": "reptile_cycling_4x25"}
    for name, setting in settings.items():
        made_up.run(folder / name, made_up.flags_of(setting), [95])
        made_up.events(folder / name, range(0, 8001, 400))
    made_up.run(folder / "unfinished", FLAGS)
    return folder


def test_tables_are_printed(runs, capsys):
    assert main([str(runs)]) == 0
    assert "| Omniglot 1-shot 5-way |" in capsys.readouterr().out


def test_tables_and_figures_are_written_alike_of_the_same_runs(runs, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("out", "again"):
        assert main([str(runs), "--output", str(tmp_path / name)]) == 0
    names = ["gradients", "overlap", "curve_table", "curve_point"]
    expected = {f"{name}.png" for name in names} | {"report.md"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected
    text = (tmp_path / "out" / "report.md").read_text()
    assert all(f"({name}.png)" in text for name in names)
    for name in expected:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_of_two_seeds_one_is_drawn_for_a_curve_of_section_6_2(runs):
    pytest.importorskip("matplotlib")
    made_up.run(runs / "a", made_up.flags_of("g1_g2_g3_g4", seed=1), [95])
    made_up.events(runs / "a", range(0, 900, 400))
    drawn = dict(figures.figures(read_runs(runs)))
    legend = drawn[figures.GRADIENTS].legends[0].get_texts()
    assert [text.get_text() for text in legend] == ["g1+g2+g3+g4"]
    assert set(drawn) == {"gradients", "overlap", "curve_a", "curve_table", "curve_point"}


def test_the_papers_figures_show_the_test_set_of_whole_runs_over_what_varies(runs):
    pytest.importorskip("matplotlib")
    made_up.event_file(runs / "sum" / "test" / made_up.FIRST, {0: 0.25, 8000: 0.75})
    made_up.run(runs / "short", made_up.flags_of("g1", meta_iters=900), [95])
    made_up.events(runs / "short", range(0, 900, 400))
    drawn = dict(figures.figures(read_runs(runs)))
    _, dots = drawn[figures.GRADIENTS].axes[0].get_lines()
    assert dots.get_ydata().tolist() == [25, 75]
    lines = [axes.containers[0][0] for axes in drawn[figures.OVERLAP].axes]
    assert [line.get_xydata().tolist() for line in lines] == [[[4, 95]], [[25, 95]]]


def test_a_moving_average_by_hand():
    values = np.array([0.0, 1.0, 0.5, 1.0])
    curve = Curve(np.array([0, 10, 20, 100]), {"test": values})
    mean, interval = figures.smooth(curve, "test", width=20, classes=5)
    assert mean == pytest.approx([0.5, 0.5, 0.75, 1.0])
    error = np.sqrt(np.var(values[:3], ddof=1) / 3 + 2 / 15**2)
    assert interval[1] == pytest.approx(4.303 * error, rel=0.05)  # Student's t of two degrees
    assert np.isnan(interval[3])  # nothing is known from one point


def test_a_short_curve_is_smoothed_and_its_dots_are_single_tasks(tmp_path):
    pytest.importorskip("matplotlib")
    flags = {**FLAGS, "synthetic": True, "meta_iters": 300}
    made_up.events(made_up.run(tmp_path / "mine", flags), range(0, 300, 10))
    (run,) = read_runs(tmp_path)
    (axes,) = figures.learning_curve(run).axes
    assert axes.get_title().startswith("mine (generated images), ")
    line, dots = axes.get_lines()[:2]
    assert list(dots.get_ydata()) == list(100 * run.curve.accuracy["train"])
    assert np.std(np.diff(line.get_ydata())) < np.std(np.diff(dots.get_ydata())) / 5


def test_without_a_folder_it_says_what_is_missing(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    said = capsys.readouterr()
    assert (caught.value.code, said.out) == (2, "")
    assert "the following arguments are required: FOLDER" in said.err


def test_without_matplotlib_the_tables_are_written(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([str(runs), "--output", str(tmp_path / "out")]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["report.md"]
    assert capsys.readouterr().err == (
        "report: no figures: matplotlib is missing; install 'supervised-reptile[report]'\n"
    )


def test_only_finished_runs_are_collected(runs, tmp_path, capsys):
    flags = {**FLAGS, "meta_iters": 0}
    made_up.run(runs / "none", flags, [made_up.line(flags, 20, iteration=None)])
    assert main([str(runs), "--collect", str(tmp_path / "kept")]) == 0
    assert [run.name for run in read_runs(tmp_path / "kept")] == ["point", "sum", "table"]
    said = capsys.readouterr()
    left_out = "no finished and evaluated training run (known: 0 of {} meta-iterations)"
    assert f"unfinished is {left_out.format('100,000')}" in said.err
    assert f"none is {left_out.format('0')}" in said.err
    assert "| Omniglot" not in said.out


@pytest.mark.parametrize("what", ["--models", "--collect"])
def test_a_run_that_cannot_be_kept_does_not_stop_the_others(runs, tmp_path, what, capsys):
    """Of two machines, each with a run in a folder of the same name, the first one's stays."""
    kept, other = tmp_path / "kept", tmp_path / "other"
    for seed, folder in enumerate((runs, other)):
        for name in ("mine", f"mine{seed}"):
            made_up.run(folder / name, {**FLAGS, "seed": seed}, [95])
            for ending in ("index", "data-00000-of-00001"):
                (folder / name / f"model.ckpt-99999.{ending}").write_text(f"{seed}")
    main([str(runs), what, str(kept)])
    before = {path: path.read_bytes() for path in kept.rglob("*") if "mine/" in str(path)}
    assert main([str(other), what, str(kept), "--output", str(tmp_path / "out")]) == 1
    assert {path: path.read_bytes() for path in before} == before
    said = capsys.readouterr().err
    assert "mine is left out" in said and "mine1 is left out" not in said
    assert (tmp_path / "out" / "report.md").exists()
    if what == "--collect":
        seeds = {run.name: run.seed for run in read_runs(kept)}
        assert (seeds["mine"], seeds["mine0"], seeds["mine1"]) == (0, 0, 1)


def test_results_are_not_collected_where_they_are_read(runs, capsys):
    assert main([str(runs), "--collect", f"{runs}/."]) == 2
    assert "is the folder that is read" in capsys.readouterr().err
    assert not list(runs.glob("*.jsonl"))


def test_the_report_and_the_readme_are_written_whole_or_not_at_all(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    readme, report = tmp_path / "README.md", tmp_path / "report.md"
    before = f"{document.BEGIN}\n{document.END}\n"
    readme.write_text(before)
    report.write_text(before)
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(files, "sync", mock.Mock(side_effect=full))
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
    assert text.endswith(f".\r\n\r\n{document.END}") and text.count("\n") == text.count("\r\n")
    assert (tmp_path / "readme.md.tmp").read_text() == "precious"


@pytest.mark.parametrize("names", [[], ["of another cell"]])
def test_a_readme_does_not_lose_its_results_where_no_run_is_of_its_tables(tmp_path, names, capsys):
    for name in names:
        made_up.run(tmp_path / name, FLAGS, [made_up.line({**FLAGS, "shots": 7}, 90)])
    (tmp_path / "README.md").write_text(f"{document.BEGIN}\nmine\n{document.END}\n")
    assert main([str(tmp_path), "--readme", str(tmp_path / "README.md")]) == 2
    assert "mine" in (tmp_path / "README.md").read_text()
    lost = "would lose its results, since there are no runs of tables 1 and 2"
    assert lost in capsys.readouterr().err


@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "x" * 250, "my ($1_$2)\nrun #2", "文"])
def test_a_runs_name_is_any_that_a_folder_has(tmp_path, name, capsys):
    pytest.importorskip("matplotlib")
    folder = made_up.run(tmp_path / "runs" / name, FLAGS, [95])
    made_up.events(folder, range(0, 500, 100))
    assert main([str(tmp_path / "runs"), "--output", str(tmp_path / "out")]) == 0
    (png,) = (tmp_path / "out").glob("*.png")
    assert f"![{png.stem}]({png.name})" in (tmp_path / "out" / "report.md").read_text()
    assert re.fullmatch(r"curve_[\w.+-]{1,90}\.png", png.name, re.ASCII)
    assert main([str(tmp_path / "runs"), "--collect", str(tmp_path / "kept")]) == 0
    assert read_runs(tmp_path / "kept")[0].name == name
    assert capsys.readouterr().err == ""


def test_ctrl_c_ends_it_without_a_traceback(runs, monkeypatch, capsys):
    monkeypatch.setattr(document, "write", mock.Mock(side_effect=KeyboardInterrupt))
    assert main([str(runs)]) == 130
    assert capsys.readouterr().err == "report: stopped by SIGINT\n"


def test_an_empty_folder_is_said_and_no_failure(tmp_path, capsys):
    assert main([str(tmp_path), "--output", str(tmp_path / "out")]) == 0
    assert f"{tmp_path} holds no runs" in capsys.readouterr().err
    report = "# What the runs gave\n\nThere are no runs in this folder.\n"
    assert (tmp_path / "out" / "report.md").read_text() == report


def test_results_without_their_run_are_no_collected_ones(tmp_path, capsys):
    """As evaluating a checkpoint without its run.json leaves them there."""
    made_up.add_result(tmp_path, made_up.line(FLAGS, 95.4))
    assert main([str(tmp_path)]) == 0
    assert f"{tmp_path} holds no runs" in capsys.readouterr().err


def test_what_cannot_be_written_is_a_failure(runs, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(runs), "--output", str(tmp_path / "file")]) == 1
    assert f"failed: {tmp_path / 'file'}" in capsys.readouterr().err


def test_the_readme_and_the_report_are_those_of_the_collected_results():
    """`make report` in experiments/ makes them anew."""
    runs = read_runs(ROOT / "experiments" / "results")
    assert len(runs) == 5 + 11 + 60
    assert document.replaced(ROOT / "README.md", runs) == (ROOT / "README.md").read_text()
    report = ROOT / "experiments" / "report" / "report.md"
    made = document.write(runs, [path.stem for path in report.parent.glob("*.png")])
    assert sorted(made.splitlines()) == sorted(report.read_text().splitlines())
