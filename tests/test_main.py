"""The two scripts as a person runs them: what they print, leave behind and exit with."""

import dataclasses
import errno
import json
import logging
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tensorflow as tf
from PIL import Image

from supervised_reptile import args, main, plan
from supervised_reptile.args import Config
from supervised_reptile.data import cache, miniimagenet, omniglot
from supervised_reptile.learning import models, state
from supervised_reptile.runs import checkpoints, final_evaluation, record, training
from supervised_reptile.system.errors import FailedError
from supervised_reptile.system.signals import Interrupted

TOP = pathlib.Path(__file__).parents[1]
DATASETS = {"omniglot": omniglot.OMNIGLOT, "miniimagenet": miniimagenet.MINIIMAGENET}
SMALL = (
    "--shots 1 --inner-batch 5 --inner-iters 2 --meta-batch 2 --eval-iters 3 --eval-samples 10 "
    "--transductive --checkpoint ckpt"
)
FULL_MEMORY = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\nHint: use ...")
FULL_DISK = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
INTERVAL = r"  \+/- 0\.\d{5} \(95% confidence over 10 tasks, transductive\)\n"
FINAL = re.compile(
    r"Evaluating\.\.\.\n"
    rf"Train accuracy: (0\.\d+)\n{INTERVAL}(?:Validation accuracy: (0\.\d+)\n{INTERVAL})?"
    rf"Test accuracy: (0\.\d+)\n{INTERVAL}"
)


def without_images(err):
    """Standard error after its first lines: what images were read, and what computes."""
    images, computing, rest = err.split("\n", 2)
    counts = r"train [\d,]+ classes(, .*,)? with [\d,]+ images, .*"
    assert re.fullmatch(rf"Images \(.*\): {counts}", images)
    assert re.fullmatch(r"Computing on the CPU, \d+ cores?", computing)
    return rest


@pytest.fixture(
    scope="module", params=["omniglot", pytest.param("miniimagenet", marks=pytest.mark.slow)]
)
def trained(request, tmp_path_factory, start, few_images):
    """A short run: the dataset, its folder, what it printed."""
    folder = tmp_path_factory.mktemp(request.param)
    line = f"{SMALL} --meta-iters 12 {few_images[request.param]}"
    process = start(request.param, line, folder)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return request.param, folder, out, err


def test_training_prints_what_the_specification_says_and_leaves_a_whole_run(trained):
    dataset, folder, out, err = trained
    accuracy = r"[01]\.\d{6}"
    lines = rf"Training\.\.\.\nbatch 0: train={accuracy} test={accuracy}\n"
    lines += rf"batch 10: train={accuracy} test={accuracy}\n"
    match = re.fullmatch(lines + FINAL.pattern, out)
    assert match
    assert (match[2] is not None) == (dataset == "miniimagenet")
    assert without_images(err) == ""
    assert record.checkpoints(folder / "ckpt") == [0, 11]
    recorded = record.read(folder / "ckpt")
    sets = ["train", "test"] if dataset == "omniglot" else ["train", "val", "test"]
    sizes = {name: len(classes) for name, classes in recorded.split.items()}
    assert sizes == dict.fromkeys(sets, 6)
    (line,) = map(json.loads, (folder / "ckpt" / "results.jsonl").read_text().splitlines())
    assert line["iteration"] == 11
    for part in ("data", "machine", "versions", "commit"):
        assert line[part] == getattr(recorded, part)
    assert f"Test accuracy: {line['accuracy']['test']}\n" in out
    assert line["seconds"]["training"] > 0 and line["seconds"]["evaluation"] > 0


