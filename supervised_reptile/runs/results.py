"""Results of evaluations: their lines, their record, and those under way.

Nothing here needs TensorFlow.
"""

import collections
import contextlib
import datetime
import errno
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervised_reptile.args import Config
from supervised_reptile.learning.accuracy import Accuracy, SetResult
from supervised_reptile.runs import record
from supervised_reptile.system import files, output

PROGRESS_SECONDS = 5
TITLES = {"train": "Train", "val": "Validation", "test": "Test"}


def show(split: str, result: SetResult, transductive: bool) -> None:
    """Print the final lines of a split. transductive: whether the reported accuracy is."""
    reported, together = result.reported, result.transductive
    output.say(f"{TITLES[split]} accuracy: {reported.mean}")
    kind = "transductive" if transductive else "not transductive"
    if reported.confidence is None:
        output.say(f"  ({reported.tasks} task, {kind})")
    else:
        over = f"95% confidence over {reported.tasks} tasks, {kind}"
        output.say(f"  +/- {reported.confidence:.5f} ({over})")
    if together:
        interval = "" if together.confidence is None else f" +/- {together.confidence:.5f}"
        output.say(f"  transductive: {together.mean:.5f}{interval}")


def append(
    directory: os.PathLike,
    config: Config,
    iteration: int | None,
    found: Mapping[str, SetResult],
    circumstances: Mapping[str, Any],
) -> None:
    """Append one evaluation to results.jsonl.

    iteration: the number of the checkpoint, None without one. found: by split.
    circumstances: what else to record: "data" (ImageSet.provenance), "seconds", what is in a
    record.part, "assumed" (flags that nobody has given or recorded), "parts" (Tally).
    Raises OSError if that is not possible; with --pretrained, it is only a warning.
    """
    line = {
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "dataset": config.dataset,
        "iteration": iteration,
        **_numbers({split: result.reported for split, result in found.items()}),
        "config": config.flags(),
        **circumstances,
    }
    together = {split: r.transductive for split, r in found.items() if r.transductive}
    if not config.evaluation.transductive:
        line["transductive"] = _numbers(together)
    path = Path(directory) / record.RESULTS
    try:
        _append_line(path, json.dumps(line) + "\n")
    except OSError as error:
        problem = f"the results were not recorded in {path}: {error.strerror}"
        if not config.run.pretrained:
            raise OSError(problem) from None
        output.note(f"Warning: {problem}")


def _numbers(accuracies: Mapping[str, Accuracy]) -> dict[str, dict[str, float | None]]:
    return {
        "accuracy": {split: accuracy.mean for split, accuracy in accuracies.items()},
        "confidence_95": {split: accuracy.confidence for split, accuracy in accuracies.items()},
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
    """The SetResult that a training run recorded at its end of each set that is asked for, or None
    if it lacks one."""
    path, samples = Path(directory) / record.RESULTS, config.evaluation.eval_samples
    for text in path.read_text(errors="replace").splitlines() if path.exists() else []:
        # It was half-written when the disk was full, or is of other sets.
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            line = json.loads(text)
            flags, both = line["config"], filter(None, (line, line.get("transductive")))
            same = (line["iteration"], flags["eval_samples"]) == (config.outer.last, samples)
            if same and not flags["pretrained"]:
                numbers = [(part["accuracy"], part["confidence_95"]) for part in both]
                return {
                    split: SetResult(*(Accuracy(m[split], h[split], samples) for m, h in numbers))
                    for split in config.final_sets
                }
    return None


class Tally:
    """Correct predictions of the tasks that a final evaluation is done with, by purpose.

    It is kept in a file, so that the evaluation can continue after the process has ended.
    correct: lists by the name of a sampling.Purpose, task after task, of [as the flags say,
    transductively]. parts: each record.part that has evaluated some of the tasks.
    """

    def __init__(
        self, folder: os.PathLike | None = None, of: object = None, part: dict | None = None
    ) -> None:
        """folder: of the file, None for no file. of: the number of the evaluated checkpoint; a file
        about another one is left aside. part: the record.part of this process."""
        self._folder, self._of, self._earlier, self.parts = folder, of, 0.0, [part]
        self.correct: dict[str, list[list[int]]] = collections.defaultdict(list)
        self._written = self._begun = time.monotonic()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # begun anew
            content = json.loads(Path(folder, record.TALLY).read_text()) if folder else {}
            if content["of"] == of:
                earlier = [one for one in content["parts"] if one != part]
                self._earlier, self.parts = float(content["seconds"]), [*earlier, part]
                self.correct.update(content["results"])

    def seconds(self) -> float:
        """How long the evaluation has taken, with what was kept of it."""
        return self._earlier + time.monotonic() - self._begun

    def keep(self, at_once: bool = False) -> None:
        """Write the file if it was not written for some seconds."""
        if self._folder and (at_once or time.monotonic() - self._written > PROGRESS_SECONDS):
            content = {"of": self._of, "results": self.correct, "seconds": self.seconds()}
            text = json.dumps(content | {"parts": self.parts})
            files.write_atomically(Path(self._folder, record.TALLY), text)
            self._written = time.monotonic()

    def remove(self) -> None:
        """Remove the file."""
        if self._folder:
            Path(self._folder, record.TALLY).unlink(missing_ok=True)
