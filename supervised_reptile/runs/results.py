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
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from supervised_reptile.args import Config
from supervised_reptile.runs import record
from supervised_reptile.system import files, machine, output

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
    """The Accuracy on one set. reported: as the configuration asks for. transductive: of the
    same adapted networks, all queries of a task in one batch; None where that was asked for."""

    reported: Accuracy
    transductive: Accuracy | None = None


def summarize(correct: Sequence[Sequence[int]], classes: int, transductive: bool) -> SetResult:
    """The SetResult of tasks. correct: correct predictions of each [tasks, 2], of so many: as
    asked for, and transductively. transductive: whether that is what was asked for."""
    reported, together = (accuracy(counts, classes) for counts in np.transpose(correct))
    return SetResult(reported, None if transductive else together)


def accuracy(correct: np.ndarray, classes: int) -> Accuracy:
    """The Accuracy of tasks: correct predictions of each, int [tasks], of so many."""
    confidence = None
    if len(correct) > 1:
        confidence = float(1.96 * np.std(correct / classes, ddof=1) / math.sqrt(len(correct)))
    return Accuracy(int(correct.sum()) / (len(correct) * classes), confidence, len(correct))


def show(split: str, result: SetResult) -> None:
    """Print the final lines of a split."""
    output.say(f"{TITLES[split]} accuracy: {result.reported.mean}")
    if result.reported.confidence is not None:
        interval = (
            f"{result.reported.confidence:.5f} (95% confidence over {result.reported.tasks} tasks)"
        )
        output.say(f"  +/- {interval}")
    if together := result.transductive:
        interval = "" if together.confidence is None else f" +/- {together.confidence:.5f}"
        output.say(f"  transductive: {together.mean}{interval}")


def append(
    directory: Path,
    config: Config,
    iteration: int | None,
    found: Mapping[str, SetResult],
    circumstances: Mapping[str, Any],
) -> None:
    """Append one evaluation to results.jsonl.

    iteration: the number of the checkpoint, None without one. found: by split.
    circumstances: what else to record: "data" (ImageSet.provenance), "seconds", "machine",
    "assumed" (flags that nobody has given or recorded).
    Raises OSError if that is not possible; with --pretrained, it is only a warning.
    """
    line = {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "dataset": config.dataset,
        "iteration": iteration,
        **_numbers({split: result.reported for split, result in found.items()}),
        "config": config.flags(),
        **circumstances,
        "versions": machine.versions(),
        "commit": machine.commit(),
    }
    together = {split: result.transductive for split, result in found.items()}
    if not config.evaluation.transductive:
        line["transductive"] = _numbers(together)
    path = Path(directory) / record.RESULTS
    try:
        _append_line(path, json.dumps(line) + "\n")
    except OSError as error:
        problem = f"the results were not recorded in {path}: {error.strerror}"
        if not config.run.pretrained:
            raise OSError(problem) from None
        print(f"Warning: {problem}", file=sys.stderr)


def _numbers(accuracies: Mapping[str, Accuracy | None]) -> dict[str, dict[str, float | None]]:
    known = {split: accuracy for split, accuracy in accuracies.items() if accuracy}
    return {
        "accuracy": {split: accuracy.mean for split, accuracy in known.items()},
        "confidence_95": {split: accuracy.confidence for split, accuracy in known.items()},
    }


def _append_line(path: Path, text: str) -> None:
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


def of_finished(directory: str | Path, config: Config) -> dict[str, SetResult] | None:
    """The SetResult by split that a training run recorded at its end, or None."""
    path, last = Path(directory) / record.RESULTS, config.outer.last
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


def _read(line: dict[str, Any], samples: int) -> dict[str, SetResult]:
    """The SetResult by split of a line of results.jsonl. Earlier ones lack the second numbers."""

    def recorded(numbers: dict[str, Any], split: str) -> Accuracy:
        confidence = numbers["confidence_95"][split]
        half = None if confidence is None else float(confidence)
        return Accuracy(float(numbers["accuracy"][split]), half, samples)

    together = line.get("transductive")
    return {
        split: SetResult(recorded(line, split), together and recorded(together, split))
        for split in TITLES
        if split in line["accuracy"]
    }


class Tally:
    """Correct predictions of the tasks that a final evaluation is done with, by purpose.

    It is kept in a file, so that the evaluation can continue after the process has ended.
    correct: lists by the name of a sampling.Purpose, task after task, of [as asked for,
    transductively].
    """

    def __init__(self, path: Path | None = None, of: object = None) -> None:
        """path: the file, None for no file. of: what has to be the same to continue with it."""
        self._path, self._of = path, of
        correct, self._earlier = self._read()
        self.correct: dict[str, list[list[int]]] = collections.defaultdict(list, correct)
        self._written = self._begun = time.monotonic()

    def _read(self) -> tuple[dict[str, list[list[int]]], float]:
        try:
            content = json.loads(self._path.read_text()) if self._path else {}
            counted = content["results"]
            if content["of"] == self._of and content["checksum"] == _checksum(counted):
                return counted, float(content["seconds"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return {}, 0.0

    def seconds(self) -> float:
        """How long the evaluation has taken, with what was kept of it."""
        return self._earlier + time.monotonic() - self._begun

    def keep(self, at_once: bool = False) -> None:
        """Write the file if it was not written for some seconds."""
        if self._path and (at_once or time.monotonic() - self._written > PROGRESS_SECONDS):
            content = {"of": self._of, "results": self.correct, "seconds": self.seconds()}
            content["checksum"] = _checksum(self.correct)
            files.write_atomically(self._path, json.dumps(content))
            self._written = time.monotonic()

    def remove(self) -> None:
        """Remove the file."""
        if self._path:
            self._path.unlink(missing_ok=True)


def _checksum(counted: object) -> int:
    return zlib.crc32(json.dumps(counted).encode())
