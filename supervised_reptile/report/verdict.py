"""How far a score is from the paper's and from four replications of it."""

from collections.abc import Sequence

from supervised_reptile.report.reading import Score
from supervised_reptile.report.settings import Cell

DEFECT = (
    0.3  # points outside the replications' range, from which on a complete 5-way run is suspect
)


def mean_of(scores: Sequence[Score]) -> Score:
    """The mean of independent scores, and its interval as far as it comes from drawing tasks."""
    count = len(scores)
    intervals = [score.interval for score in scores]
    known = [interval for interval in intervals if interval is not None]
    interval = sum(i**2 for i in known) ** 0.5 / count if len(known) == count else None
    return Score(sum(score.percent for score in scores) / count, interval)


def judge(cell: Cell, score: Score, complete: bool) -> str:
    """The verdict on a score, to the digits that are shown.

    complete: whether it has the paper's meta-iterations and number of tasks.
    """
    percent, interval = round(score.percent, 2), round(score.interval or 0, 2)
    low, high = cell.replications
    outside = round(max(low - percent, percent - high, 0), 2)
    if not outside:
        return "inside the replications' range"
    paper, paper_interval = cell.paper
    if complete and cell.ways == 5 and outside > DEFECT:
        return f"**OUTSIDE the replications' range by {outside:.2f} points: look for a defect**"
    if round(abs(percent - paper), 2) <= round(paper_interval + interval, 2):
        return "inside the paper's interval widened by ours"
    return f"outside the replications' range by {outside:.2f} points"
