"""Several processes of one run, over loopback."""

import json
import pathlib
import socket
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).parents[2] / "run_omniglot.py"
SMALL = [
    "--synthetic",
    "--classes",
    "3",
    "--shots",
    "1",
    "--inner-batch",
    "3",
    "--inner-iters",
    "2",
    "--meta-batch",
    "4",
    "--eval-batch",
    "3",
    "--eval-iters",
    "3",
    "--eval-samples",
    "23",
    "--eval-interval",
    "5",
    "--meta-step-final",
    "0",
]
COMMAND = [sys.executable, "-u", SCRIPT, *SMALL]


def start(folder, count, *flags, last=()):
    """Processes in a folder, each with a share of the tasks. last: more flags of the last one."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    return [
        subprocess.Popen(
            [*COMMAND, "--distribute", *flags, *(last if index == count - 1 else ())],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**environment(folder), "TF_CONFIG": _config(addresses, index)},
        )
        for index in range(count)
    ]


def environment(folder):
    """Of a process that has nothing of this one, and spends less of a short run on compiling."""
    own = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "CUDA_VISIBLE_DEVICES": "-1"}
    return own | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}


def _config(addresses, index):
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": addresses}, "task": task})


def finish(processes):
    """Exit status, standard output and standard error of each, once all have ended."""
    outputs = [process.communicate(timeout=240) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs)]


def alone(folder, *flags):
    """What a single process, without --distribute, prints on standard output."""
    done = subprocess.run(
        [*COMMAND, *flags],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(folder),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