def test_a_saved_model_gives_the_same_results_again(trained, start):
    """To the digit, in the second column: the same networks adapt to the same tasks."""
    dataset, folder, out, _ = trained
    process = start(dataset, "--pretrained --checkpoint ckpt --no-transductive", folder)
    again, err = process.communicate()
    assert (process.returncode, without_images(err)) == (0, "Restoring ckpt/model.ckpt-11\n")
    assert again.startswith("Restoring from checkpoint...\nEvaluating...\nTrain accuracy: ")
    second = re.findall(r"^  transductive: (.*) \+/- (.*)$", again, re.M)
    expected = re.findall(r"accuracy: (.*)\n  \+/- (.*) \(", out)
    expected = [(f"{float(mean):.5f}", interval) for mean, interval in expected]
    assert second == expected and len(second) == (3 if dataset == "miniimagenet" else 2)


def test_a_finished_run_that_is_resumed_says_its_results_again(trained, start, few_images):
    dataset, folder, out, _ = trained
    before = {path: path.stat().st_mtime_ns for path in (folder / "ckpt").rglob("*")}
    process = start(dataset, f"{SMALL} --meta-iters 12 {few_images[dataset]} --resume", folder)
    again, err = process.communicate()
    assert process.returncode == 0
    assert err == "ckpt holds a finished run, with these results:\n"
    assert again == out[out.index("Train accuracy") :]
    after = {path: path.stat().st_mtime_ns for path in (folder / "ckpt").rglob("*")}
    assert after == before


@pytest.fixture
def command(tmp_path, monkeypatch, capsys, handlers):
    """A function that runs a command line here, uncompiled, with small networks: its output and
    its messages."""
    monkeypatch.chdir(tmp_path)
    for name, model in models.MODELS.items():
        monkeypatch.setitem(models.MODELS, name, dataclasses.replace(model, filters=4))
    monkeypatch.setattr(tf.get_logger(), "level", logging.ERROR)  # or it warns of many runs
    tf.config.run_functions_eagerly(True)

    def run(dataset, line):
        main.main(DATASETS[dataset], line.split())
        return capsys.readouterr()

    yield run
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize(
    ("dataset", "flags"),
    [
        ("omniglot", "--foml --foml-tail 1 --train-shots 3"),
        ("omniglot", "--sgd --replacement --eval-batch 3 --weight-decay 0.5"),
        ("miniimagenet", "--eval-samples 2"),
    ],
)
def test_whole_runs_of_all_kinds_give_accuracies_and_give_them_again(
    command, few_images, tmp_path, dataset, flags
):
    small = "--classes 3 --shots 1 --inner-batch 3 --inner-iters 2 --eval-iters 2 --eval-samples 3"
    line = f"{small} {few_images[dataset]} {flags} --meta-iters 2 --checkpoint ckpt"
    out, err = command(dataset, line)
    assert without_images(err) == ""
    means = re.findall(r"(?:accuracy|transductive): ([01]\.\d+)", out)
    config = plan.resolve(dataset, args.parse("run", dataset, line.split()))
    assert record.read(tmp_path / "ckpt").config == config
    asked = 3 * config.evaluation.eval_samples
    for correct in (float(mean) * asked for mean in means):
        assert 0 <= correct <= asked and abs(correct - round(correct)) < 1e-4
    again, err = command(dataset, "--pretrained --checkpoint ckpt")
    assert without_images(err) == "Restoring ckpt/model.ckpt-1\n"
    assert again == "Restoring from checkpoint...\n" + out[out.index("Evaluating...") :]
    for line in map(json.loads, (tmp_path / "ckpt" / "results.jsonl").open()):
        together = line["transductive"]["accuracy"]
        found = [(str(one), f"{together[name]:.5f}") for name, one in line["accuracy"].items()]
        assert [text for both in found for text in both] == means
    only, _ = command(dataset, "--pretrained --checkpoint ckpt --eval-sets test")
    assert only.partition("Evaluating...\n")[2] == out[out.index("Test accuracy") :]
    (line,) = map(json.loads, (tmp_path / "ckpt" / "results.jsonl").read_text().splitlines()[2:])
    assert line["accuracy"].keys() == line["transductive"]["accuracy"].keys() == {"test"}


