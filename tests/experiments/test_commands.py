"""The commands in experiments/ have the paper's settings, and are those of the README."""

import pathlib
import re
import shlex

import pytest

from supervised_reptile import args, plan
from supervised_reptile.args import Config
from supervised_reptile.data import omniglot
from supervised_reptile.report import settings
from supervised_reptile.report.matching import trained_as
from supervised_reptile.report.reading import Run

ROOT = pathlib.Path(__file__).parents[2]
COMMAND = re.compile(r"python -u run_(\w+)\.py (.*)")


def lines(name: str) -> list[str]:
    """The lines of a file of commands, each of them one run."""
    return (ROOT / "experiments" / name).read_text().splitlines()


def configs(line: str) -> tuple[str, Config, list[Config]]:
    """The name of a run, how it is trained and first evaluated, and how it is evaluated again."""
    first, *others = [COMMAND.fullmatch(command).groups() for command in line.split(" && ")]
    dataset, words = first
    trained = plan.resolve(dataset, args.parse("run", dataset, shlex.split(words)))
    again = []
    for dataset, words in others:
        given = args.parse("run", dataset, shlex.split(words))
        assert given["pretrained"] and given["checkpoint"] == trained.run.checkpoint
        again.append(plan.resolve(dataset, given, trained))
    folder, name = trained.run.checkpoint.rsplit("/", 1)
    assert folder == "experiments/runs" and "--resume" in shlex.split(first[1])
    return name, trained, again


def readme() -> dict[str, Config]:
    """The paper's commands as the README shows them, by the name of their run."""
    text = (ROOT / "README.md").read_text()
    shared = re.search(r'^shared="([^"]*)"', text, re.M)
    text = text.replace("$shared", shared[1] if shared else "")
    found = {}
    for dataset, line in re.findall(r"^python (?:-u )?run_(\w+)\.py ([^|\n]+)", text, re.M):
        words = shlex.split(line, comments=True)
        if "--pretrained" not in words and "…" not in line:
            config = plan.resolve(dataset, args.parse("run", dataset, words))
            found.setdefault(config.run.checkpoint.removeprefix("ckpt_"), config)
    return found


def alike(ours: Config, theirs: Config, *but: str) -> bool:
    """Whether two configurations agree in all flags but these."""
    pair = [config.flags() for config in (ours, theirs)]
    differ = {name for name in pair[0] if pair[0][name] != pair[1][name]}
    return ours.dataset == theirs.dataset and differ <= {*but, "checkpoint", "pretrained"}


# Appendix A: learning rate, inner batch and steps, train shots, meta-iterations.
OMNIGLOT_5 = (0.001, 10, 5, 10, 100_000)
OMNIGLOT_20 = (0.0005, 20, 10, 10, 200_000)
MINI = (0.001, 10, 8, 15, 100_000)
TABLES = {
    "o15": ("table2_omniglot.sh", "omniglot", 5, OMNIGLOT_5, {1: 5, 5: 5}),
    "o120": ("table2_omniglot.sh", "omniglot", 20, OMNIGLOT_20, {1: 10, 5: 10}),
    "m15": ("table1_miniimagenet.sh", "miniimagenet", 5, MINI, {1: 5, 5: 15}),
    "o15_seed1": ("table2_second_seed.sh", "omniglot", 5, OMNIGLOT_5, {1: 5, 5: 5}),
}


@pytest.mark.parametrize("name", TABLES)
def test_the_commands_of_the_tables_have_the_settings_of_the_paper(name):
    """The last of the numbers: images of an evaluation's inner batch, by its shots."""
    file, dataset, classes, rest, batches = TABLES[name]
    (found,) = [one for one in map(configs, lines(file)) if one[0] == name]
    _, trained, again = found
    inner, outer = trained.inner, trained.outer
    assert trained.dataset == dataset
    assert rest == (
        *(inner.learning_rate, inner.inner_batch, inner.inner_iters),
        *(trained.task.train_shots, outer.meta_iters),
    )
    assert (outer.meta_step, outer.meta_step_final, outer.meta_batch) == (1, 0, 5)
    assert not (inner.sgd or inner.replacement or outer.foml or outer.parallel_tasks)
    assert trained.run.seed == (1 if name.endswith("seed1") else 0)
    assert {one.task.shots: one.evaluation.eval_batch for one in (trained, *again)} == batches
    for one in (trained, *again):
        assert (one.task.classes, one.evaluation.eval_iters) == (classes, 50)
        assert one.evaluation.eval_samples == 10_000
        assert not one.evaluation.transductive  # so that both columns are reported


