"""The commands of README and docs are accepted, the paper's are those of the paper; links lead."""

import itertools
import pathlib
import re
import shlex

import pytest

from supervised_reptile import args, plan

TOP = pathlib.Path(__file__).parents[1]
PAGES = [*TOP.glob("*.md"), *TOP.glob("docs/*.md"), *TOP.glob("experiments/*.md")]
README = (TOP / "README.md").read_text()


def commands(text):
    """(dataset, arguments) of every command of the scripts, as a shell would split them."""
    for name, value in re.findall(r'^(\w+)="(.+)"$', text, re.M):
        text = text.replace(f"${name}", value)
    text = text.replace("\\\n", " ")
    lines = re.findall(r"^(?:\$ | *)python (?:-u )?run_(\w+)\.py ([^|&\n]+)", text, re.M)
    lines = [(dataset, line) for dataset, line in lines if "…" not in line]
    return [(dataset, shlex.split(line, comments=True)) for dataset, line in lines]


def config(dataset, words):
    given = args.parse("run", dataset, words)
    _, given = args.part(args.Computing, given)
    return plan.resolve(dataset, args.part(args.Classifying, given)[1])


def test_every_command_is_accepted():
    assert len(commands(README)) >= 22
    for dataset, words in itertools.chain(*(commands(page.read_text()) for page in PAGES)):
        config(dataset, words)


def test_the_readme_is_short():
    """Without the paper's commands."""
    text = re.sub(r"<details>.*?</details>", "", README, flags=re.S)
    assert len(text.split()) <= 1400


def anchors(page):
    """The headings of a page, as GitHub names them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_are_there(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        name, _, anchor = link.partition("#")
        if not link.startswith("http"):
            target = page.parent / name if name else page
            assert target.exists() and (not anchor or anchor in anchors(target)), link


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
MEANS = {2: 0.125, 3: 0.08325, 4: 0.0625}


@pytest.mark.parametrize("setting", [name + t for name in TABLES for t in ("", "t")])
def test_the_commands_of_the_tables_have_the_settings_of_the_paper(setting):
    (found,) = [config(*line) for line in commands(README) if f"ckpt_{setting}" in line[1]]
    shots, classes, rest = TABLES[setting.rstrip("t")]
    assert found.dataset == ("omniglot" if setting[0] == "o" else "miniimagenet")
    task, inner, outer, evaluation = found.task, found.inner, found.outer, found.evaluation
    assert (task.shots, task.classes) == (shots, classes)
    numbers = (inner.learning_rate, inner.inner_batch, inner.inner_iters, task.train_shots)
    assert (*numbers, outer.meta_iters, evaluation.eval_batch) == rest
    assert (outer.meta_step, outer.meta_step_final, outer.meta_batch) == (1, 0, 5)
    assert (evaluation.eval_iters, evaluation.eval_samples) == (50, 10_000)
    assert evaluation.transductive == setting.endswith("t")
    assert not (inner.sgd or outer.foml or inner.replacement)


def test_the_commands_of_the_figure_have_the_settings_of_the_paper():
    """Section 6.2: inner steps, outer step size, only the last gradient."""
    found = [config(*line) for line in commands(README) if "--sgd" in line[1]]
    curves = [(c.inner.inner_iters, c.outer.meta_step, c.outer.foml) for c in found]
    sums = [[(n, 0.25, False), (n, mean, False), (n, 0.25, True)] for n, mean in MEANS.items()]
    assert curves == [(1, 0.25, False), *itertools.chain(*sums)]
    for one in found:
        assert one.dataset == "omniglot"
        assert one.task.train_shots == 5 * one.inner.inner_iters
        assert (one.inner.inner_batch, one.inner.learning_rate) == (25, 0.003)
        assert (one.outer.meta_step_final, one.outer.meta_iters) == (0, 40_000)
        assert (one.evaluation.eval_batch, one.evaluation.eval_iters) == (25, 5)
        assert (one.evaluation.eval_interval, one.task.shots, one.task.classes) == (1, 5, 5)
