"""The two scripts as a person runs them: what they print, leave behind and exit with."""

import errno
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from PIL import Image

from supervised_reptile import main
from supervised_reptile.args import Config
from supervised_reptile.data import miniimagenet, omniglot
from supervised_reptile.learning import models, state
from supervised_reptile.runs import (
    checkpoints,
    final_evaluation,
    progress,
    record,
    training,
)
from supervised_reptile.system.errors import FailedError
from supervised_reptile.system.signals import Interrupted

TOP = pathlib.Path(__file__).parents[1]
DATASETS = {"omniglot": omniglot.OMNIGLOT, "miniimagenet": miniimagenet.MINIIMAGENET}
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


def script(dataset, line, folder, group=False):
    """Run a script from another folder, with TensorFlow's messages as a user would get them."""
    return subprocess.Popen(
        [sys.executable, TOP / f"run_{dataset}.py", *line.split()],
        start_new_session=group,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "CUDA_VISIBLE_DEVICES": "-1"},
    )


def without_images(err):
    """Standard error after its first lines: what images were read, and what computes."""
    line, _, rest = err.partition("\n")
    assert re.fullmatch(r"Images \(generated\): train [\d,]+ classes with [\d,]+ images, .*", line)
    line, _, rest = rest.partition("\n")
    assert re.fullmatch(r"Computing on the CPU, \d+ cores?", line)
    return rest


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
    assert without_images(err) == ""


def test_training_leaves_a_whole_run(trained):
    dataset, folder, out, _ = trained
    assert record.checkpoints(folder / "ckpt") == [0, 11]
    recorded = record.read(folder / "ckpt")
    sizes = [len(names) for names in recorded.split.values()]
    assert sizes == ([1200, 423] if dataset == "omniglot" else [64, 16, 20])
    (line,) = map(json.loads, (folder / "ckpt" / "results.jsonl").read_text().splitlines())
    assert line["iteration"] == 11
    assert line["data"] == recorded.data and "--synthetic" in recorded.data["origin"]["source"]
    assert f"Test accuracy: {line['accuracy']['test']}\n" in out
    assert line["seconds"]["training"] > 0 and line["seconds"]["evaluation"] > 0
    assert line["machine"] == recorded.machine


def test_a_saved_model_gives_the_same_results_again(trained):
    dataset, folder, out, _ = trained
    before = (folder / "ckpt" / "results.jsonl").read_text()
    process = script(dataset, "--pretrained --checkpoint ckpt", folder)
    again, err = process.communicate()
    assert (process.returncode, without_images(err)) == (0, "Restoring ckpt/model.ckpt-11\n")
    assert again == "Restoring from checkpoint...\n" + out[out.index("Evaluating...") :]
    after = (folder / "ckpt" / "results.jsonl").read_text()
    assert after.startswith(before) and len(after.splitlines()) == len(before.splitlines()) + 1


def test_the_second_column_is_what_transductive_gives(trained):
    """To the digit: both adapt the same networks to the same tasks."""
    dataset, folder, out, _ = trained
    process = script(dataset, "--pretrained --checkpoint ckpt --no-transductive", folder)
    one_by_one, err = process.communicate()
    assert (process.returncode, without_images(err)) == (0, "Restoring ckpt/model.ckpt-11\n")
    second = re.findall(r"^  transductive: (.*) \+/- (.*)$", one_by_one, re.M)
    expected = re.findall(r"accuracy: (.*)\n  \+/- (.*) \(", out)
    assert second == expected and len(second) == (3 if dataset == "miniimagenet" else 2)
    recorded = json.loads((folder / "ckpt" / "results.jsonl").read_text().splitlines()[-1])
    assert [str(mean) for mean in recorded["transductive"]["accuracy"].values()] == [
        mean for mean, _ in second
    ]


def test_a_finished_run_that_is_resumed_says_its_results_again(trained):
    dataset, folder, out, _ = trained
    before = {path: path.stat().st_mtime_ns for path in (folder / "ckpt").rglob("*")}
    process = script(dataset, f"{SMALL} --meta-iters 12 --checkpoint ckpt --resume", folder)
    again, err = process.communicate()
    assert process.returncode == 0
    assert err == "ckpt holds a finished run, with these results:\n"
    assert again == out[out.index("Train accuracy") :]
    after = {path: path.stat().st_mtime_ns for path in (folder / "ckpt").rglob("*")}
    assert after == before


