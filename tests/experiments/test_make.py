"""make in experiments/ runs what is not done, two at a time, and survives being killed."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from supervised_reptile.report.reading import read_curve

EXPERIMENTS = pathlib.Path(__file__).parents[2] / "experiments"
SMALL = "--synthetic --meta-iters 400 --meta-batch 1 --eval-iters 2 --eval-samples 20"
SMALL += " --eval-interval 10 --checkpoint-interval 20"
PATH = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
ENVIRONMENT = {**os.environ, "PATH": PATH}


def start(runs: pathlib.Path, *words: str) -> "subprocess.Popen[str]":
    """Start make with small runs that go to a folder."""
    variables = [f"RUNS={runs}", f"EXTRA={SMALL}"]
    return subprocess.Popen(
        ["make", "-C", str(EXPERIMENTS), *words, *variables],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finish(runs: pathlib.Path, *words: str, status: int = 0) -> str:
    """Run make to its end; what it printed."""
    process = start(runs, *words)
    printed, _ = process.communicate(timeout=600)
    assert process.returncode == status, printed
    return printed


def kill_in_the_middle(runs: pathlib.Path, *words: str) -> None:
    """Kill make and all that it has started once two runs have each saved a checkpoint."""
    process = start(runs, *words)
    try:
        while len({path.parent for path in runs.glob("*/model.ckpt-*.index")}) < 2:
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert list(runs.glob("*/done*")) == list(runs.glob("*/results.jsonl")) == []


def outcome(run: pathlib.Path) -> tuple[list[object], bytes, list[object]]:
    """What a run gave: accuracies, the last checkpoint, the curve."""
    lines = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    curve = read_curve(run)
    assert curve
    points = [curve.iterations.tolist(), *(curve.accuracy[s].tolist() for s in curve.accuracy)]
    accuracies = [(one["config"]["shots"], one["accuracy"], one["transductive"]) for one in lines]
    return accuracies, (run / "model.ckpt-399.data-00000-of-00001").read_bytes(), points


@pytest.mark.soak
def test_runs_that_were_killed_give_the_same_results(tmp_path):
    killed, whole, words = tmp_path / "killed", tmp_path / "whole", ("-j2", "o15", "o15_seed1")
    kill_in_the_middle(killed, *words)
    finish(killed, *words)
    finish(whole, *words)
    for name in ("o15", "o15_seed1"):
        assert "Resuming after" in (killed / f"{name}.txt").read_text()
        assert outcome(killed / name) == outcome(whole / name)
        assert [shots for shots, *_ in outcome(killed / name)[0]] == [1, 5]
    assert "Nothing to be done" in finish(killed, *words)


def test_what_other_runs_gave_is_kept_beside_them(tmp_path):
    printed = finish(tmp_path / "runs", "--dry-run", "collect", "models", "report")
    kept = f"{tmp_path}/runs-kept"
    assert f"--collect {kept}/results" in printed and f"--models {kept}/models" in printed
    assert f"report {kept}/results --output {kept}/report" in printed
    assert "experiments/" not in printed and "--readme" not in printed
    again = finish(f"{tmp_path}/runs/", "--dry-run", "collect", "models", "report")
    assert again == printed
    own = ("experiments/runs", "experiments/runs/", "./experiments/runs", EXPERIMENTS / "runs")
    for runs in own:
        ours = finish(runs, "--dry-run", "collect", "report")
        assert "--collect experiments/results" in ours and "--readme README.md" in ours


def test_a_folder_of_runs_with_a_space_is_refused(tmp_path):
    printed = finish(tmp_path / "my runs", "--dry-run", "o15", status=2)
    assert "has to be one folder" in printed


def test_what_would_be_run_is_known_beforehand(tmp_path):
    printed = finish(tmp_path / "runs", "--dry-run", "figure_gradients")
    assert printed.count("./run ") == 11
    assert "./run half_g1_g2 " in printed
    assert not (tmp_path / "runs").exists()


def test_a_run_that_fails_says_why_and_is_not_done(tmp_path):
    printed = finish(tmp_path / "runs", "second_seed", "CORES=none-such", status=2)
    assert list((tmp_path / "runs").glob("*/done*")) == []
    assert "o15_seed1" in printed


def test_a_name_without_a_command_is_refused():
    command = [EXPERIMENTS / "run", "o16"]
    found = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert found.returncode == 2
    assert found.stderr == "experiments: no run, table or figure has the name o16\n"
