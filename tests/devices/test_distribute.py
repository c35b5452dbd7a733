"""A run that devices or processes share: what one gives, written once, ended together."""

import json
import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Client

import numpy as np
import processes
import pytest
import tensorflow as tf

from supervised_reptile.devices import distribute
from supervised_reptile.devices.choice import Devices
from supervised_reptile.devices.distribute import Cluster
from supervised_reptile.system.errors import RefusedError

LONG = ["--parallel-tasks", "--meta-iters", "1000000", "--checkpoint-interval", "5"]
LAST = "model.ckpt-7"


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """Nothing is described; returns a function that sets variables."""
    for name in ("TF_CONFIG", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST"):
        monkeypatch.delenv(name, raising=False)

    def describe(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value if isinstance(value, str) else json.dumps(value))

    return describe


def config(index, kind="worker", **jobs):
    cluster = jobs or {"worker": ["a:1", "b:2", "c:3"]}
    return {"cluster": cluster, "task": {"type": kind, "index": index}}


def test_tf_config_numbers_the_processes_and_a_chief_is_the_first(environment):
    assert distribute.find().processes == 1
    environment(TF_CONFIG=config(2))
    assert distribute.find() == (2, 3, ("a", 1))
    environment(TF_CONFIG=config(1, worker=["b:2", "c:3"], chief=["a:1"]))
    assert distribute.find() == (2, 3, ("a", 1))


@pytest.mark.parametrize(
    "wrong",
    [
        *("", "{", "[]", {"cluster": {"worker": ["a:1"]}}),
        *(config(3), config(-1), config(0, "ps"), config(0, worker=["a", "b"])),
    ],
)
def test_what_makes_no_sense_is_refused_with_an_example(environment, wrong):
    environment(TF_CONFIG=wrong)
    with pytest.raises(RefusedError, match=r'TF_CONFIG is not of the form \{"cluster"'):
        distribute.find()


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("n1", "n1"), ("n9,n10", "n9"), ("n[03-07,9],m1", "n03"), ("a-b[1,4]-ib", "a-b1-ib")],
)
def test_slurms_variables_describe_the_processes(environment, nodes, first):
    environment(SLURM_PROCID="2", SLURM_STEP_NUM_TASKS="4", SLURM_STEP_NODELIST=nodes)
    assert distribute.find() == (2, 4, (first, distribute.PORT))
    environment(SLURM_STEP_NODELIST="n[")
    with pytest.raises(RefusedError, match="SLURM's variables describe no cluster"):
        distribute.find()
    environment(SLURM_STEP_NUM_TASKS="1")
    assert distribute.find().processes == 1


def test_where_nothing_can_be_shared_it_is_refused():
    with (
        pytest.raises(RefusedError, match="there is one device"),
        distribute.lead(Cluster(0, 1, ("", 0)), Devices()),
    ):
        pass
    with (
        distribute.Listener(("127.0.0.1", 0)) as taken,
        pytest.raises(RefusedError, match=f"port {taken.address[1]} of 127.0.0.1 .*already in use"),
        distribute.lead(Cluster(0, 2, taken.address), Devices()),
    ):
        pass


