"""Verdicts on scores, at the edges of the paper's and the replications' numbers."""

import made_up
import pytest

from supervised_reptile.report.reading import Score
from supervised_reptile.report.verdict import judge, mean_of

O15, O520, M55T = (made_up.CELL[name] for name in ("o15", "o520", "m55t"))  # range, ± paper
INSIDE = "inside the replications' range"
WIDENED = "inside the paper's interval widened by ours"


@pytest.mark.parametrize(
    "cell, percent, interval, expected",
    [
        (O15, 95.20, 0.1, INSIDE),
        (O15, 95.5649, 0.1, INSIDE),  # is shown as 95.56
        (O15, 95.57, 0.1, WIDENED),  # 95.39 + 0.09 + 0.10 is 95.58
        (O15, 95.58, 0.1, WIDENED),
        (O15, 95.59, 0.1, "outside the replications' range by 0.03 points"),
        (O15, 95.86, 0.1, "outside the replications' range by 0.30 points"),
        (O15, 94.90, 0.1, "outside the replications' range by 0.30 points"),
        (O15, 94.89, 0.1, "**OUTSIDE the replications' range by 0.31 points: look for a defect**"),
        (O520, 90.00, 0.1, "outside the replications' range by 6.47 points"),  # not 5-way
        (M55T, 66.60, 0.3, "**OUTSIDE the replications' range by 0.41 points: look for a defect**"),
    ],
)
def test_the_verdict_on_a_complete_run(cell, percent, interval, expected):
    assert judge(cell, [Score(percent, interval)], complete=True) == expected


def test_no_defect_is_suspected_of_an_evaluation_on_few_tasks():
    assert judge(M55T, [Score(66.60, 0.3)], complete=False) == WIDENED
    assert "0.80 points" in judge(O15, [Score(94.40, 0.3)], complete=False)


def test_a_score_without_interval_is_judged_too():
    assert judge(O15, [Score(95.3, None)], complete=False) == INSIDE


def test_the_mean_of_two_seeds_by_hand():
    found = mean_of([Score(95.0, 0.3), Score(96.0, 0.4)])
    assert (found.percent, found.interval) == (95.5, pytest.approx(0.25))
    assert mean_of([Score(95.0, 0.3), Score(96.0, None)]).interval is None


def test_one_seed_far_outside_is_enough_to_suspect_a_defect():
    scores = [Score(94.80, 0.1), Score(95.60, 0.1)]  # mean: 95.20
    expected = "**OUTSIDE the replications' range by up to 0.40 points: look for a defect**"
    assert judge(O15, scores, complete=True) == expected
    assert judge(O15, scores, complete=False) == INSIDE
