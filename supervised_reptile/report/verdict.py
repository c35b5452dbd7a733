"""How far a score is from the paper's and from replications of it."""

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


def judge(cell: Cell, scores: Sequence[Score], complete: bool) -> str:
    """The verdict on the mean of the scores of several seeds, to the digits that are shown.

    complete: whether they have the paper's meta-iterations and number of tasks. If so, a single
    one that is far outside is enough to suspect a defect.
    """
    score = mean_of(scores)
    percent, interval = round(score.percent, 2), round(score.interval or 0, 2)
    worst = max(_outside(cell, one) for one in scores)
    if complete and cell.ways == 5 and worst > DEFECT:
        upto = "" if len(scores) == 1 else "up to "
        return f"**OUTSIDE the replications' range by {upto}{worst:.2f} points: look for a defect**"
    outside = _outside(cell, score)
    if not outside:
        return "inside the replications' range"
    paper, paper_interval = cell.paper
    if round(abs(percent - paper), 2) <= round(paper_interval + interval, 2):
        return "inside the paper's interval widened by ours"
    return f"outside the replications' range by {outside:.2f} points"


def _outside(cell: Cell, score: Score) -> float:
    """Points outside the replications' range."""
    percent, (low, high) = round(score.percent, 2), cell.replications
    return round(max(low - percent, percent - high, 0), 2)
