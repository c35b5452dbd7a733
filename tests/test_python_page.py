"""The code of docs/python.md runs, and its Keras network is that of the package."""

import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

import supervised_reptile
from supervised_reptile.learning.models import OMNIGLOT

TOP = pathlib.Path(__file__).parents[1]
LOADING, KERAS = re.findall(r"```python\n(.*?)```", (TOP / "docs/python.md").read_text(), re.S)


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that executes code, and returns its variables and what it prints."""
    monkeypatch.chdir(TOP)

    def execute(code):
        variables = {}
        exec(code, variables)
        return variables, capsys.readouterr().out

    return execute


def test_a_model_is_adapted_and_asked(run):
    variables, printed = run(LOADING)
    assert printed.startswith("['fish', 'star']\n") and printed.endswith("(3, 3, 1, 64)\n")
    probabilities = variables["adapted"].probabilities(variables["new"])
    assert (probabilities.argmax(1) == [1, 0]).all()


def test_the_network_in_keras_has_the_same_logits(run):
    variables, _ = run(KERAS)
    ours = supervised_reptile.load("o15").parameters
    pixels = tf.constant(variables["images"])[None, None]
    expected = OMNIGLOT.logits({name: value[None] for name, value in ours.items()}, pixels)[0, 0]
    np.testing.assert_allclose(variables["logits"], expected, rtol=0, atol=2e-4)
    tuned = variables["network"](variables["images"], training=True)
    assert (np.argmax(tuned, 1) == [0, 0, 1, 1, 2, 2]).all()