def test_a_model_that_was_copied_without_its_record_is_not_trusted(trained):
    dataset, folder, _, _ = trained
    shutil.copytree(folder / "ckpt", folder / "copy", ignore=shutil.ignore_patterns("*.json*"))
    process = script(dataset, f"{SMALL} --pretrained --checkpoint copy --seed 0", folder)
    out, err = process.communicate()
    assert process.returncode == 0 and out.startswith("Restoring from checkpoint...\nEvaluating...")
    first, *lines = without_images(err).splitlines()
    assert first == "Warning: copy has no run.json: give what is assumed"
    assert lines.pop() == "Restoring copy/model.ckpt-11"
    assert all(line.startswith("assumed: --") for line in lines)
    assert ("--train-classes 1200" in err) == (dataset == "omniglot")
    assert "--seed" not in err and "--shots" not in err and "--learning-rate 0.001" in err
    (line,) = map(json.loads, (folder / "copy" / "results.jsonl").read_text().splitlines())
    assert {"learning_rate", "meta_step", "train_shots"} <= set(line["assumed"])
    assert not {"seed", "shots", "transductive", "classes", "sgd"} & set(line["assumed"])
    ours = [json.loads(line) for line in (folder / "ckpt" / "results.jsonl").open()]
    assert not any("assumed" in line for line in ours)


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.glob("model.ckpt-*")}


