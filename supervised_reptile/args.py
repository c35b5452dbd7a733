"""Every flag, declared once: its name, default, range and meaning.

The dataclasses are the command line. They travel through the program whole. `check` judges their
combinations; what may differ from a recorded run is decided in plan.py.
"""

import argparse
import dataclasses
import difflib
import inspect
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from supervised_reptile import __version__
from supervised_reptile.flags import device, flag, path, plain_path, real, sets, whole
from supervised_reptile.settings import PRESETS
from supervised_reptile.system import output
from supervised_reptile.system.errors import RefusedError

EXAMPLES = """
examples:
  Train as the paper does, and evaluate:
    {script} --preset {preset} --checkpoint runs/{preset}
  The same from other random numbers:
    {script} --preset {preset} --seed 1 --checkpoint runs/{preset}_seed1
  Continue a run that was stopped:
    {script} --resume --checkpoint runs/{preset}
  Evaluate a model again, with other shots:
    {script} --pretrained --checkpoint runs/{preset} --shots 3
  Try everything in minutes, on generated images:
    {script} --synthetic --meta-iters 300 --eval-samples 100
"""


@dataclasses.dataclass(frozen=True)
class Task:
    """A few-shot classification task: so many classes (ways), so many shots of each."""

    classes: int = flag(5, "classes per task", whole(2))
    shots: int = flag(5, "support images per class in evaluation", whole(1))
    train_shots: int = flag(0, "images per class in a training task; 0: as --shots", whole(0))

    @property
    def training_shots(self) -> int:
        """Images per class in a training task."""
        return self.train_shots or self.shots


@dataclasses.dataclass(frozen=True)
class InnerLoop:
    """Training on one task (section 2; the optimizer is that of section 6.1)."""

    inner_batch: int = flag(5, "inner batch size", whole(1))
    inner_iters: int = flag(20, "inner steps", whole(1))
    replacement: bool = flag(False, "draw each mini-batch independently", bool)
    learning_rate: float = flag(1e-3, "inner step size", real(above=0))
    weight_decay: float = flag(
        1.0, "factor on all variables before every inner step; 1: off", real(above=0, at_most=1)
    )
    sgd: bool = flag(False, "SGD instead of Adam in the inner loop", bool)


