"""What evaluations found: accuracies, the lines that say them, their record, those under way.

Nothing here needs TensorFlow.
"""

import collections
import dataclasses
import datetime
import errno
import json
import math
import os
import pathlib
import sys
import time
import zlib

import numpy as np

from supervised_reptile.runs import record
from supervised_reptile.system import files, machine

PROGRESS_SECONDS = 5
TITLES = {"train": "Train", "val": "Validation", "test": "Test"}


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """mean: correct predictions of all. confidence: half the width of the 95 % interval of the
    mean over tasks; None for a single task."""

    mean: float
    confidence: float | None
    tasks: int


@dataclasses.dataclass(frozen=True)
class SetResult:
    """The Accuracy on one set. asked: predicted as the configuration asks for. transductive: of the
    same adapted networks, all queries of a task in one batch; None where that was asked for."""

    asked: Accuracy
    transductive: Accuracy | None = None


def summarize(correct, classes, transductive):
    """The SetResult of tasks. correct: correct predictions of each [tasks, 2], of so many: as
    asked for, and transductively. transductive: whether that is what was asked for."""
    asked, together = (accuracy(counts, classes) for counts in np.transpose(correct))
    return SetResult(asked, None if transductive else together)


def accuracy(correct, classes):
    """The Accuracy of tasks: correct predictions of each [tasks], of so many."""
    correct = np.asarray(correct)
    confidence = None
    if len(correct) > 1:
        confidence = float(1.96 * np.std(correct / classes, ddof=1) / math.sqrt(len(correct)))
    return Accuracy(int(correct.sum()) / (len(correct) * classes), confidence, len(correct))


def show(split, result):
    """Print the final lines of a split. result: SetResult."""
    print(f"{TITLES[split]} accuracy: {result.asked.mean}", flush=True)
    if result.asked.confidence is not None:
        interval = f"{result.asked.confidence:.5f} (95% confidence over {result.asked.tasks} tasks)"
        print(f"  +/- {interval}", flush=True)
    if together := result.transductive:
        interval = "" if together.confidence is None else f" +/- {together.confidence:.5f}"
        print(f"  transductive: {together.mean}{interval}", flush=True)


def append(directory, config, iteration, found, circumstances):
    """Append one evaluation to results.jsonl.

    iteration: the number of the checkpoint, None for an untrained network. found: SetResult by
    split. circumstances: what else to record: "data" (ImageSet.provenance), "seconds", "machine".
    Raises OSError if that is not possible; with --pretrained, it is only a warning.
    """
    line = {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "dataset": config.dataset,
        "iteration": iteration,
        **_numbers({split: result.asked for split, result in found.items()}),
        "config": config.flags(),
        **circumstances,
        "versions": machine.versions(),
        "commit": machine.commit(),
    }
    if not config.evaluation.transductive:
        line["transductive"] = _numbers({s: result.transductive for s, result in found.items()})
    path = pathlib.Path(directory) / record.RESULTS
    try:
        _append_line(path, json.dumps(line) + "\n")
    except OSError as error:
        problem = f"the results were not recorded in {path}: {error.strerror}"
        if not config.run.pretrained:
            raise OSError(problem) from None
        print(f"Warning: {problem}", file=sys.stderr)


def _numbers(accuracies):
    return {
        "accuracy": {split: accuracy.mean for split, accuracy in accuracies.items()},
        "confidence_95": {split: accuracy.confidence for split, accuracy in accuracies.items()},
    }


def _append_line(path, text):
    """Append a whole line or nothing; what another one left half-written is ended first."""
    with open(path, "a+b", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        line = (b"" if file.read(1) in (b"", b"\n") else b"\n") + text.encode()
        try:
            if file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise


def of_finished(directory, config):
    """The SetResult by split that a training run recorded at its end, or None."""
    path, last = pathlib.Path(directory) / record.RESULTS, config.outer.last
    samples = config.evaluation.eval_samples
    for text in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
            flags = line["config"]
            if (line["iteration"], flags["eval_samples"]) == (last, samples) and not (
                flags["pretrained"]
            ):
                return _read(line, samples)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # half-written when the disk was full
    return None


def _read(line, samples):
    """The SetResult by split of a line of results.jsonl. Earlier ones lack the second numbers."""

    def accuracy(numbers, split):
        return Accuracy(numbers["accuracy"][split], numbers["confidence_95"][split], samples)

    together = line.get("transductive")
    return {
        split: SetResult(accuracy(line, split), together and accuracy(together, split))
        for split in line["accuracy"]
    }


class Tally:
    """Correct predictions of the tasks that a final evaluation is done with, by purpose.

    It is kept in a file, so that the evaluation can go on when the process has ended.
    correct: lists by the name of a sampling.Purpose, task after task, of [as asked for,
    transductively].
    """

    def __init__(self, path=None, of=None):
        """path: the file, None for no file. of: what has to be the same to go on with it."""
        self._path, self._of = path, of
        correct, self._earlier = self._read()
        self.correct = collections.defaultdict(list, correct)
        self._written = self._begun = time.monotonic()

    def _read(self):
        try:
            content = json.loads(self._path.read_text())
            counted = content["results"]
            if content["of"] == self._of and content["checksum"] == _checksum(counted):
                return counted, float(content["seconds"])
        except (AttributeError, OSError, ValueError, KeyError, TypeError):
            pass
        return {}, 0.0

    def seconds(self):
        """How long the evaluation has taken, with what was kept of it."""
        return self._earlier + time.monotonic() - self._begun

    def keep(self, at_once=False):
        """Write the file if it was not written for some seconds."""
        if self._path and (at_once or time.monotonic() - self._written > PROGRESS_SECONDS):
            content = {"of": self._of, "results": self.correct, "seconds": self.seconds()}
            content["checksum"] = _checksum(self.correct)
            files.write_atomically(self._path, json.dumps(content))
            self._written = time.monotonic()

    def remove(self):
        """Remove the file."""
        if self._path:
            self._path.unlink(missing_ok=True)


def _checksum(counted):
    return zlib.crc32(json.dumps(counted).encode())
