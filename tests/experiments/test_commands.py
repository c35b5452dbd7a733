"""The commands of the experiments have the paper's settings, but for what their README names."""

import shlex

from experiments.commands import groups
from supervised_reptile import args, plan
from supervised_reptile.args import Config
from supervised_reptile.settings import SETTINGS, TABLES

GROUPS = groups()


def configs(line: str) -> list[Config]:
    """How a run is trained, and how its model is evaluated again."""
    found: list[Config] = []
    for command in line.split(" && "):
        python, unbuffered, script, *words = shlex.split(command)
        assert (python, unbuffered) == ("python", "-u")
        dataset = script.removeprefix("run_").removesuffix(".py")
        given = args.parse("run", dataset, words)
        found.append(plan.resolve(dataset, given, found[0] if found else None))
    assert found[0].run.resume and all(one.run.pretrained for one in found[1:])
    return found


def differences(config: Config, name: str) -> dict[str, object]:
    """The flags of a command that differ from those of a setting."""
    setting = SETTINGS[name]
    assert config.dataset == setting.dataset
    theirs = Config.of(setting.dataset, setting.flags).flags()
    own = ("checkpoint", "pretrained")
    return {k: v for k, v in config.flags().items() if v != theirs[k] and k not in own}


def test_every_run_has_a_folder_of_its_name():
    names = [name for lines in GROUPS.values() for name in lines]
    assert len(set(names)) == len(names) == 1 + 2 + 2 + 11 + 60
    for lines in GROUPS.values():
        for name, line in lines.items():
            folders = {config.run.checkpoint for config in configs(line)}
            assert folders == {f"experiments/runs/{name}"}


def test_two_evaluations_of_a_run_give_four_cells_of_a_table():
    cells = set()
    for lines in (GROUPS["table1"], GROUPS["table2"], GROUPS["second_seed"]):
        for name, line in lines.items():
            first, again = configs(line)
            seed = {"seed": 1} if name.endswith("_seed1") else {}
            name = name.removesuffix("_seed1")
            five = f"{name[0]}5{name[2:]}"
            for config, setting in ((first, name), (again, five)):
                all_sets = config is first and name != "m15"
                sets = {} if all_sets else {"eval_sets": "test"}
                assert differences(config, setting) == {"eval_interval": 100, **sets, **seed}
                cells |= {setting, f"{setting}t"}
    assert cells == {setting.name for setting in TABLES}


def test_the_figures_differ_in_what_is_evaluated_and_in_nothing_else():
    less = {"eval_interval": 10, "eval_samples": 2000}
    for group, expected in (("figure_gradients", less), ("figure_overlap", {})):
        for name, line in GROUPS[group].items():
            (config,) = configs(line)
            found = differences(config, name.removesuffix("_every"))
            assert found == ({} if name.endswith("_every") else expected)
