"""A run that devices or processes share: what one gives, written once, ended together."""

import json
import os
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Client, Pipe

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile.devices import distribute
from supervised_reptile.devices.choice import Devices
from supervised_reptile.devices.distribute import Cluster
from supervised_reptile.system.errors import RefusedError

SMALL = "--train-classes 6 --classes 3 --shots 1 --inner-batch 3 --inner-iters 2 --meta-batch 4 "
SMALL += "--eval-batch 3 --eval-iters 3 --eval-samples 23 --eval-interval 5 --meta-step-final 0"
LONG = "--parallel-tasks --meta-iters 1000000 --checkpoint-interval 5 --checkpoint run"


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


@pytest.fixture
def begin(start, folder):
    """A function that starts processes which share a run. last: more flags of the last one."""

    def several(count, line, last=""):
        with socket.create_server(("127.0.0.1", 0)) as free:
            addresses = [f"127.0.0.1:{free.getsockname()[1]}"] * count  # only the first one listens
        running = []
        for index in range(count):
            own = {"TF_CONFIG": json.dumps(config(index, worker=addresses))}
            more = last if index == count - 1 else ""
            running.append(start("omniglot", f"{SMALL} --distribute {line} {more}", folder, own))
        return running

    return several


def finish(processes):
    """Exit status, standard output and standard error of each, once all have ended."""
    outputs = [process.communicate(timeout=500) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs)]


def reads(process, text):
    """Read standard output until a line begins with a text."""
    assert any(line.startswith(text) for line in process.stdout), process.stderr.read()


def tensors(folder):
    reader = tf.train.load_checkpoint(str(folder / "model.ckpt-7"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.slow
def test_several_processes_train_and_evaluate_as_one_does(start, begin, folder):
    """Four tasks: three processes have two, one and one."""
    count, training = 3, "--parallel-tasks --sgd --meta-iters 8 --checkpoint"
    ((status, printed, err),) = finish([start("omniglot", f"{SMALL} {training} one", folder)])
    assert status == 0, err
    found = finish(begin(count, f"{training} shared"))
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
    evaluation = "--pretrained --checkpoint one --eval-samples 31"
    ((status, printed, err),) = finish([start("omniglot", f"{SMALL} {evaluation}", folder)])
    assert status == 0, err
    (status, out, err), *_ = finish(begin(count, evaluation))
    assert (status, out) == (0, printed), err


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_and_any_number_resumes(begin):
    running = begin(3, LONG)
    reads(running[0], "batch 10:")
    running[1].kill()
    (first, _, err), (killed, _, _), last = finish(running)
    assert (first, killed, last) == (1, -signal.SIGKILL, (1, "", ""))
    assert err.splitlines()[-1] == (
        "run_omniglot.py: failed: another process of this run has ended, or is out of reach; run "
        "is intact: run the same command with --resume to continue"
    )
    # Ctrl-C at the one that does not write.
    running = begin(2, f"{LONG} --resume")
    reads(running[0], "batch 20:")
    running[1].send_signal(signal.SIGINT)
    (first, _, err), last = finish(running)
    assert (first, last) == (128 + signal.SIGINT, (128 + signal.SIGINT, "", ""))
    assert "Resuming after meta-iteration" in err
    assert "stopped by SIGINT; saved as run/model.ckpt-" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_leader_that_dies_ends_the_others(begin):
    running = begin(2, "--meta-iters 100000 --checkpoint run")
    reads(running[0], "batch 0:")
    running[0].kill()
    _, (status, out, err) = finish(running)
    assert (status, out) == (1, "") and "another process of this run has ended" in err


@pytest.mark.parametrize(
    ("line", "last", "message"),
    [
        ("--meta-iters 8", "--seed 1", "process 1 of 2 has other flags and images than"),
        pytest.param("", "--shots 50", r"--shots 50 .* \(process 1 of 2\)", marks=pytest.mark.slow),
        pytest.param(
            *("--pretrained --checkpoint none", "", "none: there is no checkpoint"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_processes_refuse_together_with_one_message(begin, folder, line, last, message):
    (status, out, err), other = finish(begin(2, line, last))
    assert (status, out) == (2, "") and other == (2, "", "")
    assert err.count("error: ") == 1 and re.search(message, err.splitlines()[-1])
    assert not (folder / "model_checkpoint").exists()


def test_waiting_for_the_others_ends_at_a_signal(begin):
    waiting, other = begin(2, "")
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


def test_each_of_several_threads_gets_its_own_answer():
    """Training and evaluation are compiled at once, before a run begins."""
    here, there = Pipe()

    def echo():
        with there:  # closed in the end, so that nobody waits for ever
            while there.poll(2):
                kind, arrays = distribute.receive(there)
                distribute.send(there, 0, [*arrays, np.array(kind)])

    member = distribute.remote(here)
    with ThreadPoolExecutor(5) as pool:
        pool.submit(echo)
        for number, found in enumerate(
            pool.map(lambda n: member(f"call {n}", [np.full(1000, n)]), range(80), timeout=20)
        ):
            np.testing.assert_array_equal(found[0], np.full(1000, number))
            assert found[1] == f"call {number}"
        here.close()