def test_a_closed_standard_output_or_error_does_not_matter(trained, tmp_path):
    """As cron and some launchers close them; a checkpoint must not take their place."""
    dataset, folder, _, _ = trained
    words = f"{SMALL} --meta-iters 12 --checkpoint ckpt".split()
    program = [sys.executable, TOP / f"run_{dataset}.py"]
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *program]
    assert subprocess.run([*command, *words], cwd=tmp_path).returncode == 0
    assert files_of(tmp_path / "ckpt") == files_of(folder / "ckpt")
    assert (tmp_path / "ckpt" / "results.jsonl").exists()


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("line", ["--help", "--version", "--resume --checkpoint ckpt"])
def test_what_cannot_be_printed_is_a_failure_of_standard_output(trained, line, unbuffered):
    dataset, folder, _, _ = trained
    command = [sys.executable, TOP / f"run_{dataset}.py", *line.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    options = {"stderr": subprocess.PIPE, "text": True, "cwd": folder, "env": environment}
    with open("/dev/full", "w") as full:
        found = subprocess.run(command, stdout=full, **options)
    last = found.stderr.splitlines()[-1]
    assert found.returncode == 1 and found.stderr.count("\n") == 1 + ("--resume" in line)
    assert last.endswith("failed: standard output: No space left on device; make room")
    reading_end, writing_end = os.pipe()
    os.close(reading_end)
    found = subprocess.run(command, stdout=writing_end, **options)
    os.close(writing_end)
    assert found.returncode == 1
    assert "failed: standard output: Broken pipe; " in found.stderr.splitlines()[-1]


def test_ctrl_c_saves_and_says_so(tmp_path):
    process = script("omniglot", f"{SMALL} --meta-iters 100000 --checkpoint ckpt", tmp_path)
    assert process.stdout.readline() == "Training...\n"
    assert process.stdout.readline().startswith("batch 0:")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT
    last = record.checkpoints(tmp_path / "ckpt")[-1]
    answer, _, err = without_images(err).partition("\n")
    assert answer == training.STOPPING
    assert err.startswith(f"run_omniglot.py: stopped by SIGINT; saved as ckpt/model.ckpt-{last}: ")
    assert "same command with --resume to continue" in err
    assert err.count("\n") == 1


def test_what_is_said_of_a_run_that_ends_early_is_true(tmp_path):
    def said(cause):
        with pytest.raises((Interrupted, FailedError)) as ended, main._resumable(str(tmp_path)):
            raise cause
        return str(ended.value)

    stopped, full = Interrupted(signal.SIGINT), OSError(28, "No space left on device")
    for cause in (stopped, full):
        assert "; nothing was saved yet: run the same command" in said(cause)
    (tmp_path / "run.json").touch()
    for cause in (stopped, full):
        assert f"; {tmp_path} is intact: run the same command" in said(cause)


def test_resuming_where_there_is_no_run_says_that_one_begins(tmp_path):
    """As after a slip in its name."""
    process = script("omniglot", f"{SMALL} --meta-iters 1 --checkpoint cpkt --resume", tmp_path)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    expected = "cpkt holds no checkpoint to resume from: training begins, of 1 meta-iterations\n"
    assert expected in err


def test_ctrl_c_while_images_are_read_is_one_line(tmp_path):
    """The terminal sends SIGINT to all processes of the command, the readers included."""
    # Large drawings, so that reading them takes longer than any of the delays.
    Image.new("1", (3000, 3000)).save(tmp_path / "drawing.png")
    for character in range(1205):
        folder = tmp_path / "data" / "omniglot" / "Greek" / f"character{character:04d}"
        folder.mkdir(parents=True)
        for drawing in range(2):
            os.link(tmp_path / "drawing.png", folder / f"{drawing}.png")
    for delay in (0.5, 0.8, 1.1):
        process = script("omniglot", "--shots 1 --checkpoint ckpt", tmp_path, group=True)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (out, err) == ("", "run_omniglot.py: stopped by SIGINT\n")
        assert process.returncode == 128 + signal.SIGINT
        assert not (tmp_path / "ckpt").exists()


@pytest.fixture
def evaluated(tmp_path, monkeypatch, handlers):
    """A function that runs --pretrained up to the evaluation; returns what would be evaluated."""
    monkeypatch.chdir(tmp_path)
    reports = []
    monkeypatch.setattr(final_evaluation, "report", lambda *arguments: reports.append(arguments))

    def run(line):
        main.main(omniglot.OMNIGLOT, ["--pretrained", *line.split()])
        learner, trained, images, _, directory = reports.pop()
        return learner.config, trained.state, images, str(directory), trained.iteration

    return run


def save_untrained(folder, **flags):
    """A recorded run with checkpoints 0 and 7, whose parameters are 0 and 7 throughout."""
    config = Config.of("omniglot", {"checkpoint": str(folder), "synthetic": True, **flags})
    names = [f"synthetic/character{index:04d}" for index in range(1, 1624)]
    with record.claim(folder, None):
        record.begin(record.Record(config, omniglot.draw_split(names, config.run.seed, 1200), {}))
        for iteration in (0, 7):
            values = {
                name: tf.fill(shape, float(iteration))
                for name, shape in models.OMNIGLOT.shapes(config.task.classes).items()
            }
            checkpoints.save(folder, iteration, state.untrained(values, config.inner.sgd), 5)


def test_the_split_of_the_run_is_used_whatever_the_seed(evaluated, tmp_path):
    save_untrained(tmp_path / "ckpt", shots=1, seed=3)
    recorded = record.read(tmp_path / "ckpt").split
    config, _, images, _, _ = evaluated("--checkpoint ckpt --seed 7")
    assert config.run.seed == 7 and config.task.shots == 1
    assert [images.names[index] for index in images.splits["test"]] == recorded["test"]
    assert list(images.names[:1200]) == recorded["train"]
    # The generated images, too, are those that the model was trained on.
    trained_on, _ = omniglot.load(config.run, 3)
    assert (images.pixels == trained_on.pixels).all()


def test_one_checkpoint_of_a_run_can_be_evaluated(evaluated, tmp_path):
    save_untrained(tmp_path / "ckpt", sgd=True)
    for name, number in (("ckpt", 7), ("ckpt/model.ckpt-7", 7), ("ckpt/model.ckpt-0", 0)):
        config, learner, _, directory, iteration = evaluated(f"--checkpoint {name}")
        assert (directory, iteration) == ("ckpt", number)
        assert config.inner.sgd and learner.second_moments == {}
        assert (learner.parameters["dense/kernel"].numpy() == number).all()


def test_the_checkpoint_that_the_state_file_names_is_evaluated(evaluated, tmp_path, capsys):
    save_untrained(tmp_path / "ckpt", sgd=True)
    (tmp_path / "ckpt" / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-0"\n')
    _, learner, _, _, iteration = evaluated("--checkpoint ckpt")
    assert iteration == 0 and (learner.parameters["dense/kernel"].numpy() == 0).all()
    warning, restoring = without_images(capsys.readouterr().err).splitlines()
    assert "names model.ckpt-0 as the newest, but there are others, up to model.ckpt-7" in warning
    assert restoring == "Restoring ckpt/model.ckpt-0"
    assert evaluated("--checkpoint ckpt/model.ckpt-7.index")[-1] == 7
    assert without_images(capsys.readouterr().err) == "Restoring ckpt/model.ckpt-7\n"


def test_a_checkpoint_of_another_name_is_evaluated(evaluated, tmp_path):
    save_untrained(tmp_path / "ckpt", sgd=True)
    for path in list((tmp_path / "ckpt").glob("model.ckpt-7.*")):
        path.rename(path.with_name(path.name.replace("model.ckpt-7", "best")))
    (tmp_path / "ckpt" / "checkpoint").write_text('model_checkpoint_path: "best"\n')
    for name in ("ckpt", "ckpt/best", "ckpt/best.data-00000-of-00001"):
        config, learner, _, directory, iteration = evaluated(f"--checkpoint {name}")
        assert iteration is None and directory == "ckpt" and config.inner.sgd
        assert (learner.parameters["dense/kernel"].numpy() == 7).all()


def test_a_directory_of_the_authors_program_is_evaluated_by_flags_alone(evaluated, tmp_path):
    save_untrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "run.json").unlink()
    config, learner, images, _, _ = evaluated(
        "--checkpoint theirs --synthetic --seed 2 --shots 1 --transductive"
    )
    assert config.task.shots == 1 and config.evaluation.transductive
    assert set(learner.second_moments) == set(learner.parameters)
    expected = omniglot.load(config.run, 2)[0]
    assert images.names == expected.names


def test_what_the_machine_fails_at_is_one_line(tmp_path, monkeypatch, handlers, capsys):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "ckpt/train/events")

    monkeypatch.setattr(progress, "Curve", full)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main.main(omniglot.OMNIGLOT, [*SMALL.split(), "--checkpoint", "ckpt"])
    assert caught.value.code == 1
    err = without_images(capsys.readouterr().err)
    assert err.startswith("run_omniglot.py: failed: ") and err.count("\n") == 1
    assert not (tmp_path / "ckpt" / "run.json").exists()


