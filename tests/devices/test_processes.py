"""A run that processes share: what one process gives, written once, ended together."""

import json
import os
import signal
import time

import numpy as np
import processes
import pytest
import tensorflow as tf

TRAIN = ["--parallel-tasks", "--meta-iters", "8"]
LONG = ["--parallel-tasks", "--meta-iters", "1000000", "--checkpoint-interval", "5"]
LAST = "model.ckpt-7"


def tensors(folder):
    reader = tf.train.load_checkpoint(str(folder / LAST))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.fixture(scope="module", params=["", "--sgd"], ids=["adam", "sgd"])
def one(request, tmp_path_factory):
    """A run of one process: its folder, its flags, what it printed."""
    folder = tmp_path_factory.mktemp("one")
    flags = [*TRAIN, *request.param.split()]
    return folder, flags, processes.alone(folder, *flags, "--checkpoint", "one")


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_train_what_one_does(one, count):
    """Four tasks: three processes have two, one and one."""
    folder, flags, printed = one
    name = f"of{count}"
    found = processes.finish(processes.start(folder, count, *flags, "--checkpoint", name))
    assert [status for status, _, _ in found] == [0] * count, found
    (_, out, err), *others = found
    # One process prints; the first lines are before rounding can matter.
    assert out.splitlines()[:2] == printed.splitlines()[:2]
    assert out.count("\n") == printed.count("\n")
    assert f"with {count} processes: waiting until all are there" in err.splitlines()[0]
    assert all((out, err) == ("", "") for _, out, err in others)
    expected = tensors(folder / "one")
    for key, value in tensors(folder / name).items():
        np.testing.assert_allclose(value, expected[key], rtol=0, atol=1e-5, err_msg=key)
    files = [sorted(os.listdir(folder / each)) for each in (name, "one")]
    assert files[0] == files[1]
    assert json.loads((folder / name / "run.json").read_text())["machine"]["processes"] == count


@pytest.fixture(scope="module")
def adam(one):
    """The run with Adam, whose sums include those of SGD."""
    if "--sgd" in one[1]:
        pytest.skip("SGD adds up less")
    return one


def test_the_same_processes_give_the_same_bits(adam):
    folder, flags, _ = adam
    found = processes.finish(processes.start(folder, 2, *flags, "--checkpoint", "again"))
    assert [status for status, _, _ in found] == [0, 0], found
    bits = [folder / name / f"{LAST}.data-00000-of-00001" for name in ("again", "of2")]
    assert bits[0].read_bytes() == bits[1].read_bytes()


def test_an_evaluation_counts_what_one_process_does(adam):
    """Among three processes, of which one has fewer tasks than others."""
    folder, _, _ = adam
    flags = ["--pretrained", "--checkpoint", "one", "--eval-samples", "31"]
    expected = processes.alone(folder, *flags)
    (first, out, err), *others = processes.finish(processes.start(folder, 3, *flags))
    assert (first, out) == (0, expected), err
    assert others == [(0, "", "")] * 2


def test_a_signal_at_one_process_ends_an_evaluation_of_all(adam):
    folder, _, _ = adam
    flags = ["--pretrained", "--checkpoint", "one", "--eval-samples", "100000"]
    running = processes.start(folder, 2, *flags)
    reads(running[0], "Evaluating...")
    time.sleep(10)
    running[1].terminate()
    for number, (status, _, err) in enumerate(processes.finish(running)):
        whose = "process 1 " if number else ""
        assert status == 128 + signal.SIGTERM
        assert err.splitlines()[-1] == f"run_omniglot.py: {whose}stopped by SIGTERM"


def test_in_order_the_first_process_trains_to_the_bit(tmp_path):
    flags = ["--meta-iters", "8", "--checkpoint"]
    printed = processes.alone(tmp_path, *flags, "one")
    (status, out, err), _ = processes.finish(processes.start(tmp_path, 2, *flags, "two"))
    assert (status, out) == (0, printed)
    assert "trains in order, so that only evaluations are shared" in err
    for end in ("index", "data-00000-of-00001"):
        one, two = (tmp_path / name / f"{LAST}.{end}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def reads(process, text):
    """Read standard output until a line begins with a text."""
    for line in process.stdout:
        if line.startswith(text):
            return
    raise AssertionError(process.stderr.read())


def test_a_process_that_dies_ends_the_others_and_any_number_resumes(tmp_path):
    running = processes.start(tmp_path, 3, *LONG, "--checkpoint", "run")
    reads(running[0], "batch 10:")
    running[1].kill()
    (first, _, err), (killed, _, _), (last, _, other) = processes.finish(running)
    assert (first, killed, last) == (1, -signal.SIGKILL, 1)
    advice = "another process of this run has ended, or is out of reach; run is intact: run the "
    advice += "same command with --resume to continue\n"
    assert err.endswith(f"run_omniglot.py: failed: {advice}")
    assert other == f"run_omniglot.py: process 2 failed: {advice}"
    # Ctrl-C at the one that does not write.
    running = processes.start(tmp_path, 2, *LONG, "--resume", "--checkpoint", "run")
    reads(running[0], "batch 20:")
    running[1].send_signal(signal.SIGINT)
    (first, _, err), (last, _, other) = processes.finish(running)
    assert first == last == 128 + signal.SIGINT
    assert "Resuming after meta-iteration" in err
    assert "stopped by SIGINT; saved as run/model.ckpt-" in err.splitlines()[-1]
    assert "process 1 stopped by SIGINT" in other


def test_all_processes_refuse_alike_with_one_message(tmp_path):
    for flags in (["--shots", "0"], ["--no-such-flag"], ["--pretrained", "--checkpoint", "none"]):
        (first, _, err), *others = processes.finish(processes.start(tmp_path, 2, *flags))
        assert first == 2 and "error: " in err.splitlines()[-1]
        assert others == [(2, "", "")]
    assert not (tmp_path / "model_checkpoint").exists()


def test_processes_with_other_flags_are_refused(tmp_path):
    flags = ["--meta-iters", "8", "--checkpoint", "run"]
    running = processes.start(tmp_path, 2, *flags, last=["--seed", "1"])
    (first, out, err), other = processes.finish(running)
    assert (first, out) == (2, "") and other == (2, "", "")
    assert "process 1 of 2 has other flags and images than process 0" in err.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_waiting_for_the_others_ends_at_ctrl_c(tmp_path):
    (waiting, *others) = processes.start(tmp_path, 2)
    for other in others:
        other.kill()
        other.communicate()
    assert "waiting until all are there" in waiting.stderr.readline()
    time.sleep(1)
    begin = time.monotonic()
    waiting.send_signal(signal.SIGINT)
    assert waiting.wait(timeout=60) == -signal.SIGINT
    assert time.monotonic() - begin < 2
    waiting.communicate()