FEW = "--classes 3 --shots 1 --eval-batch 3 --eval-iters 2 --eval-samples 3 --checkpoint ckpt"


def test_an_untrained_network_is_evaluated_and_its_results_are_said_again(
    command, few_images, tmp_path
):
    out, _ = command("omniglot", f"{FEW} {few_images['omniglot']} --meta-iters 0")
    assert out.startswith("Training...\nEvaluating...\nTrain accuracy: ")
    assert json.loads((tmp_path / "ckpt" / "results.jsonl").read_text())["iteration"] is None
    again, _ = command("omniglot", "--resume --checkpoint ckpt")
    assert again == out[out.index("Train accuracy: ") :]


def test_a_run_that_goes_on_elsewhere_says_so(command, few_images, tmp_path):
    out, _ = command("omniglot", f"{FEW} {few_images['omniglot']} --meta-iters 1 --inner-iters 1")
    (tmp_path / "ckpt" / "results.jsonl").unlink()
    path = tmp_path / "ckpt" / "run.json"
    content = json.loads(path.read_text())
    content["machine"]["cores"] = 77
    path.write_text(json.dumps(content))
    again, err = command("omniglot", "--resume --checkpoint ckpt")
    assert again.partition("Evaluating...")[2] == out.partition("Evaluating...")[2]
    assert "instead of 77" in err and "Resuming after meta-iteration 0" in err


