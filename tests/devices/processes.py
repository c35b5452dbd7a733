"""Several processes of one run, over loopback."""

import json
import os
import pathlib
import socket
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).parents[2] / "run_omniglot.py"
SMALL = "--train-classes 6 --classes 3 --shots 1 --inner-batch 3 --inner-iters 2 --meta-batch 4 "
SMALL += "--eval-batch 3 --eval-iters 3 --eval-samples 23 --eval-interval 5 --meta-step-final 0"
COMMAND = [sys.executable, "-u", SCRIPT, *SMALL.split()]


def start(folder, count, *flags, last=()):
    """Processes in a folder, which share a run. last: more flags of the last one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        addresses = [f"127.0.0.1:{free.getsockname()[1]}"] * count  # only the first one listens
    running = []
    for index in range(count):
        task = {"type": "worker", "index": index}
        config = json.dumps({"cluster": {"worker": addresses}, "task": task})
        more = ["--distribute", *flags, *(last if index == count - 1 else ())]
        running.append(_process(folder, [*COMMAND, *more], {"TF_CONFIG": config}))
    return running


def _process(folder, command, variables):
    """One that has nothing of this one's environment but how much time it spends on compiling."""
    own = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "CUDA_VISIBLE_DEVICES": "-1"}
    own |= {"XLA_FLAGS": os.environ["XLA_FLAGS"], **variables}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=own, **pipes)


def finish(processes):
    """Exit status, standard output and standard error of each, once all have ended."""
    outputs = [process.communicate(timeout=500) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs)]


def alone(folder, *flags):
    """What a single process, without --distribute, prints on standard output."""
    ((status, out, err),) = finish([_process(folder, [*COMMAND, *flags], {})])
    assert status == 0, err
    return out


def reads(process, text):
    """Read standard output until a line begins with a text."""
    for line in process.stdout:
        if line.startswith(text):
            return
    raise AssertionError(process.stderr.read())