@dataclasses.dataclass(frozen=True)
class OuterLoop:
    """Moving the shared initialization (algorithms 1 and 2)."""

    meta_step: float = flag(0.1, "outer step size at the start", real(at_least=0))
    meta_step_final: float = flag(0.1, "outer step size at the end", real(at_least=0))
    meta_batch: int = flag(1, "tasks per outer step", whole(1))
    meta_iters: int = flag(400000, "outer steps; 0: evaluate the untrained network", whole(0))
    foml: bool = flag(False, "first-order MAML: only the last inner step counts", bool)
    foml_tail: int | None = flag(
        None, "with --foml: images per class set aside as the last mini-batch", whole(1)
    )

    parallel_tasks: bool = flag(
        False,
        "train on the tasks of an outer step side by side; with Adam, another algorithm",
        bool,
    )

    @property
    def last(self) -> int | None:
        """The last meta-iteration, None if there is none."""
        return self.meta_iters - 1 if self.meta_iters else None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How adapted networks are tested."""

    eval_batch: int = flag(5, "inner batch size in evaluation", whole(1))
    eval_iters: int = flag(50, "inner steps in evaluation", whole(1))
    eval_samples: int = flag(10000, "tasks in the final evaluation of each set", whole(1))
    eval_sets: str = flag(
        "all", "sets of the final evaluation: all, or some as test or train,test", sets
    )
    eval_interval: int = flag(10, "outer steps between evaluations in training", whole(1))
    transductive: bool = flag(False, "predict all query images of a task in one batch", bool)


@dataclasses.dataclass(frozen=True)
class Run:
    """One run: where its data and results are."""

    pretrained: bool = flag(False, "evaluate a saved model instead of training", bool)
    resume: bool = flag(False, "resume the run in --checkpoint, or start it", bool)
    seed: int = flag(0, "random seed", whole(0, 2**63))
    checkpoint: str = flag(
        "model_checkpoint",
        "checkpoint directory, or with --pretrained one checkpoint in it",
        plain_path,
    )
    checkpoint_interval: int = flag(100, "outer steps between checkpoints", whole(1))
    keep_checkpoints: int = flag(5, "number of newest checkpoints to keep", whole(1))
    data_dir: str = flag("", "folder with the images", path)
    train_classes: int = flag(
        1200, "characters for training, before rotations; the rest test", whole(1), "omniglot"
    )
    rotations: bool = flag(
        True, "train on each class also turned, each time as another class", bool, "omniglot"
    )
    synthetic: bool = flag(False, "use generated images instead of downloaded ones", bool)
    clean: bool = flag(
        False,
        "make drawings on any paper look as Omniglot's: --data-dir, --classify",
        bool,
        "omniglot",
    )


@dataclasses.dataclass(frozen=True)
class Classifying:
    """Classify images of new classes with a saved model (--pretrained)."""

    classify: tuple[str, ...] = flag(
        (), "a folder of class folders with examples, and the images to classify", path
    )
    repeats: int = flag(1, "adaptations whose probabilities are averaged", whole(1))
    json: str = flag("", "file for the answers, as JSON", path)
    page: str = flag("", "file for a page to look at, as HTML", path)
    draw: bool = flag(False, "serve a page to draw examples and questions in", bool, "omniglot")
    port: int = flag(0, "of that page; 0: any that is free", whole(0, 2**16), "omniglot")


@dataclasses.dataclass(frozen=True)
class Computing:
    """Where to compute."""

    device: str = flag(
        "auto", "cpu, gpu, or gpu:1 for the second one; auto: a GPU if one can be used", device
    )
    tf32: bool = flag(False, "let a GPU round factors to 10 bits (TF32): other numbers", bool)
    distribute: bool = flag(
        False,
        "share tasks among all GPUs, or all processes of TF_CONFIG or of a SLURM step: those of "
        "evaluations, and of training with --parallel-tasks",
        bool,
    )


GROUPS = {
    "task": Task,
    "inner": InnerLoop,
    "outer": OuterLoop,
    "evaluation": Evaluation,
    "run": Run,
}
# Flags that say where a run is, or what to do with it: never taken over from a recorded run.
OWN = {"pretrained", "resume", "checkpoint"}


@dataclasses.dataclass(frozen=True)
class Config:
    """All flags of a run and the dataset ("omniglot" or "miniimagenet") whose script it is."""

    dataset: str
    task: Task
    inner: InnerLoop
    outer: OuterLoop
    evaluation: Evaluation
    run: Run

    @classmethod
    def of(cls, dataset: str, flags: Mapping[str, Any]) -> "Config":
        """Build from a dictionary of flags by name; those missing take their defaults."""
        flags = {"data_dir": f"data/{dataset}", **flags}
        return cls(dataset, **{name: part(group, flags)[0] for name, group in GROUPS.items()})

    @property
    def final_sets(self) -> list[str]:
        """The sets of the final evaluation, in the order of the authors."""
        known = ("train", "test") if self.dataset == "omniglot" else ("train", "val", "test")
        named = self.evaluation.eval_sets.split(",")
        return [split for split in known if split in named or named == ["all"]]

    def flags(self) -> dict[str, Any]:
        """All flags of the dataset's script by name, but --resume: it makes no other run."""
        return {
            field.name: getattr(getattr(self, name), field.name)
            for name, group in GROUPS.items()
            for field in dataclasses.fields(group)
            if field.metadata["only"] in (None, self.dataset) and field.name != "resume"
        }


Group = TypeVar("Group")


def part(group: Callable[..., Group], given: Mapping[str, Any]) -> tuple[Group, dict[str, Any]]:
    """The flags of a group, and the others, from all that are given."""
    known = inspect.signature(group).parameters
    rest = {name: value for name, value in given.items() if name not in known}
    return group(**{name: given[name] for name in given.keys() - rest.keys()}), rest


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of argparse's page of usage."""
        raise RefusedError(f"{message} (see {self.prog} --help)")

    def _print_message(self, message: str, file: object = None) -> None:
        """Print --help or --version; argparse itself would overlook a failure."""
        output.say(message, end="")