@pytest.mark.parametrize(
    ("line", "unbuffered"), [("--help", ""), ("--version", "1"), ("--resume --checkpoint ckpt", "")]
)
def test_what_cannot_be_printed_is_a_failure_of_standard_output(trained, start, line, unbuffered):
    dataset, folder, _, _ = trained
    own = {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        process = start(dataset, line, folder, own, stdout=full)
        _, err = process.communicate()
    assert process.returncode == 1 and err.count("\n") == 1 + ("--resume" in line)
    assert err.endswith("failed: standard output: No space left on device; make room\n")
    reading_end, writing_end = os.pipe()
    os.close(reading_end)
    process = start(dataset, line, folder, own, stdout=writing_end)
    os.close(writing_end)
    _, err = process.communicate()
    assert process.returncode == 1
    assert "failed: standard output: Broken pipe; " in err.splitlines()[-1]


def test_ctrl_c_saves_and_says_so(start, few_images, tmp_path):
    process = start("omniglot", f"{SMALL} --meta-iters 100000 {few_images['omniglot']}", tmp_path)
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


@pytest.mark.parametrize("cause", [Interrupted(signal.SIGINT), FULL_DISK])
def test_what_is_said_of_a_run_that_ends_early_is_true(tmp_path, cause):
    def said():
        folder = record.OwnFolder(tmp_path)
        with pytest.raises((Interrupted, FailedError)) as ended, main._resumable(folder):
            raise cause
        return str(ended.value)

    assert "; nothing was saved yet: run the same command" in said()
    (tmp_path / "model.ckpt-0.index").touch()
    assert f"; {tmp_path} is intact: run the same command with --resume to" in said()


@pytest.mark.slow
def test_a_run_whose_folder_is_moved_goes_on_there_and_touches_no_other(
    start, few_images, tmp_path
):
    line = f"{SMALL} --meta-iters 100000 --checkpoint-interval 50 {few_images['omniglot']}"
    old = start("omniglot", line, tmp_path)
    while not (tmp_path / "ckpt" / "model.ckpt-0.index").exists():
        time.sleep(0.1)
    old.send_signal(signal.SIGSTOP)
    (tmp_path / "ckpt").rename(tmp_path / "aside")
    new = start("omniglot", f"{line} --seed 7", tmp_path)
    while not (tmp_path / "ckpt" / "model.ckpt-0.index").exists():
        time.sleep(0.1)
    new.send_signal(signal.SIGSTOP)
    there = sorted(os.listdir(tmp_path / "ckpt"))
    old.send_signal(signal.SIGCONT)
    while not (tmp_path / "aside" / "model.ckpt-50.index").exists():
        time.sleep(0.1)
    old.terminate()
    _, err = old.communicate()
    last = record.checkpoints(tmp_path / "aside")[-1]
    assert f"ckpt was moved: this run goes on in {tmp_path}/aside\n" in err
    saved, advice = f"saved as {tmp_path}/aside/model.ckpt-{last}", f"--checkpoint {tmp_path}/aside"
    assert err.endswith(f"{saved}: run the same command with --resume {advice} to continue\n")
    assert sorted(os.listdir(tmp_path / "ckpt")) == there
    new.send_signal(signal.SIGCONT)
    shutil.rmtree(tmp_path / "ckpt")
    _, err = new.communicate()
    assert new.returncode == 1 and err.endswith(
        "run_omniglot.py: failed: ckpt, the folder of this run, is gone: it was moved or removed\n"
    )
    assert not (tmp_path / "ckpt").exists()


@pytest.mark.slow
def test_ctrl_c_while_images_are_read_is_one_line(start, tmp_path):
    """The terminal sends SIGINT to all processes of the command, the readers included."""
    # Large drawings, so that reading them takes longer than any of the delays.
    Image.new("1", (3000, 3000)).save(tmp_path / "drawing.png")
    for character in range(1205):
        folder = tmp_path / "data" / "omniglot" / "Greek" / f"character{character:04d}"
        folder.mkdir(parents=True)
        for drawing in range(2):
            os.link(tmp_path / "drawing.png", folder / f"{drawing}.png")
    lock = tmp_path / "data" / "omniglot" / cache.FOLDER / "28-L.lock"
    for delay in (0, 0.2, 0.5, 1):
        line = "--shots 1 --checkpoint ckpt"
        process = start("omniglot", line, tmp_path, start_new_session=True)
        while not lock.exists():  # just before reading begins
            time.sleep(0.01)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (out, err) == ("", "run_omniglot.py: stopped by SIGINT\n")
        assert process.returncode == 128 + signal.SIGINT
        assert not (tmp_path / "ckpt").exists()
        lock.unlink()


@pytest.fixture
def evaluated(tmp_path, monkeypatch, handlers):
    """A function that runs --pretrained up to the evaluation; returns what would be evaluated."""
    monkeypatch.chdir(tmp_path)
    reports = []
    monkeypatch.setattr(final_evaluation, "report", lambda *arguments: reports.append(arguments))

    def run(line):
        main.main(omniglot.OMNIGLOT, ["--pretrained", *line.split()])
        algorithm, trained, images, _, directory = reports.pop()
        return algorithm.config, trained, images, str(directory)

    return run


@pytest.fixture
def save_untrained(tmp_path, few_images):
    """A function that writes a recorded run with checkpoints 0 and 7, all of 0s and of 7s."""

    def save(**flags):
        folder = tmp_path / "ckpt"
        images = args.parse("run", "omniglot", few_images["omniglot"].split())
        config = Config.of("omniglot", {"checkpoint": str(folder), "shots": 1, **images, **flags})
        names = [f"{name}/{name}{index}" for name in ("Greek", "Latin") for index in range(6)]
        split = omniglot.draw_split(names, config.run.seed, 6)
        with record.claim(folder, None):
            record.begin(record.Record(config, split, {}, **record.part({})))
            for iteration in (0, 7):
                shapes = models.OMNIGLOT.shapes(config.task.classes)
                values = {name: tf.fill(shape, float(iteration)) for name, shape in shapes.items()}
                checkpoints.save(folder, iteration, state.untrained(values, config.inner.sgd), 5)
        return folder

    return save


def test_the_split_of_the_run_is_used_whatever_the_seed(evaluated, save_untrained):
    recorded = record.read(save_untrained(seed=3)).split
    config, _, images, _ = evaluated("--checkpoint ckpt --seed 7")
    assert config.run.seed == 7 and config.task.shots == 1
    assert [images.names[index] for index in images.splits["test"]] == recorded["test"]
    assert list(images.names[:6]) == recorded["train"]


def test_own_images_test_a_saved_model_and_are_called_that(evaluated, save_untrained, few_images):
    """But for classes that the model was trained on."""
    folder = save_untrained(seed=3)
    content = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**content, "data": {"digest": "12ab"}}))
    shutil.copytree(few_images["omniglot"].split()[1], "own")
    train, test = (content["split"][name][0] for name in ("train", "test"))
    pathlib.Path("own", test).rename("own/Greek/new")
    _, _, images, _ = evaluated("--checkpoint ckpt --data-dir own")
    parts = {name: {images.names[i] for i in part} for name, part in images.splits.items()}
    assert train in parts["train"] and "Greek/new" in parts["test"]
    assert images.origin["images"].startswith("not those of the run")


