"""The two scripts as a person runs them: what they print, leave behind and exit with."""

import json
import pathlib
import re
import signal
import subprocess
import sys

import pytest

from supervised_reptile import main, miniimagenet, omniglot, runs, signals

TOP = pathlib.Path(__file__).parents[1]
SMALL = (
    "--synthetic --shots 1 --inner-batch 5 --inner-iters 2 --meta-batch 2 --eval-iters 3 "
    "--eval-samples 30 --transductive"
)
FINAL = re.compile(
    r"Evaluating\.\.\.\n"
    r"Train accuracy: (0\.\d+)\n  \+/- 0\.\d{5} \(95% confidence over 30 tasks\)\n"
    r"(?:Validation accuracy: (0\.\d+)\n  \+/- 0\.\d{5} \(95% confidence over 30 tasks\)\n)?"
    r"Test accuracy: (0\.\d+)\n  \+/- 0\.\d{5} \(95% confidence over 30 tasks\)\n"
)


def script(dataset, line, folder):
    """Run a script from another folder, with TensorFlow's messages as a user would get them."""
    return subprocess.Popen(
        [sys.executable, TOP / f"run_{dataset}.py", *line.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
    )


@pytest.fixture(scope="module", params=["omniglot", "miniimagenet"])
def trained(request, tmp_path_factory):
    """A short run: the dataset, its folder, what it printed."""
    folder = tmp_path_factory.mktemp(request.param)
    process = script(request.param, f"{SMALL} --meta-iters 12 --checkpoint ckpt", folder)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return request.param, folder, out, err


def test_training_prints_what_the_specification_says_and_nothing_else(trained):
    dataset, _, out, err = trained
    accuracy = r"[01]\.\d{6}"
    lines = rf"Training\.\.\.\nbatch 0: train={accuracy} test={accuracy}\n"
    lines += rf"batch 10: train={accuracy} test={accuracy}\n"
    match = re.fullmatch(lines + FINAL.pattern, out)
    assert match
    assert (match[2] is not None) == (dataset == "miniimagenet")
    assert err == ""


def test_training_leaves_a_whole_run(trained):
    dataset, folder, out, _ = trained
    assert runs.checkpoints(folder / "ckpt") == [0, 11]
    record = runs.read_record(folder / "ckpt")
    sizes = [len(names) for names in record.split.values()]
    assert sizes == ([1200, 423] if dataset == "omniglot" else [64, 16, 20])
    (line,) = map(json.loads, (folder / "ckpt" / "results.jsonl").read_text().splitlines())
    assert line["iteration"] == 11
    assert f"Test accuracy: {line['accuracy']['test']}\n" in out


def test_a_saved_model_gives_the_same_results_again(trained):
    dataset, folder, out, _ = trained
    before = (folder / "ckpt" / "results.jsonl").read_text()
    process = script(dataset, "--pretrained --checkpoint ckpt", folder)
    again, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert again == "Restoring from checkpoint...\n" + out[out.index("Evaluating...") :]
    after = (folder / "ckpt" / "results.jsonl").read_text()
    assert after.startswith(before) and len(after.splitlines()) == len(before.splitlines()) + 1


def test_ctrl_c_saves_and_says_so(tmp_path):
    process = script("omniglot", f"{SMALL} --meta-iters 100000 --checkpoint ckpt", tmp_path)
    assert process.stdout.readline() == "Training...\n"
    assert process.stdout.readline().startswith("batch 0:")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    last = runs.checkpoints(tmp_path / "ckpt")[-1]
    assert err.startswith(f"run_omniglot.py: stopped by SIGINT; saved as ckpt/model.ckpt-{last}")
    assert err.count("\n") == 1


@pytest.fixture
def refusal(tmp_path, monkeypatch, capsys):
    """A function that runs a command line in this process and returns the refusal."""
    monkeypatch.chdir(tmp_path)
    previous = {number: signal.getsignal(number) for number in signals.SIGNALS}

    def run(line, dataset=omniglot):
        with pytest.raises(SystemExit) as caught:
            main.main(dataset, line.split())
        assert caught.value.code == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        return err

    yield run
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("dataset", [omniglot, miniimagenet])
def test_missing_data_is_refused_before_anything_is_made(refusal, tmp_path, dataset):
    message = refusal("--checkpoint ckpt", dataset)
    assert message.startswith(f"run_{dataset.NAME}.py: error: the data folder data/{dataset.NAME}")
    assert "./fetch_data.sh" in message and "--synthetic" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--synthetic --classes 424 --shots 1", "the test set has only 423 classes"),
        ("--synthetic --shots 20", "--shots 20 and one query image need 21 images"),
        ("--synthetic --shots 1 --train-shots 21", "--train-shots 21 need 21 images"),
        ("--pretrained", "no checkpoint in model_checkpoint"),
        ("--pretrained --checkpoint nowhere", "no checkpoint in nowhere"),
    ],
)
def test_bad_input_is_refused_before_anything_is_made(refusal, tmp_path, line, reason):
    assert reason in refusal(line)
    assert list(tmp_path.iterdir()) == []


def test_training_into_a_run_is_refused(refusal, tmp_path):
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "ckpt" / "model.ckpt-100.index").touch()
    assert "already holds a run" in refusal("--synthetic --checkpoint ckpt")


def test_importing_the_scripts_main_does_not_start_tensorflow():
    code = "import sys, supervised_reptile.main; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=TOP).returncode == 0
