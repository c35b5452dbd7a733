"""A run that is killed at any moment, again and again, ends as if nothing had happened.

`make soak` kills more than a hundred times; the tests do so a few times.
"""

import json
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from supervised_reptile.runs import record

TOP = pathlib.Path(__file__).parents[2]
# The real command with few filters, which keeps its evaluation more often than every 5 seconds.
RUN = f"""
import dataclasses, sys
sys.path.insert(0, {str(TOP)!r})
from supervised_reptile import main
from supervised_reptile.data import miniimagenet, omniglot
from supervised_reptile.learning import models
from supervised_reptile.runs import results
results.PROGRESS_SECONDS = 0.05
for name, model in models.MODELS.items():
    models.MODELS[name] = dataclasses.replace(model, filters=4)
datasets = {{"omniglot": omniglot.OMNIGLOT, "miniimagenet": miniimagenet.MINIIMAGENET}}
main.main(datasets[sys.argv[1]], sys.argv[2:])
"""
FLAGS = (
    "--classes 2 --shots 1 --train-shots 2 --inner-batch 2 --inner-iters 2 --meta-batch 2 "
    "--meta-iters 61 --eval-batch 2 --eval-iters 2 --transductive --eval-samples 300 "
    "--eval-interval 4 --checkpoint-interval 3 --keep-checkpoints 3 --resume --checkpoint run "
)
# Lines of the command, between which it is killed: starting, compiling, training, evaluating.
MOMENTS = ("", "Training...", "batch", "Evaluating...")


class Killed:
    """A folder in which one command is started, killed and started again."""

    def __init__(self, folder, dataset, flags):
        self.folder, self.printed = folder, {}
        self.command = [sys.executable, "-c", RUN, dataset, *f"{FLAGS} {flags}".split()]

    def start(self):
        with open(self.folder / "out", "w") as out, open(self.folder / "err", "w") as err:
            return subprocess.Popen(self.command, cwd=self.folder, stdout=out, stderr=err)

    def lines(self):
        return (self.folder / "out").read_text().splitlines()

    def wait_for(self, process, beginning):
        """Wait until a line is printed that begins so; return whether there is one."""
        while not any(line.startswith(beginning) for line in self.lines()):
            if process.poll() is not None:
                return False
            time.sleep(0.02)
        return True

    def finish(self):
        """Run to the end. Returns what is left, and how long it took from each line to the next."""
        process, times = self.start(), [time.monotonic()]
        for beginning in MOMENTS[1:]:
            if self.wait_for(process, beginning):
                times.append(time.monotonic())
        assert process.wait(timeout=300) == 0, (self.folder / "err").read_text()
        times.append(time.monotonic())
        self.note_lines()
        return self.state(), dict(zip(MOMENTS, np.diff(times)))

    def kill(self, moment, seconds):
        """Kill a process so many seconds after it has printed a line that begins so.

        Returns whether it was still at work.
        """
        process = self.start()
        if moment == "" or self.wait_for(process, moment):
            time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        killed = process.wait(timeout=30) == -signal.SIGKILL
        self.note_lines()
        return killed

    def note_lines(self):
        """Every line of a meta-iteration, printed by whatever process, has to be the same."""
        for line in self.lines():
            if line.startswith("batch") and line.count("=") == 2 and len(line.split(".")[-1]) == 6:
                name = line.split(":")[0]
                assert self.printed.setdefault(name, line) == line

    def state(self):
        """All that a run leaves, but for times."""
        run = self.folder / "run"
        newest = record.checkpoints(run)[-1]
        reader = tf.train.load_checkpoint(str(run / f"model.ckpt-{newest}"))
        variables = sorted(reader.get_variable_to_shape_map())
        (result,) = map(json.loads, (run / "results.jsonl").read_text().splitlines())
        seconds = result.pop("seconds")
        assert seconds["training"] > 0 and seconds["evaluation"] > 0
        # Somebody may be editing the program meanwhile: then parts name several commits.
        for name in ("time", "commit", "parts"):
            result.pop(name, None)
        return {
            "newest": newest,
            "variables": {name: reader.get_tensor(name).tobytes() for name in variables},
            "result": result,
            "final lines": [line for line in self.lines() if not line.startswith("batch")],
            "printed": self.printed,
            "points": {path.name: points(path) for path in run.iterdir() if path.is_dir()},
            "files": {re.sub("ckpt.*|tfevents.*", "", path.name) for path in run.iterdir()},
        }


def points(folder):
    loaded = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return [(event.step, event.value) for event in loaded.Scalars("accuracy")]


def kill_and_compare(folder, dataset, flags, moments, seed):
    """Two runs of one command: one that nothing interrupts, and one that is killed."""
    for name in ("whole", "killed"):
        (folder / name).mkdir()
    whole, killed = (Killed(folder / name, dataset, flags) for name in ("whole", "killed"))
    expected, seconds = whole.finish()
    assert len(expected["points"]["test"]) == 16 and len(expected["printed"]) == 16
    chance = random.Random(f"{killed.command} {seed}")
    for moment in moments:
        was_at_work = False
        while not was_at_work:
            was_at_work = killed.kill(moment, chance.uniform(0, seconds[moment]))
            if (killed.folder / "run" / "results.jsonl").exists():  # finished before it was killed
                found = killed.state()
                for part in ("newest", "variables", "result", "printed", "points"):
                    assert found[part] == expected[part], part
                shutil.rmtree(killed.folder / "run")
                killed.printed.clear()
    assert killed.finish()[0] == expected


def test_a_killed_run_ends_with_the_same_bits(tmp_path, few_images):
    flags = f"{few_images['omniglot']} --eval-sets test"
    kill_and_compare(tmp_path, "omniglot", flags, ["batch", "Evaluating..."], "few")


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("algorithm", ["", "--foml"])
@pytest.mark.parametrize("optimizer", ["", "--sgd"])
@pytest.mark.parametrize("dataset", ["omniglot", "miniimagenet"])
def test_a_hundred_and_twenty_kills(tmp_path, few_images, dataset, optimizer, algorithm, seed):
    moments = random.Random(f"{dataset} {seed}").choices(MOMENTS, [2, 2, 5, 4], k=3)
    flags = f"{few_images[dataset]} {optimizer} {algorithm}"
    kill_and_compare(tmp_path, dataset, flags, moments, seed)
