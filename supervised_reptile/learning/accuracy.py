"""Accuracies over tasks, and how sure they are: 95 % intervals. Nothing here needs TensorFlow."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """The accuracy over tasks.

    mean: correct predictions of all. confidence: half the width of the 95 % interval of the mean;
    None for a single task.
    """

    mean: float
    confidence: float | None
    tasks: int


@dataclasses.dataclass(frozen=True)
class SetResult:
    """The accuracies on one set.

    reported: as the flags say, which the authors' lines print. transductive: of the same adapted
    networks, all queries of a task in one batch; None where that is what is reported.
    """

    reported: Accuracy
    transductive: Accuracy | None = None


def summarize(correct: Sequence[Sequence[int]], classes: int, transductive: bool) -> SetResult:
    """The SetResult of tasks with a query for each class.

    correct: correct predictions of each, int [tasks, 2]: as the flags say, and transductively.
    transductive: whether the flags say that.
    """
    reported, together = (accuracy(counts, classes) for counts in np.transpose(correct))
    return SetResult(reported, None if transductive else together)


def accuracy(correct: np.ndarray, classes: int) -> Accuracy:
    """The Accuracy of tasks. correct: correct predictions of each, int [tasks], of so many."""
    tasks, confidence = len(correct), None
    mean = int(correct.sum()) / (tasks * classes)
    if tasks > 1:
        half = float(half_width(float(np.var(correct / classes, ddof=1)), tasks, classes))
        confidence = min(half, max(mean, 1 - mean))  # which reaches from 0 to 1
    return Accuracy(mean, confidence, tasks)


def half_width(variance: np.ndarray | float, tasks: np.ndarray | int, classes: int) -> np.ndarray:
    """Half the width of the 95 % interval of a mean over tasks, each with a query for each class.

    variance: of the tasks' accuracies. tasks: at least 2. It is t √(variance / tasks + 2/queries²)
    with Student's t, by Wallace's approximation. Where all answers are right, the second term is
    that of Agresti and Coull's interval, which adds two right and two wrong answers. So it holds
    for few tasks, too.
    """
    freedom, queries = tasks - 1, tasks * classes
    t_squared = freedom * np.expm1((1.96 * (8 * freedom + 3) / (8 * freedom + 1)) ** 2 / freedom)
    return np.sqrt(t_squared * (variance / tasks + 2 / queries**2))
