"""What the models in the repository can be tried with."""

import pathlib

from supervised_reptile.classification.command import classify

EXPERIMENTS = pathlib.Path(__file__).parents[2] / "experiments"


def test_the_drawings_are_what_they_were_drawn_as():
    drawings = EXPERIMENTS / "drawings"
    found = classify(
        str(EXPERIMENTS / "models" / "o15"), str(drawings / "labelled"), str(drawings / "new")
    )
    names = ["star", "fish", "house", "fish", "star", "house", "house"]
    assert [answer.best for answer in found] == names
