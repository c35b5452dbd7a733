"""The settings are told apart, and cover all flags that training depends on."""

import collections

from supervised_reptile.args import Config
from supervised_reptile.report.settings import CELLS, COMBINATIONS, DEFAULTS, OVERLAPS


def test_the_defaults_are_those_of_the_program():
    flags = Config.of("omniglot", {}).flags()
    assert {name: flags[name] for name in DEFAULTS} == DEFAULTS


def test_every_flag_of_training_is_compared():
    elsewhere = {"shots", "eval_batch", "eval_iters", "eval_samples", "eval_interval"}
    elsewhere |= {"transductive", "pretrained", "seed", "checkpoint", "checkpoint_interval"}
    elsewhere |= {"keep_checkpoints", "data_dir", "synthetic", "meta_iters"}
    assert set(Config.of("omniglot", {}).flags()) == elsewhere | set(DEFAULTS)


def test_no_two_curves_or_points_have_the_same_setting():
    for settings in ([c.setting for c in COMBINATIONS], [o.setting for o in OVERLAPS]):
        assert all(settings.count(setting) == 1 for setting in settings)
    assert (len(COMBINATIONS), len(OVERLAPS)) == (10, 60)


def test_both_columns_have_the_same_setting():
    twins = collections.defaultdict(set)
    for cell in CELLS:
        twins[cell.id.rstrip("t")].add(str(cell.setting))
    assert [len(settings) for settings in twins.values()] == [1] * 6


def test_the_cells_are_named_as_in_the_paper():
    titles = [cell.title for cell in CELLS]
    assert titles[1] == "Omniglot 1-shot 5-way, transductive"
    assert titles[6] == "Omniglot 5-shot 20-way"
    assert titles[10] == "miniImageNet 5-shot 5-way"
    for cell in CELLS:
        assert abs(cell.paper[0] - sum(cell.replications) / 2) < 0.6
