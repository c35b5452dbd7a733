"""How fast the program trains and evaluates, and how far that is from the machine's peak.

    python benchmarks/benchmark.py [--cases o15t,m15,o15t-start] [--device gpu] [--json FILE]

On generated images. Every case repeats its work after a warm-up, and alternates with a product of
two 2000x2000 float32 matrices, whose rate is the peak; operations.py says how operations are
counted. `-parallel` is training with --parallel-tasks; `g4-run` a training run of the longest sum
of section 6.2, with its evaluation in every meta-iteration; `-outside` the share of a training run
that is not spent in compiled calls; `-start` the time from a command to the end of its first
meta-iteration, less that of making images, and the peak of its memory.
"""

import argparse
import contextlib
import dataclasses
import functools
import io
import json
import math
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from supervised_reptile.devices.choice import quiet

with quiet():
    import tensorflow as tf
import operations

from supervised_reptile.args import Computing, Config, Run
from supervised_reptile.data import miniimagenet, omniglot
from supervised_reptile.devices import choice
from supervised_reptile.devices.choice import Devices
from supervised_reptile.learning import models, reptile
from supervised_reptile.learning.sampling import Population, Purpose
from supervised_reptile.runs import final_evaluation, training
from supervised_reptile.settings import SETTINGS
from supervised_reptile.system import machine

DATASETS = {"omniglot": omniglot.OMNIGLOT, "miniimagenet": miniimagenet.MINIIMAGENET}
REPEATS = 7
GPU_TASKS = 1024  # of an evaluation, instead of what is enough for a CPU


@dataclasses.dataclass
class Row:
    """One line of the table: median, least and most seconds per unit of work, its operations, and
    their rate over the peak measured beside it (median of the repetitions)."""

    case: str
    unit: str
    seconds: float
    least: float
    most: float
    operations: int
    of_peak: float

    def __str__(self):
        times = "".join(f"{1e3 * s:9.1f}" for s in (self.seconds, self.least, self.most))
        rate = self.operations / self.seconds / 1e9
        return (
            f"{self.case:24}{self.unit:15}{times}{self.operations / 1e9:8.2f}{rate:9.0f}"
            f"{self.of_peak:9.2f}"
        )


HEADER = (
    f"{'case':24}{'ms per':15}{'median':>9}{'least':>9}{'most':>9}{'GFLOP':>8}{'GFLOP/s':>9}"
    f"{'of peak':>9}"
)


@dataclasses.dataclass
class Line:
    """Numbers by name that are no rate."""

    case: str
    values: dict

    def __str__(self):
        return f"{self.case:24}" + ", ".join(f"{name} {v:.3g}" for name, v in self.values.items())


class Bench:
    """A setting with its compiled functions and generated images.

    count: meta-iterations of a training run, or tasks of an evaluation. devices, device: what
    computes.
    """

    devices, device = Devices(), "cpu"

    def __init__(self, setting, count, **flags):
        dataset = SETTINGS[setting].dataset
        self.count, self._folder = count, tempfile.TemporaryDirectory()
        own = {"meta_iters": count, "eval_samples": count, "checkpoint": self._folder.name}
        self.config = Config.of(dataset, {**SETTINGS[setting].flags, **own, **flags})
        self.reptile = reptile.Reptile(models.MODELS[dataset], self.config, self.devices)
        self.images = generated(dataset)
        with tf.device(self.devices.names[0]):
            self.pixels = tf.constant(self.images.pixels)
        self.state = self.reptile.new_state()

    def train(self):
        """The State after the meta-iterations, made in one call and waited for."""
        chunk = training.draw_chunk(self.config, self.images, range(self.count))
        state = self.reptile.train(self.state, self.pixels, chunk).state
        state.beta2_power.numpy()
        return state

    def evaluate(self):
        """Evaluate the tasks."""
        population = Population.of(self.images, "test")
        final_evaluation.evaluate(
            self.reptile, self.state, self.pixels, population, Purpose.FINAL_TEST
        )

    def run(self):
        """Make the training run, its lines unseen."""
        shutil.rmtree(self._folder.name)
        pathlib.Path(self._folder.name).mkdir()
        with contextlib.redirect_stdout(io.StringIO()):
            training.train(self.reptile, self.state, self.images, self.pixels)


@functools.cache
def generated(dataset):
    """The images of --synthetic."""
    return DATASETS[dataset].load(Run(synthetic=True), 0, None)[0]


def peak():
    """Operations per second of a product of two 2000x2000 matrices of float32."""
    with tf.device(Bench.devices.names[0]):
        matrix = tf.random.normal([2000, 2000])
        seconds = min(timed(lambda: (matrix @ matrix)[0, 0].numpy()) for _ in range(3))
    return 2 * 2000**3 / seconds


def timed(work):
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(case, unit, work, count, operations):
    """Do the work, so many units of it, again and again, and make a Row of it."""
    work()
    seconds, fractions = [], []
    for _ in range(REPEATS):
        rate = peak()
        seconds.append(timed(work) / count)
        fractions.append(operations / seconds[-1] / rate)
    median = statistics.median
    return Row(
        case, unit, median(seconds), min(seconds), max(seconds), operations, median(fractions)
    )


