"""The settings are the paper's commands: those that the README shows and the specification has."""

import pathlib
import re
import shlex

import pytest

from supervised_reptile import plan
from supervised_reptile.args import Config
from supervised_reptile.settings import GRADIENTS, OVERLAPS, PRESETS, SETTINGS, TABLES
from tests.test_readme import commands, config

ROOT = pathlib.Path(__file__).parents[1]
PAPER = ROOT.parent / "shared" / "spec" / "paper.md"


def runs(path: pathlib.Path) -> dict[str, Config]:
    """The training runs in a text with a folder such as ckpt_o15, by that name."""
    found = [config(*line) for line in commands(path.read_text())]
    new = [one for one in found if not (one.run.pretrained or one.run.resume)]
    return {one.run.checkpoint.removeprefix("ckpt_"): one for one in new}


def as_flags(name: str) -> dict[str, object]:
    """All flags of a setting, but the folder."""
    setting = SETTINGS[name]
    flags = Config.of(setting.dataset, setting.flags).flags()
    return {**flags, "checkpoint": f"ckpt_{name}"}


def test_the_readme_shows_all_of_them():
    shown = runs(ROOT / "README.md")
    for setting in (*TABLES, *GRADIENTS):
        assert shown[setting.name].dataset == setting.dataset
        assert shown[setting.name].flags() == as_flags(setting.name)


@pytest.mark.skipif(not PAPER.exists(), reason="the specification is not there")
def test_they_are_those_of_the_specification():
    shown = runs(PAPER)
    assert {"o15t", "o520", "m55"} <= set(shown)
    for name, one in shown.items():
        assert one.flags() == as_flags(name)
    text = PAPER.read_text()
    for one in TABLES:
        (paper, interval), (least, most) = one.paper, one.replications
        numbers = f"{paper:.2f} ± {interval:.2f} | {least:.2f} – {most:.2f}"
        assert f"| {one.label} | {one.name} | {numbers} |" in text
    table = text[text.index("| curve | flags |") :]
    rows = re.findall(r"^\| .+ \| `(--.+)` \|$", table, re.M)
    shared = re.search(r"Shared flags: `([^`]+)`", text)[1]
    for one, row in zip(GRADIENTS, rows, strict=True):
        words = shlex.split(f"{shared} {row} --checkpoint ckpt_{one.name}")
        assert config("omniglot", words).flags() == as_flags(one.name)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_the_command_of_that_name(name):
    """Which the tests above compare with the paper's."""
    dataset = SETTINGS[name].dataset
    given = config(dataset, ["--preset", name, "--checkpoint", f"ckpt_{name}"])
    assert given.flags() == as_flags(name)


def test_flags_beside_a_preset_win():
    others = ["--seed", "2", "--no-transductive"]
    for words in (["--preset", "o55t", *others], [*others, "--preset", "o55t"]):
        found = config("omniglot", words)
        assert found.flags() == {**as_flags("o55"), "seed": 2, "checkpoint": "model_checkpoint"}


def test_the_overlap_is_varied_around_the_settings_of_the_gradients():
    varied = {"inner_iters", "inner_batch", "foml", "foml_tail", "replacement"}
    shortened = {"meta_iters", "eval_interval", "eval_samples", "checkpoint"}
    middle, found = as_flags("g1_g2_g3_g4"), []
    for one in OVERLAPS:
        flags = as_flags(one.name)
        differ = {name for name in middle if flags[name] != middle[name]}
        assert differ <= varied | shortened
        assert flags["foml_tail"] in (None, flags["inner_batch"] // 5)
        assert flags["inner_iters"] == 4 or flags["inner_batch"] == 25
        found.append([flags[name] for name in sorted(varied)])
    assert len(found) == 6 * 10 and all(found.count(one) == 1 for one in found)


def test_their_flags_have_the_types_of_the_command_line():
    """So that a run's record of them can be read again."""
    for setting in SETTINGS.values():
        plan.resolve(setting.dataset, setting.flags)
        defaults = Config.of(setting.dataset, {}).flags()
        for name, value in setting.flags.items():
            assert type(value) is type(defaults[name]) or name == "foml_tail"