def test_the_checkpoint_that_is_named_is_evaluated(evaluated, save_untrained, capsys):
    """By the command line, or by the state file."""
    folder = save_untrained(sgd=True)
    for name, number in (("ckpt", 7), ("ckpt/model.ckpt-7.index", 7), ("ckpt/model.ckpt-0", 0)):
        config, trained, _, directory = evaluated(f"--checkpoint {name}")
        assert (directory, trained.iteration) == ("ckpt", number)
        assert config.inner.sgd and trained.state.second_moments == {}
        assert (trained.state.parameters["dense/kernel"].numpy() == number).all()
    (folder / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-0"\n')
    capsys.readouterr()
    assert evaluated("--checkpoint ckpt")[1].iteration == 0
    warning, restoring = without_images(capsys.readouterr().err).splitlines()
    assert "names model.ckpt-0 as the newest, but there are others, up to model.ckpt-7" in warning
    assert restoring == "Restoring ckpt/model.ckpt-0"
    for path in list(folder.glob("model.ckpt-7.*")):
        path.rename(path.with_name(path.name.replace("model.ckpt-7", "best")))
    (folder / "checkpoint").write_text('model_checkpoint_path: "best"\n')
    for name in ("ckpt", "ckpt/best.data-00000-of-00001"):
        _, trained, _, _ = evaluated(f"--checkpoint {name}")
        assert trained.iteration is None
        assert (trained.state.parameters["dense/kernel"].numpy() == 7).all()


def test_a_directory_of_the_authors_program_is_evaluated_by_flags_alone(evaluated, save_untrained):
    (save_untrained() / "run.json").unlink()
    line = "--checkpoint ckpt --synthetic --seed 2 --shots 1 --transductive"
    config, trained, images, _ = evaluated(line)
    assert config.task.shots == 1 and config.evaluation.transductive
    assert set(trained.state.second_moments) == set(trained.state.parameters)
    assert "eval_iters" in trained.assumed and "seed" not in trained.assumed
    expected = omniglot.load(config.run, 2)[0]
    assert images.names == expected.names and (images.pixels == expected.pixels).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "command"),
    [
        ("Training...", f"{SMALL} --train-shots 3 --checkpoint new"),
        ("Evaluating...", "--pretrained --checkpoint ckpt"),
    ],
)
def test_a_signal_does_not_wait_for_the_compiler(trained, start, few_images, work, command):
    """Which takes several seconds, and cannot be interrupted: in training, and in evaluation."""
    dataset, folder, _, _ = trained
    process = start(dataset, f"{command} {few_images[dataset]}", folder)
    while process.stdout.readline().strip() != work:
        assert process.poll() is None
    time.sleep(0.3)
    # In seconds of cores, since others may keep them busy.
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    begun = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    process.terminate()
    out, err = process.communicate()
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert own.ru_utime + own.ru_stime - ended.ru_utime - ended.ru_stime - begun < 2
    assert (process.returncode, out) == (128 + signal.SIGTERM, "")
    assert err.splitlines()[-1].startswith(f"run_{dataset}.py: stopped by SIGTERM")
    assert not (folder / "new" / "run.json").exists()  # the folder is free again