@pytest.mark.parametrize("name", ["o15", "o120", "m15"])
def test_the_commands_of_the_tables_are_those_of_the_readme(name):
    file, shown = TABLES[name][0], readme()
    (found,) = [one for one in map(configs, lines(file)) if one[0] == name]
    for config in (found[1], *found[2]):
        id = name[0] + str(config.task.shots) + name[2:]
        assert alike(config, shown[id], "eval_interval")
        assert alike(config, shown[id + "t"], "eval_interval", "transductive")


# Section 6.2: inner steps, outer step size, only the last gradient.
FIGURE = {
    "g1": (1, 0.25, False),
    "g1_g2": (2, 0.25, False),
    "half_g1_g2": (2, 0.125, False),
    "g2": (2, 0.25, True),
    "g1_g2_g3": (3, 0.25, False),
    "third_g1_g2_g3": (3, 0.08325, False),
    "g3": (3, 0.25, True),
    "g1_g2_g3_g4": (4, 0.25, False),
    "fourth_g1_g2_g3_g4": (4, 0.0625, False),
    "g4": (4, 0.25, True),
    "g1_g2_g3_g4_every": (4, 0.25, False),
}


def test_the_commands_of_the_gradients_have_the_settings_of_the_paper():
    found = {name: config for name, config, _ in map(configs, lines("figure_gradients.sh"))}
    for name, one in found.items():
        assert one.dataset == "omniglot" and one.inner.sgd and one.run.seed == 0
        assert one.task.train_shots == 5 * one.inner.inner_iters
        assert (one.inner.inner_batch, one.inner.learning_rate) == (25, 0.003)
        assert (one.outer.meta_step_final, one.outer.meta_iters) == (0, 40_000)
        assert (one.evaluation.eval_batch, one.evaluation.eval_iters) == (25, 5)
        assert (one.task.shots, one.task.classes, one.outer.meta_batch) == (5, 5, 1)
        often = (1, 10_000) if name.endswith("every") else (10, 2000)
        assert (one.evaluation.eval_interval, one.evaluation.eval_samples) == often
    curves = {
        name: (one.inner.inner_iters, one.outer.meta_step, one.outer.foml)
        for name, one in found.items()
    }
    assert curves == FIGURE


def test_the_commands_of_the_gradients_are_those_of_the_readme():
    shown = readme()
    for name, config, _ in map(configs, lines("figure_gradients.sh")):
        theirs = shown[name.removesuffix("_every")]
        less = () if name.endswith("every") else ("eval_interval", "eval_samples")
        assert alike(config, theirs, *less)


def test_the_overlap_is_varied_around_the_settings_of_the_gradients():
    _, middle, _ = next(map(configs, lines("figure_gradients.sh")[7:]))
    varied = ("inner_iters", "inner_batch", "foml", "foml_tail", "replacement")
    points = set()
    for name, config, _ in map(configs, lines("figure_overlap.sh")):
        assert alike(config, middle, *varied, "meta_iters", "eval_interval", "eval_samples")
        assert config.outer.meta_iters == config.evaluation.eval_interval == 10_000
        inner, outer = config.inner, config.outer
        assert outer.foml_tail in (None, inner.inner_batch // 5)
        assert inner.inner_iters == 4 or inner.inner_batch == 25
        method = "separate_tail" if outer.foml_tail else "shared_tail" if outer.foml else "reptile"
        order = "replacement" if inner.replacement else "cycling"
        assert name == f"{method}_{order}_{inner.inner_iters}x{inner.inner_batch}"
        points.add(name)
    assert len(points) == 6 * 10


def test_each_run_of_the_paper_is_recognized_by_the_report():
    lists = (settings.CELLS, settings.COMBINATIONS, settings.OVERLAPS)
    known = [one.setting for some in lists for one in some]
    data = {"origin": {"digest": omniglot.DIGEST}}
    for path in sorted((ROOT / "experiments").glob("*.sh")):
        for name, config, _ in map(configs, lines(path.name)):
            run = Run(name, config.dataset, config.flags(), data, {}, (), None, None)
            full = [s for s in known if trained_as(run, s) and s.meta_iters == run.total]
            assert full, name


def test_every_run_has_a_name_of_its_own():
    paths = sorted((ROOT / "experiments").glob("*.sh"))
    names = [configs(line)[0] for path in paths for line in lines(path.name)]
    assert len(names) == len(set(names)) == 2 + 1 + 1 + 11 + 60