@pytest.fixture
def folder(tmp_path, few_images):
    """A folder where the command finds a few images."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "omniglot").symlink_to(few_images["omniglot"].split()[1])
    return tmp_path


def tensors(folder):
    reader = tf.train.load_checkpoint(str(folder / LAST))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.slow
def test_several_processes_train_and_evaluate_as_one_does(folder):
    """Four tasks: three processes have two, one and one."""
    count, flags = 3, ["--parallel-tasks", "--sgd", "--meta-iters", "8", "--checkpoint"]
    printed = processes.alone(folder, *flags, "one")
    found = processes.finish(processes.start(folder, count, *flags, "shared"))
    assert [status for status, _, _ in found] == [0] * count, found
    (_, out, err), *others = found
    # One process prints; the first lines are before rounding can matter.
    assert out.splitlines()[:2] == printed.splitlines()[:2]
    assert f"with {count} processes: waiting until all are there" in err.splitlines()[0]
    assert others == [(0, "", "")] * (count - 1)
    expected = tensors(folder / "one")
    for key, value in tensors(folder / "shared").items():
        np.testing.assert_allclose(value, expected[key], rtol=0, atol=1e-5, err_msg=key)
    files = [sorted(os.listdir(folder / each)) for each in ("shared", "one")]
    assert files[0] == files[1]
    assert json.loads((folder / "shared" / "run.json").read_text())["machine"]["processes"] == count
    flags = ["--pretrained", "--checkpoint", "one", "--eval-samples", "31"]
    (status, out, err), *_ = processes.finish(processes.start(folder, count, *flags))
    assert (status, out) == (0, processes.alone(folder, *flags)), err


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_any_number_resumes(folder):
    running = processes.start(folder, 3, *LONG, "--checkpoint", "run")
    processes.reads(running[0], "batch 10:")
    running[1].kill()
    (first, _, err), (killed, _, _), last = processes.finish(running)
    assert (first, killed, last) == (1, -signal.SIGKILL, (1, "", ""))
    assert err.splitlines()[-1] == (
        "run_omniglot.py: failed: another process of this run has ended, or is out of reach; run "
        "is intact: run the same command with --resume to continue"
    )
    # Ctrl-C at the one that does not write.
    running = processes.start(folder, 2, *LONG, "--resume", "--checkpoint", "run")
    processes.reads(running[0], "batch 20:")
    running[1].send_signal(signal.SIGINT)
    (first, _, err), last = processes.finish(running)
    assert (first, last) == (128 + signal.SIGINT, (128 + signal.SIGINT, "", ""))
    assert "Resuming after meta-iteration" in err
    assert "stopped by SIGINT; saved as run/model.ckpt-" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_leader_that_dies_ends_the_others(folder):
    running = processes.start(folder, 2, "--meta-iters", "100000", "--checkpoint", "run")
    processes.reads(running[0], "batch 0:")
    running[0].kill()
    _, (status, out, err) = processes.finish(running)
    assert (status, out) == (1, "") and "another process of this run has ended" in err


@pytest.mark.parametrize(
    ("flags", "last", "message"),
    [
        (["--meta-iters", "8"], ["--seed", "1"], "process 1 of 2 has other flags and images than"),
        pytest.param(
            *([], ["--shots", "50"], r"--shots 50 .* \(process 1 of 2\)"), marks=pytest.mark.slow
        ),
        pytest.param(
            *(["--pretrained", "--checkpoint", "none"], [], "none: there is no checkpoint"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_processes_refuse_together_with_one_message(folder, flags, last, message):
    running = processes.start(folder, 2, *flags, last=last)
    (status, out, err), other = processes.finish(running)
    assert (status, out) == (2, "") and other == (2, "", "")
    assert err.count("error: ") == 1 and re.search(message, err.splitlines()[-1])
    assert not (folder / "model_checkpoint").exists()


def test_waiting_for_the_others_ends_at_a_signal(folder):
    waiting, other = processes.start(folder, 2)
    other.kill()
    other.communicate()
    assert "waiting until all are there" in waiting.stderr.readline()
    time.sleep(1)
    begin = time.monotonic()
    waiting.terminate()
    assert waiting.wait(timeout=60) == 128 + signal.SIGTERM
    assert time.monotonic() - begin < 10
    waiting.communicate()


def test_connections_of_something_else_do_not_count_nor_hold_up_the_others():
    """Such as a scan of ports, which may say nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        cluster = Cluster(0, 2, free.getsockname())

    def connect():
        while True:
            try:
                silent = socket.create_connection(cluster.address)
            except ConnectionRefusedError:
                continue
            others = [Client(cluster.address) for _ in range(3)]
            for other, word in zip(others, (b"77", b"word", b"1"), strict=True):
                other.send_bytes(word)
            return silent, others

    with ThreadPoolExecutor() as pool:
        connected = pool.submit(connect)
        with distribute.lead(cluster, Devices()) as workers:
            silent, (*_, true) = connected.result()
            (worker,) = workers
            true.send_bytes(b"it is me")
            assert worker.recv_bytes() == b"it is me"
        silent.close()
