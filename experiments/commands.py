"""The commands of the experiments, a line for each run, as they are run from the repository's root:

    python -m experiments.commands                     # all
    python -m experiments.commands figure_gradients    # a table or figure
    python -m experiments.commands o15 o120            # runs by their names

The settings are those of supervised_reptile/settings.py; here is what is different (README.md).
"""

import shlex
import sys

from supervised_reptile.args import flag_name
from supervised_reptile.settings import GRADIENTS, OVERLAPS, SETTINGS, Flags, Setting

SECOND = {"o15": {"shots": 5}, "o120": {"shots": 5}, "m15": {"shots": 5, "eval_batch": 15}}


def command(dataset: str, name: str, flags: Flags) -> str:
    """A command of a run of that name."""
    words = ["python", "-u", f"run_{dataset}.py"]
    for flag, value in {**flags, "checkpoint": f"experiments/runs/{name}"}.items():
        words += [flag_name(flag), *([] if value is True else [str(value).removesuffix(".0")])]
    return shlex.join(words)


def training(setting: Setting, name: str = "", **changed: object) -> str:
    """Train a setting, or continue."""
    flags = {"resume": True, **setting.flags, **changed}
    return command(setting.dataset, name or setting.name, flags)


def both_shots(setting: Setting, name: str = "", **changed: object) -> str:
    """Train and evaluate a 1-shot setting, and evaluate the model once more with five shots."""
    again = {"pretrained": True, "eval_sets": "test", **SECOND[setting.name]}
    first = training(setting, name, eval_interval=100, **changed)
    return f"{first} && {command(setting.dataset, name or setting.name, again)}"


def groups() -> dict[str, dict[str, str]]:
    """The commands of each table and figure, by the names of their runs."""
    o15, o120, m15 = (SETTINGS[name] for name in SECOND)
    gradients = {one.name: training(one, eval_interval=10, eval_samples=2000) for one in GRADIENTS}
    every = "g1_g2_g3_g4_every"
    return {
        "table1": {"m15": both_shots(m15, eval_sets="test")},
        "table2": {"o15": both_shots(o15), "o120": both_shots(o120)},
        "second_seed": {
            "o15_seed1": both_shots(o15, "o15_seed1", seed=1),
            "o120_seed1": both_shots(o120, "o120_seed1", seed=1),
        },
        "figure_gradients": {**gradients, every: training(SETTINGS["g1_g2_g3_g4"], every)},
        "figure_overlap": {one.name: training(one) for one in OVERLAPS},
    }


def main(names: list[str]) -> None:
    """Print the commands of tables, figures and runs; with --names, all of these as table:run."""
    known = groups()
    runs = {name: line for group in known.values() for name, line in group.items()}
    if names == ["--names"]:
        print(*(f"{group}:{name}" for group, lines in known.items() for name in lines))
        return
    for name in names or known:
        if name not in known and name not in runs:
            sys.exit(f"experiments: no run, table or figure has the name {name}")
        print("\n".join(known[name].values() if name in known else [runs[name]]))


if __name__ == "__main__":
    main(sys.argv[1:])