def parse(script: str, dataset: str, argv: Sequence[str]) -> dict[str, Any]:
    """The flags that `argv` gives, as a dictionary by name.

    Prints and exits with 0 for --help and --version. Raises RefusedError, and OSError where that
    cannot be printed.
    """
    presets = [name for name, setting in PRESETS.items() if setting.dataset == dataset]
    parser = _Parser(
        prog=script,
        description=f"Few-shot classification on {dataset} with Reptile or first-order MAML.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=EXAMPLES.format(script=script, preset=presets[0]),
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help=f"flags of a command of the paper; others that are given win: {', '.join(presets)}",
    )
    for group in (*GROUPS.values(), Computing, Classifying):
        section = parser.add_argument_group((group.__doc__ or "").rstrip("."))
        for field in dataclasses.fields(group):
            if field.metadata["only"] in (None, dataset):
                _add_flag(section, field, f"data/{dataset}" if field.name == "data_dir" else None)
    parser.add_argument("--version", action="version", version=f"{script} {__version__}")
    for word in argv:
        name, _, value = word.partition("=")
        if value == "--":  # which argparse, before Python 3.13, takes for an empty list
            parser.error(f"argument {name}: must not be --")
    given, unknown = parser.parse_known_args(argv)
    if unknown:
        known = re.findall(r"--[a-z-]+", parser.format_usage())
        # "lr" are the first letters of --learning-rate.
        near = {"".join(part[0] for part in name[2:].split("-")): name for name in known}
        near |= {name[2:]: name for name in known}
        words = [word.partition("=")[0].lstrip("-") for word in unknown]
        meant = [near[like] for word in words for like in difflib.get_close_matches(word, near, 1)]
        advice = f"; did you mean {' '.join(meant)}?" if meant else ""
        parser.error(f"unrecognized arguments: {shlex.join(unknown)}{advice}")
    return _with_preset(dataset, vars(given))


def _with_preset(dataset: str, given: dict[str, Any]) -> dict[str, Any]:
    """The flags, and those of --preset that are not given themselves."""
    name = given.pop("preset", None)
    if name is None:
        return given
    if name not in PRESETS:
        raise RefusedError(f"--preset {name} is none of {', '.join(PRESETS)}")
    preset = PRESETS[name]
    if preset.dataset != dataset:
        raise RefusedError(
            f"--preset {name} is a command of the other script: use run_{preset.dataset}.py"
        )
    return preset.flags | given


def _add_flag(
    section: argparse._ArgumentGroup, field: dataclasses.Field, default: str | None
) -> None:
    name = flag_name(field.name)
    meaning, convert = field.metadata["meaning"], field.metadata["convert"]
    if convert is bool:
        # A recorded run may have set the flag: --no-... takes it back for an evaluation.
        action: Any = "store_true" if field.name in OWN else argparse.BooleanOptionalAction
        usual = "on" if field.default else "off"
        section.add_argument(name, action=action, help=f"{meaning} (default: {usual})")
    else:
        names = ("LABELLED", "UNLABELLED") if field.default == () else None  # --classify
        shown = default or ("none" if field.default in (None, (), "") else field.default)
        section.add_argument(
            name,
            type=convert,
            nargs=len(names) if names else None,
            metavar=names,
            help=f"{meaning} (default: {shown})",
        )


def flag_name(key: str) -> str:
    """A flag as it stands on the command line."""
    return "--" + key.replace("_", "-")


def written(key: str, value: Any, between: str = " ") -> str:
    """A flag with its value, as they stand on the command line."""
    if isinstance(value, bool):
        return flag_name(key if value else f"no_{key}")
    return f"{flag_name(key)}{between}{value}"


def check(config: Config) -> None:
    """Raise RefusedError for flags that contradict one another."""
    task, evaluation = config.task, config.evaluation
    if config.dataset == "omniglot" and "val" in evaluation.eval_sets:
        raise RefusedError(
            f"--eval-sets {evaluation.eval_sets}: Omniglot has no val set: name train or test"
        )
    if config.inner.replacement:
        _check_batch("--eval-batch", evaluation.eval_batch, task.classes * task.shots)
    if config.run.pretrained:
        return
    tail = config.outer.foml_tail or 0
    if tail and not config.outer.foml:
        raise RefusedError(f"--foml-tail {tail} is part of first-order MAML: add --foml")
    if tail >= task.training_shots:
        raise RefusedError(
            f"--foml-tail {tail} must be smaller than the {task.training_shots} training shots: "
            "raise --train-shots"
        )
    if config.inner.replacement:
        set_size = task.classes * (task.training_shots - tail)
        _check_batch("--inner-batch", config.inner.inner_batch, set_size)


def _check_batch(name: str, batch: int, images: int) -> None:
    if batch > images:
        raise RefusedError(
            f"{name} {batch} with --replacement draws distinct images, and a task has only {images}"
        )