def test_a_signal_does_not_wait_for_the_compiler(trained, tmp_path):
    """Which takes several seconds, and cannot be interrupted: in training, and in evaluation."""
    dataset, folder, _, _ = trained
    work = "Training..." if dataset == "miniimagenet" else "Evaluating..."
    command = f"--synthetic --train-shots 15 --inner-batch 10 --checkpoint {tmp_path / 'new'}"
    if work == "Evaluating...":
        command = f"--pretrained --checkpoint {folder / 'ckpt'}"
    process = script(dataset, command, tmp_path)
    while process.stdout.readline().strip() != work:
        assert process.poll() is None
    time.sleep(0.3)
    begin = time.monotonic()
    process.terminate()
    out, err = process.communicate()
    assert time.monotonic() - begin < 2
    assert (process.returncode, out) == (128 + signal.SIGTERM, "")
    assert err.splitlines()[-1].startswith(f"run_{dataset}.py: stopped by SIGTERM")
    assert not (tmp_path / "new" / "run.json").exists()  # the folder is free again


@pytest.mark.parametrize("debug", ["", "1"])
def test_too_little_memory_is_one_line_unless_the_traceback_is_asked_for(
    tmp_path, monkeypatch, handlers, capsys, debug
):
    def train(*arguments):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nHint: use ...")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPTILE_DEBUG", debug)
    monkeypatch.setattr(training, "train", train)
    with pytest.raises(SystemExit) as caught:
        main.main(omniglot.OMNIGLOT, [*SMALL.split(), "--checkpoint", "ckpt"])
    assert caught.value.code == 1
    *before, last = without_images(capsys.readouterr().err).splitlines()
    assert last.startswith("run_omniglot.py: failed: out of memory (OOM when allocating): ")
    assert "use smaller batches" in last and "nothing was saved yet" in last
    traceback = "\n".join(before)
    assert ("raise tf.errors.ResourceExhaustedError" in traceback) == bool(debug)
    assert bool(before) == bool(debug)