@pytest.mark.parametrize("debug", ["", "1"])
@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (FULL_MEMORY, ("out of memory (OOM when allocating): ", "use smaller batches")),
        (FULL_DISK, ("No space left on device",)),
    ],
)
def test_what_the_machine_fails_at_is_one_line_unless_the_traceback_is_asked_for(
    tmp_path, monkeypatch, few_images, handlers, capsys, cause, words, debug
):
    def train(*arguments):
        raise cause

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REPTILE_DEBUG", debug)
    monkeypatch.setattr(training, "train", train)
    line = f"{SMALL} --meta-iters 1 --resume {few_images['omniglot']}"
    with pytest.raises(SystemExit) as caught:
        main.main(omniglot.OMNIGLOT, line.split())
    assert caught.value.code == 1
    first, *traceback, last = without_images(capsys.readouterr().err).splitlines()
    # As after a slip in the name of a folder.
    new = "training begins, of 1 meta-iterations"
    assert first == f"ckpt holds no checkpoint to resume from: {new}"
    assert last.startswith("run_omniglot.py: failed: ") and "nothing was saved yet" in last
    assert all(word in last for word in words)
    assert ("raise cause" in "\n".join(traceback)) == bool(traceback) == bool(debug)


@pytest.mark.parametrize("flag", ["--device gpu", "--tf32"])
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_read(refusal, monkeypatch, flag):
    monkeypatch.setattr(main, "_load", lambda *_: pytest.fail("images were read"))
    assert f"error: {flag}" in refusal(f"--synthetic {flag}")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--classes 7 --shots 1", "the test set has only 6 classes"),
        ("--shots 4", "--shots 4 and one query image need 5 images"),
        ("--shots 1 --train-shots 5", "--train-shots 5 need 5 images"),
        ("--pretrained", "model_checkpoint: there is no checkpoint"),
        ("--pretrained --checkpoint nowhere", "nowhere: there is no checkpoint"),
        ("--pretrained --classify a b --distribute", "--classify is work for one process: omit"),
    ],
)
def test_bad_input_is_refused_before_anything_is_made(refusal, few_images, tmp_path, line, reason):
    assert reason in refusal(f"{line} {few_images['omniglot']}")
    assert list(tmp_path.iterdir()) == []


def test_other_images_than_those_of_the_run_are_refused(refusal, save_untrained):
    path = save_untrained(seed=3) / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "data": {"digest": "12ab"}}))
    before = {each: each.stat().st_mtime_ns for each in path.parent.iterdir()}
    for line in ("--resume --checkpoint ckpt", "--pretrained --checkpoint ckpt"):
        assert "(12ab...): use those" in refusal(line)
    assert {each: each.stat().st_mtime_ns for each in path.parent.iterdir()} == before


@pytest.mark.parametrize("name", ["run_omniglot.py", "run_miniimagenet.py"])
def test_scripts_can_be_run_by_name(name):
    """In an environment that is activated."""
    path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    printed = subprocess.check_output([TOP / name, "--version"], text=True, env=environment)
    assert printed.startswith(f"{name} 0.")


def test_importing_the_scripts_main_does_not_start_tensorflow():
    code = "import sys, supervised_reptile.main; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=TOP).returncode == 0


def test_a_package_that_cannot_be_imported_is_one_line(monkeypatch, capsys):
    def run(*_):
        raise ImportError("libcuda.so.1: cannot open shared object file\nhint")

    monkeypatch.setattr(main, "run", run)
    with pytest.raises(SystemExit) as ended:
        main.main(omniglot.OMNIGLOT, [])
    said = "run_omniglot.py: failed: libcuda.so.1: cannot open shared object file\n"
    assert (ended.value.code, capsys.readouterr().err) == (1, said)
