"""The commands of the README are accepted, and are those of the paper."""

import pathlib
import re
import shlex

import pytest

from supervised_reptile import args, plan

README = pathlib.Path(__file__).parents[1] / "README.md"


def commands():
    """(dataset, arguments) of every command in the README, as a shell would split them."""
    text = README.read_text()
    for name, value in re.findall(r'^(\w+)="(.+)"$', text, re.M):
        text = text.replace(f"${name}", value)
    lines = re.findall(r"^(?:\$ )?python (?:-u )?run_(\w+)\.py ([^|\n]+)", text, re.M)
    return [(dataset, shlex.split(line, comments=True)) for dataset, line in lines]


def config(dataset, words):
    return plan.resolve(dataset, args.parse("run", dataset, words))


def test_every_command_is_accepted():
    assert len(commands()) == 27
    for dataset, words in commands():
        config(dataset, words)


# Appendix A: learning rate, inner batch and steps, train shots, meta-iterations, eval batch.
OMNIGLOT_5 = (0.001, 10, 5, 10, 100_000, 5)
OMNIGLOT_20 = (0.0005, 20, 10, 10, 200_000, 10)
TABLES = {
    "o15": (1, 5, OMNIGLOT_5),
    "o55": (5, 5, OMNIGLOT_5),
    "o120": (1, 20, OMNIGLOT_20),
    "o520": (5, 20, OMNIGLOT_20),
    "m15": (1, 5, (0.001, 10, 8, 15, 100_000, 5)),
    "m55": (5, 5, (0.001, 10, 8, 15, 100_000, 15)),
}


@pytest.mark.parametrize("setting", [name + t for name in TABLES for t in ("", "t")])
def test_the_commands_of_the_tables_have_the_settings_of_the_paper(setting):
    (found,) = [
        config(dataset, words)
        for dataset, words in commands()
        if f"ckpt_{setting}" in words and "--pretrained" not in words
    ]
    shots, classes, rest = TABLES[setting.rstrip("t")]
    assert found.dataset == ("omniglot" if setting[0] == "o" else "miniimagenet")
    assert (found.task.shots, found.task.classes) == (shots, classes)
    assert rest == (
        found.inner.learning_rate,
        found.inner.inner_batch,
        found.inner.inner_iters,
        found.task.train_shots,
        found.outer.meta_iters,
        found.evaluation.eval_batch,
    )
    assert (found.outer.meta_step, found.outer.meta_step_final) == (1, 0)
    assert (found.outer.meta_batch, found.evaluation.eval_iters) == (5, 50)
    assert found.evaluation.eval_samples == 10_000
    assert found.evaluation.transductive == setting.endswith("t")
    assert not (found.inner.sgd or found.outer.foml or found.inner.replacement)


# Section 6.2: inner steps, outer step size, only the last gradient.
FIGURE = [
    (1, 0.25, False),
    *[(2, 0.25, False), (2, 0.125, False), (2, 0.25, True)],
    *[(3, 0.25, False), (3, 0.08325, False), (3, 0.25, True)],
    *[(4, 0.25, False), (4, 0.0625, False), (4, 0.25, True)],
]


def test_the_commands_of_the_figure_have_the_settings_of_the_paper():
    found = [config(dataset, words) for dataset, words in commands() if "--sgd" in words]
    curves = [(c.inner.inner_iters, c.outer.meta_step, c.outer.foml) for c in found]
    assert curves == FIGURE
    for one in found:
        assert one.dataset == "omniglot"
        assert one.task.train_shots == 5 * one.inner.inner_iters
        assert (one.inner.inner_batch, one.inner.learning_rate) == (25, 0.003)
        assert (one.outer.meta_step_final, one.outer.meta_iters) == (0, 40_000)
        assert (one.evaluation.eval_batch, one.evaluation.eval_iters) == (25, 5)
        assert (one.evaluation.eval_interval, one.task.shots, one.task.classes) == (1, 5, 5)
