#!/usr/bin/env python3
"""Two processes of one core each, and one process of two cores: meta-iterations and tasks.

    python benchmarks/processes.py --repeats 3

Each is measured by whole commands of two lengths, in turn: the difference has no start and no
compilation in it.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

from supervised_reptile.settings import SETTINGS

SCRIPT = pathlib.Path(__file__).parents[1] / "run_omniglot.py"
COMMON = ["--synthetic", "--eval-interval=100000", "--checkpoint-interval=100000"]
# Of each setting: meta-iterations, then tasks of each of two sets, of a short and a long command.
LENGTHS = {"o15t": ((20, 220), (20, 320)), "o120": ((10, 90), (20, 170))}


def run(folder, processes, flags):
    """Run a command in one process on two cores, or in two of one core each."""
    running = []
    for index in range(processes):
        cores = "0,1" if processes == 1 else str(index)
        addresses = [f"127.0.0.1:{PORT + number}" for number in range(processes)]
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = dict(os.environ)
        if processes > 1:
            environment["TF_CONFIG"] = json.dumps(config)
        shared = ["--distribute"] if processes > 1 else []
        command = ["taskset", "-c", cores, sys.executable, SCRIPT, *flags, *shared]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        running.append(subprocess.Popen(command, cwd=folder, env=environment, **quiet))
    assert [process.wait() for process in running] == [0] * processes, (processes, flags)


def seconds(folder, processes, setting, iterations, tasks):
    """Seconds of training and of the evaluation of a command."""
    with tempfile.TemporaryDirectory(dir=folder) as checkpoint:
        known = SETTINGS[setting].flags | {"meta_iters": iterations, "eval_samples": tasks}
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in known.items()]
        flags = [flag.removesuffix("=True") for flag in flags] + [*COMMON, "--parallel-tasks"]
        run(folder, processes, [*flags, "--checkpoint", f"{checkpoint}/run"])
        line = (pathlib.Path(checkpoint) / "run" / "results.jsonl").read_text()
    return json.loads(line)["seconds"]


def rates(folder, processes, setting):
    """Milliseconds for each meta-iteration and for each evaluated task."""
    (few, many), (little, much) = LENGTHS[setting]
    short = seconds(folder, processes, setting, few, little)
    long = seconds(folder, processes, setting, many, much)
    training = (long["training"] - short["training"]) / (many - few)
    evaluation = (long["evaluation"] - short["evaluation"]) / (much - little) / 2
    return 1000 * training, 1000 * evaluation


def main():
    """Measure, and print a table."""
    global PORT
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--port", type=int, default=23456)
    given = parser.parse_args()
    PORT = given.port
    print("| | one process, two cores | two processes, a core each | ratio |")
    print("|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for setting in LENGTHS:
            found = [
                [rates(folder, processes, setting) for processes in (1, 2)]
                for _ in range(given.repeats)
            ]
            for which, name in enumerate(("meta-iteration", "evaluated task")):
                one, two = ([pair[k][which] for pair in found] for k in (0, 1))
                ratio = statistics.median(a / b for a, b in zip(one, two, strict=True))
                print(
                    f"| {setting}, {name} | {show(one)} | {show(two)} | {ratio:.2f} |", flush=True
                )


def show(values):
    """Median (least - most), in milliseconds."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} – {max(values):.1f})"


if __name__ == "__main__":
    main()