def training_row(case, setting, count, **flags):
    """A Row of training."""
    bench = Bench(setting, count, meta_iters=100000, **flags)
    amount = operations.meta_iteration(bench.config)
    return measure(case, "meta-iteration", bench.train, count, amount)


def evaluation_row(case, setting, count):
    """A Row of evaluation, as at the end of a run."""
    count = GPU_TASKS if Bench.devices.kind == "GPU" else count
    bench = Bench(setting, count)
    return measure(case, "task", bench.evaluate, count, operations.task(bench.config))


def whole_run(case, setting, count):
    """A Row of a training run: evaluation of two tasks in every meta-iteration, and the rest."""
    bench = Bench(setting, count)
    amount = operations.meta_iteration(bench.config) + 2 * operations.task(bench.config)
    return measure(case, "meta-iteration", bench.run, count, amount)


def outside(case, setting, count):
    """The share of a training run that is spent outside compiled calls, in percent."""
    bench, inside = Bench(setting, count), []

    def noted(function):
        def call(*args):
            start = time.perf_counter()
            result = function(*args)
            inside.append((start, time.perf_counter()))
            return result

        return call

    bench.reptile.train = noted(bench.reptile.train)
    bench.reptile.guess = noted(bench.reptile.guess)
    bench.run()
    percent = []
    for _ in range(3):
        inside.clear()
        seconds = timed(bench.run)
        percent.append(100 * (1 - covered(inside) / seconds))
    return Line(case, {"percent": statistics.median(percent)})


def covered(intervals):
    """How many seconds lie in at least one of the intervals (start, end)."""
    total, reached = 0.0, -math.inf
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


# The command, which ends after its first meta-iteration and says what the system knows of it.
FIRST = """
import sys
from supervised_reptile.data import miniimagenet, omniglot
from supervised_reptile.main import main
from supervised_reptile.runs import training
training.Progress.advance = lambda self, done: sys.exit(open("/proc/self/status").read())
datasets = {"omniglot": omniglot.OMNIGLOT, "miniimagenet": miniimagenet.MINIIMAGENET}
main(datasets[sys.argv[1]], sys.argv[2:])
"""


def start(case, setting):
    """Seconds from a command to the end of its first meta-iteration; its peak memory (Linux)."""
    dataset, flags = SETTINGS[setting].dataset, SETTINGS[setting].flags
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", FIRST, dataset, "--synthetic"]
        command += [f"--checkpoint={folder}/run", f"--device={Bench.device}"]
        for name, value in flags.items():
            flag = f"--{name.replace('_', '-')}"
            command.append(flag if value is True else f"{flag}={value}")
        generated.cache_clear()
        images = timed(lambda: generated(dataset))
        begin = time.perf_counter()
        said = subprocess.run(command, capture_output=True, text=True).stderr
        seconds = time.perf_counter() - begin - images
    memory = re.search(r"VmHWM:\s*(\d+) kB", said)
    if not memory:
        raise SystemExit(f"{case}: {said}")
    return Line(case, {"seconds": seconds, "MiB": int(memory[1]) / 1024})


CASES = {
    "o15t": lambda case: training_row(case, "o15t", 10),
    "o120": lambda case: training_row(case, "o120", 5),
    "m15": lambda case: training_row(case, "m15", 1),
    "o15t-parallel": lambda case: training_row(case, "o15t", 10, parallel_tasks=True),
    "m15-parallel": lambda case: training_row(case, "m15", 1, parallel_tasks=True),
    "g4-run": lambda case: whole_run(case, "g1_g2_g3_g4", 60),
    "o15t-evaluate": lambda case: evaluation_row(case, "o15t", 24),
    "o15-evaluate": lambda case: evaluation_row(case, "o15", 24),
    "o55-evaluate": lambda case: evaluation_row(case, "o55", 24),
    "o120-evaluate": lambda case: evaluation_row(case, "o120", 12),
    "m55-evaluate": lambda case: evaluation_row(case, "m55", 2),
    "o15t-outside": lambda case: outside(case, "o15t", 200),
    "o15t-start": lambda case: start(case, "o15t"),
    "m15-start": lambda case: start(case, "m15"),
}


def main():
    """Print the table, line by line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", default=",".join(CASES), help="(default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="as of the scripts (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the numbers to this file, too")
    arguments = parser.parse_args()
    cases = arguments.cases.split(",")
    if unknown := [case for case in cases if case not in CASES]:
        parser.error(f"--cases: no case {unknown[0]!r}; there are {', '.join(CASES)}")
    Bench.device = arguments.device
    Bench.devices = choice.choose(Computing(device=arguments.device))
    here = Bench.devices.describe()
    print(f"{here}, TensorFlow {tf.__version__}\n\n{HEADER}", flush=True)
    rows = []
    for case in cases:
        rows.append(CASES[case](case))
        print(rows[-1], flush=True)
    if arguments.json:
        content = {"machine": here, "versions": machine.versions()}
        content["cases"] = [dataclasses.asdict(row) for row in rows]
        pathlib.Path(arguments.json).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
