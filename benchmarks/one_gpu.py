#!/usr/bin/env python3
"""This program on one GPU: the figures of docs/gpus.md, measured with one command.

    python benchmarks/one_gpu.py [--parts flags,evaluation,processes,peer]

- flags: milliseconds of training and evaluation with XLA's flags for fewer launches.
- evaluation: the paper's six settings: seconds of compiling, tasks per second, memory.
- processes: several runs of o15 at once, with and without NVIDIA's MPS: meta-iterations per second.
- peer: the same training in JAX (peer.py), if JAX is installed.

With --device cpu --quick it shows on any machine that it works.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
BUFFERS = "--xla_gpu_graph_min_graph_size=1 --xla_gpu_enable_command_buffer"
FLAGS = {
    "as it is": "",
    "command buffers": f"{BUFFERS}=FUSION,CUBLAS,CUBLASLT,CUDNN",
    "command buffers with loops": f"{BUFFERS}=FUSION,CUBLAS,CUBLASLT,CUDNN,WHILE,CONDITIONAL",
    "no command buffers": f"{BUFFERS}=",
    "products by cuBLAS": "--xla_gpu_enable_triton_gemm=false",
    "loops unrolled": "--xla_gpu_enable_while_loop_unrolling=WHILE_LOOP_UNROLLING_FULL_UNROLL",
    "loops double buffered": (
        "--xla_gpu_enable_while_loop_unrolling=WHILE_LOOP_UNROLLING_DOUBLE_BUFFER"
    ),
}
CASES = "o15t,o120,m15,o15t-parallel,m15-parallel,o15-evaluate"
EVALUATIONS = ("o15", "o55", "o120", "o520", "m15", "m55")


def flags(given):
    """Milliseconds per meta-iteration or evaluated task. A row for each of FLAGS."""
    cases = "o15t" if given.quick else CASES
    table("flags", *cases.split(","))
    for name, value in FLAGS.items():
        with tempfile.NamedTemporaryFile() as numbers:
            command = ["benchmark.py", "--cases", cases, "--device", given.device]
            run([*command, "--json", numbers.name], {"XLA_FLAGS": value})
            text = pathlib.Path(numbers.name).read_text()
        table(name, *(map(show, json.loads(text)["cases"]) if text else ["failed"]))


def show(row):
    """Median (least - most) of a row of benchmark.py, in milliseconds."""
    median, least, most = (1000 * row[name] for name in ("seconds", "least", "most"))
    return f"{median:.2f} ({least:.2f} – {most:.2f})"


def evaluation(given):
    """A row for each setting."""
    table("setting", "compiling", "tasks per second", "memory", "tasks of a call")
    for setting in EVALUATIONS[:1] if given.quick else EVALUATIONS:
        said = run(["one_gpu.py", *shared(given), "--worker", "evaluation", setting])
        table(setting, *said.strip().split("\t"))


def processes(given):
    """A row for each number of processes, without MPS, then with it."""
    table("processes", "without MPS", "with MPS")
    for count in (1, 2) if given.quick else (1, 2, 4, 8, 16):
        rates = [together(given, count)]
        with mps() as environment:
            rates.append(together(given, count, environment) if environment else None)
        table(count, *("failed, or not there" if rate is None else f"{rate:.0f}" for rate in rates))


def together(given, count, environment=None):
    """Meta-iterations per second of so many processes together: all are compiled, then measured."""
    command = [sys.executable, HERE / "one_gpu.py", *shared(given), "--worker", "training", "o15"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    begun = [
        subprocess.Popen(
            command, **pipes, stderr=subprocess.DEVNULL, env=os.environ | (environment or {})
        )
        for _ in range(count)
    ]
    with contextlib.ExitStack() as stack:
        for process in begun:
            stack.enter_context(process)
        if any(process.stdout.readline() != "ready\n" for process in begun):
            return None
        for process in begun:
            process.stdin.write("go\n")
            process.stdin.flush()
        rates = [process.stdout.readline() for process in begun]
        return sum(map(float, rates)) if all(rates) else None


@contextlib.contextmanager
def mps():
    """NVIDIA's MPS while it is needed: the environment of its clients, or None.

    Clients go on without it if they cannot reach it: the process number of its server, which they
    start, is printed.
    """
    program = shutil.which("nvidia-cuda-mps-control")
    if not program:
        yield None
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        own = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        begun = subprocess.run([program, "-d"], env=os.environ | own)
        try:
            yield None if begun.returncode else own
        finally:
            ask = {"input": "get_server_list\nquit\n", "text": True, "stdout": sys.stderr}
            subprocess.run([program], **ask, env=os.environ | own)


def peer(given):
    """The lines of peer.py."""
    settings = "o15" if given.quick else "o15,o120,m15"
    print(run(["peer.py", "--settings", settings, "--device", given.device]))


def worker_training(given, setting):
    """Train once it is told to, for ten seconds; print meta-iterations per second."""
    bench = bench_of(given, setting, 10)
    bench.train()
    print("ready", flush=True)
    sys.stdin.readline()
    begin, done = time.perf_counter(), 0
    while (seconds := time.perf_counter() - begin) < 10:
        bench.train()
        done += bench.count
    print(done / seconds)


def worker_evaluation(given, setting):
    """Evaluate twice, the first time with compiling; print the cells of a row of `evaluation`."""
    import benchmark
    import tensorflow as tf

    bench = bench_of(given, setting, 10 if given.quick else 2048)
    first, later = (benchmark.timed(bench.evaluate) for _ in range(2))
    memory = "unknown"
    if given.device.startswith("gpu"):
        memory = f"{tf.config.experimental.get_memory_info('GPU:0')['peak'] / 2**30:.1f} GiB"
    at_once, _ = bench.reptile.tasks_at_once(bench.count)
    cells = (f"{first - later:.1f} s", f"{bench.count / later:.1f}", memory, at_once)
    print(*cells, sep="\t")


def bench_of(given, setting, count):
    """The Bench of a worker on the device."""
    import benchmark

    from supervised_reptile.args import Computing
    from supervised_reptile.devices import choice

    benchmark.Bench.devices = choice.choose(Computing(device=given.device))
    return benchmark.Bench(setting, count, meta_iters=100000)


def run(command, environment=None):
    """The output of a program of this folder; nothing if it fails."""
    command = [sys.executable, HERE / command[0], *command[1:]]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | (environment or {})
    )
    if done.returncode:
        print("failed: " + done.stderr[-2000:], file=sys.stderr)
    return done.stdout if not done.returncode else ""


def shared(given):
    """The flags that workers need, too."""
    return ["--device", given.device, *["--quick"] * given.quick]


def table(*cells):
    """Print a row."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


PARTS = {"flags": flags, "evaluation": evaluation, "processes": processes, "peer": peer}
WORKERS = {"training": worker_training, "evaluation": worker_evaluation}


def main():
    """Measure the parts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="(default: %(default)s)")
    parser.add_argument("--device", default="gpu", help="as of the scripts (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="little of each")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        kind, setting = given.worker
        WORKERS[kind](given, setting)
        return
    for name in given.parts.split(","):
        print(f"\n{name}: {PARTS[name].__doc__}\n", flush=True)
        PARTS[name](given)


if __name__ == "__main__":
    main()