@pytest.mark.parametrize("flag", ["--device gpu", "--tf32"])
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_read(refusal, monkeypatch, flag):
    monkeypatch.setattr(main, "_load", lambda *_: pytest.fail("images were read"))
    assert f"error: {flag}" in refusal(f"--synthetic {flag}")


def test_classifying_is_not_shared(refusal):
    """All processes would write its files."""
    message = refusal("--pretrained --checkpoint c --classify a b --json c --distribute")
    assert "--classify is work for one process: omit --distribute" in message


def test_the_traceback_of_a_refusal_is_shown_where_it_is_asked_for(monkeypatch, handlers, capsys):
    monkeypatch.setenv("REPTILE_DEBUG", "1")
    with pytest.raises(SystemExit):
        main.main(omniglot.OMNIGLOT, ["--shots", "0"])
    err = capsys.readouterr().err
    assert "Traceback" in err and "ArgumentTypeError" in err
    assert err.splitlines()[-1].startswith("run_omniglot.py: error: argument --shots")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOSYS])
def test_no_path_is_blamed_for_what_the_system_lacks(refusal, monkeypatch, number):
    def decide(*arguments):
        raise OSError(number, os.strerror(number), "ckpt/run.json")

    monkeypatch.setattr(main.plan, "decide", decide)
    message = refusal("--pretrained --checkpoint ckpt")
    assert message.startswith(f"run_omniglot.py: error: {os.strerror(number)}: ")
    assert "run.json" not in message and "path" not in message


@pytest.fixture
def refusal(tmp_path, monkeypatch, capsys, handlers):
    """A function that runs a command line in this process and returns the refusal."""
    monkeypatch.chdir(tmp_path)

    def run(line, dataset="omniglot"):
        with pytest.raises(SystemExit) as caught:
            main.main(DATASETS[dataset], line.split())
        assert caught.value.code == 2
        out, err = capsys.readouterr()
        assert out == "" and err.count("\n") == 1
        return err

    return run


@pytest.mark.parametrize("dataset", ["omniglot", "miniimagenet"])
def test_missing_data_is_refused_before_anything_is_made(refusal, tmp_path, dataset):
    message = refusal("--checkpoint ckpt", dataset)
    assert message.startswith(f"run_{dataset}.py: error: the data folder data/{dataset}")
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


def test_resuming_another_run_is_refused(refusal, tmp_path):
    save_untrained(tmp_path / "ckpt", shots=1, seed=3)
    before = sorted(path.name for path in (tmp_path / "ckpt").iterdir())
    line = "--resume --checkpoint ckpt"
    assert "--seed is 0 here but 3 there" in refusal(f"{line} --seed 0")
    content = json.loads((tmp_path / "ckpt" / "run.json").read_text())
    content["data"] = {"digest": "12ab"}
    (tmp_path / "ckpt" / "run.json").write_text(json.dumps(content))
    assert "(12ab...): use those" in refusal(line)
    assert "(12ab...): use those" in refusal("--pretrained --checkpoint ckpt")
    content["versions"]["numpy"] = "1.0"
    (tmp_path / "ckpt" / "run.json").write_text(json.dumps(content))
    assert "install numpy==1.0" in refusal(line)
    (tmp_path / "ckpt" / "run.json").unlink()
    assert "already holds a run" in refusal(f"{line} --synthetic")
    assert sorted(path.name for path in (tmp_path / "ckpt").iterdir()) == [
        name for name in before if name != "run.json"
    ]


@pytest.mark.parametrize("name", ["run_omniglot.py", "run_miniimagenet.py"])
def test_scripts_can_be_run_by_name(name):
    """In an environment that is activated."""
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for flag, beginning in (("--help", f"usage: {name}"), ("--version", f"{name} 0.")):
        command = [TOP / name, flag]
        environment = {**os.environ, "PATH": path}
        found = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert found.returncode == 0 and found.stdout.startswith(beginning)


def test_importing_the_scripts_main_does_not_start_tensorflow():
    code = "import sys, supervised_reptile.main; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=TOP).returncode == 0
