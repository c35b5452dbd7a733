"""The meaning of a command, decided once, and every refusal that concerns a recorded run.

Nothing here needs TensorFlow.
"""

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from supervised_reptile.args import OWN, Classifying, Config, Run, check, flag_name, part, written
from supervised_reptile.classification.examples import Examples
from supervised_reptile.data.image_set import ImageSet, Loaded, Split
from supervised_reptile.learning.accuracy import SetResult
from supervised_reptile.runs import record, results
from supervised_reptile.runs.record import Record
from supervised_reptile.system import machine
from supervised_reptile.system.errors import RefusedError
from supervised_reptile.system.output import note, some

# Flags that may change when a run is resumed: its result stays the same. Images are compared by
# their digest.
HARMLESS = {
    *OWN,
    *("eval_samples", "eval_sets", "eval_interval", "checkpoint_interval", "keep_checkpoints"),
    *("data_dir", "synthetic"),
}
# Flags that a checkpoint itself reveals: its shapes and its moments are checked.
READ_OFF = {"classes", "sgd"}
# Flags that decide an evaluation, and their part in it.
ASSUMED = (
    (
        ("seed", "train_classes"),
        "decides which characters are test characters; if the model was trained with others, it "
        "has seen some of them",
    ),
    (("shots", "transductive", "rotations"), "decides what is measured"),
    (
        ("eval_batch", "eval_iters", "learning_rate", "weight_decay", "replacement"),
        "decides how the model adapts to a task; give what it was trained and evaluated with",
    ),
)
ADAPTING = ASSUMED[2:]


@dataclasses.dataclass(frozen=True)
class TrainingRun:
    """Train a new model, or continue a run that was started. recorded: of such a one."""

    config: Config
    recorded: Record | None


@dataclasses.dataclass(frozen=True)
class FinishedRun:
    """Print a finished run's results again: SetResult by split."""

    config: Config
    found: dict[str, SetResult]


@dataclasses.dataclass(frozen=True)
class SavedModel:
    """Evaluate a checkpoint, or classify images with it.

    prefix: of its files. recorded: None for those of the authors' program, and for those that were
    copied without their run.json. own_images: whether the command names images, which may then be
    others than those of the run.
    assumed: names of the flags of its run that are neither given nor recorded. asked: what to
    classify, if anything.
    """

    config: Config
    prefix: Path
    recorded: Record | None
    own_images: bool
    assumed: tuple[str, ...] = ()
    asked: Classifying | None = None


Plan = TrainingRun | FinishedRun | SavedModel


class Prepared(NamedTuple):
    """The plan of a command, and what was read for it: images with their split, or examples."""

    plan: Plan
    images: ImageSet | None = None
    split: Split | None = None
    examples: Examples | None = None

    def loaded(self) -> Loaded:
        """The images and their split, of a plan that needs them."""
        assert self.images and self.split is not None
        return self.images, self.split


def summary(prepared: Prepared) -> dict[str, str]:
    """Everything that the processes of one run must have in common, as JSON by name."""
    flags = prepared.plan.config.flags()
    compared = {
        "plans": type(prepared.plan).__name__,
        "flags": {name: value for name, value in flags.items() if name not in record.PLACES},
        "images": [prepared.images and prepared.images.digest, prepared.split],
        "versions of TensorFlow or NumPy": machine.versions(),
    }
    return {name: json.dumps(value, sort_keys=True) for name, value in compared.items()}


def decide(dataset: str, given: dict) -> Plan:
    """The plan of a command. given: the flags of its command line, by name.

    Raises RefusedError if it contradicts itself, or the run in its --checkpoint; OSError if that
    cannot be read.
    """
    asked, rest = part(Classifying, given)
    if own := given.keys() - rest.keys():
        drawing = own & {"draw", "port"}
        part_of = "draw" if drawing and not asked.classify else "classify"
        if not getattr(asked, part_of):
            raise RefusedError(f"{flag_name(min(own))} is part of --{part_of}: give that, too")
        if drawing and own - drawing:
            raise RefusedError(
                f"{flag_name(min(drawing))} and {flag_name(min(own - drawing))}: omit one of them"
            )
        if unused := rest.keys() & {"data_dir", "synthetic", "eval_sets"}:
            raise RefusedError(f"--{part_of} uses other images: omit {flag_name(min(unused))}")
        if not given.get("pretrained"):
            raise RefusedError(f"--{part_of} needs a saved model: add --pretrained --checkpoint")
        return dataclasses.replace(saved_model(dataset, rest), asked=asked)
    if given.get("pretrained"):
        return saved_model(dataset, given)
    given = {"checkpoint": Run.checkpoint, **given}
    recorded = record.read(given["checkpoint"]) if given.get("resume") else None
    if given.get("resume") and not recorded and given.keys() <= HARMLESS:
        raise RefusedError(
            f"--resume: {given['checkpoint']} holds no run: check the path; if nothing was saved "
            "yet, give the flags that the run was started with, too"
        )
    config = resolve(dataset, given, recorded.config if recorded else None)
    if recorded:
        if found := results.of_finished(config.run.checkpoint, config):
            return FinishedRun(config, found)
        check_versions(recorded)
    else:
        check_free(config.run.checkpoint)
        folder, data = map(os.path.realpath, (config.run.checkpoint, config.run.data_dir))
        if not config.run.synthetic and Path(folder).is_relative_to(data):
            raise RefusedError(
                f"--checkpoint {config.run.checkpoint} lies in the data folder "
                f"{config.run.data_dir}, whose folders are read as classes: name another directory"
            )
    return TrainingRun(config, recorded)


def saved_model(dataset: str, given: dict) -> SavedModel:
    """The checkpoint that a command names, and how it is evaluated. Raises as `decide`."""
    given = {"checkpoint": Run.checkpoint, "pretrained": True, **given}
    _check_pairs(given)
    prefix = record.find_checkpoint(given["checkpoint"])
    recorded = record.read(prefix.parent)
    config = resolve(dataset, given, recorded.config if recorded else None)
    known = HARMLESS | READ_OFF | given.keys()
    assumed = () if recorded else tuple(name for name in config.flags() if name not in known)
    own_images = bool(given.keys() & {"data_dir", "synthetic"})
    cleaned_otherwise = recorded is not None and config.run.clean != recorded.config.run.clean
    return SavedModel(config, prefix, recorded, own_images or cleaned_otherwise, assumed)


def resolve(dataset: str, given: dict, recorded: Config | None = None) -> Config:
    """The configuration of a command: flags that are not given take the values of a recorded run.

    recorded: the configuration of that run.
    Raises RefusedError for flags that contradict that run, or one another.
    """
    _check_pairs(given)
    flags = dict(given)
    if recorded:
        if recorded.dataset != dataset:
            raise RefusedError(
                f"--checkpoint {given['checkpoint']} was trained on {recorded.dataset}: "
                f"use run_{recorded.dataset}.py"
            )
        inherited = recorded.flags()
        _check_same(given, inherited)
        flags = {key: value for key, value in inherited.items() if key not in OWN} | flags
        if "data_dir" in given:
            flags["synthetic"] = False
    config = Config.of(dataset, flags)
    check(config)
    return config


def _check_pairs(given: dict) -> None:
    for pair in (("synthetic", "data_dir"), ("pretrained", "resume")):
        if all(given.get(name) for name in pair):
            first, second = map(flag_name, pair)
            raise RefusedError(f"{first} and {second}: give one of them, they exclude each other")


def check_free(directory: str) -> None:
    """Raise RefusedError if training here would mix two runs, or could not write."""
    folder = Path(directory)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise RefusedError(f"--checkpoint {folder}: {there} is no directory that can be written")
    own = (record.RECORD, record.RESULTS, *record.OWN_FILES)
    found = [name for name in own if (folder / name).exists()]
    found += [f"model.ckpt-{number}" for number in record.checkpoints(folder)]
    curves = ("train", "val", "test")
    found += [name for name in curves if (folder / name).is_file()]
    found += [f"the run {name}" for name in curves if (folder / name / record.RECORD).exists()]
    if found:
        raise RefusedError(
            f"--checkpoint {folder} already holds {some(found)}: name another directory; a run "
            f"can be resumed with --resume if its {record.RECORD} is there, or evaluated with "
            "--pretrained"
        )
    place = Path(os.path.realpath(folder))
    if place.name in curves and (place.parent / record.RECORD).exists():
        raise RefusedError(
            f"--checkpoint {folder}: the run in {place.parent} keeps its curves there: name "
            "another directory"
        )


def _check_same(given: dict, recorded: dict) -> None:
    """Refuse other flags than those of a run that is resumed, or than what decides its model."""
    fixed, remedy = {"classes", "train_classes", "rotations"}, "omit them"
    if given.get("resume"):
        fixed, remedy = recorded.keys() - HARMLESS, "omit them, or start a run in another directory"
    if differences := [
        f"{flag_name(key)} is {given[key]} here but {recorded[key]} there"
        for key in recorded
        if key in fixed and given.get(key, recorded[key]) != recorded[key]
    ]:
        raise RefusedError(
            f"--checkpoint {given['checkpoint']}: its run had other flags: "
            f"{', '.join(differences)}; {remedy}"
        )


def check_versions(recorded: Record) -> None:
    """Raise RefusedError if a run would continue with other versions of what computes."""
    for package in ("tensorflow", "numpy"):
        theirs, ours = (of.get(package) for of in (recorded.versions, machine.versions()))
        if theirs != ours:
            raise RefusedError(
                f"--resume: the run was started with {package} {theirs}, but this is {ours}, which "
                f"may give different bits: install {package}=={theirs}, or start another run"
            )


def check_images(plan: TrainingRun | SavedModel, images: ImageSet) -> None:
    """Raise RefusedError if images are not those of the recorded run, where they have to be."""
    if not plan.recorded or (isinstance(plan, SavedModel) and plan.own_images):
        return
    run, theirs, ours = plan.config.run, plan.recorded.data.get("digest", ""), images.digest
    if theirs != ours and (theirs or run.resume):
        where = "--synthetic" if run.synthetic else f"--data-dir {run.data_dir}"
        raise RefusedError(
            f"{where}: the images (digest {ours[:12]}...) are not the ones the run was trained "
            f"on ({f'{theirs[:12]}...' if theirs else 'not recorded'}): use those"
        )


def check_data(config: Config, images: ImageSet) -> None:
    """Raise RefusedError for tasks that the data cannot fill."""
    task = config.task
    sets = config.final_sets if config.run.pretrained else ("train", "val", "test")
    used = {split: classes for split, classes in images.splits.items() if split in sets}
    if not used:
        raise RefusedError(
            f"--eval-sets {config.evaluation.eval_sets}: the images have no such set, but "
            f"{' and '.join(images.splits)}"
        )
    for split, classes in used.items():
        if task.classes > len(classes):
            raise RefusedError(
                f"--classes {task.classes}: the {split} set has only {images.classes_of(split)}: "
                "ask for fewer, or give more data"
            )
        needed, name = task.shots + 1, f"--shots {task.shots} and one query image"
        if split == "train" and not config.run.pretrained and task.training_shots > needed:
            needed, name = task.training_shots, f"--train-shots {task.training_shots}"
        smallest = min(classes, key=lambda index: images.counts[index])
        if needed > images.counts[smallest]:
            raise RefusedError(
                f"{name} need {needed} images per class, but {images.names[smallest]} "
                f"({split} set) has {images.counts[smallest]}: ask for fewer, or give more images"
            )


def warn_of_machine(recorded: Record, here: dict) -> None:
    """Say on standard error how this machine differs from where the run was started.

    here: Devices.describe of this one.
    """
    if differences := [
        f"{name}: {here.get(name)} instead of {value}"
        for name, value in recorded.machine.items()
        if here.get(name) != value
    ]:
        note(
            f"Warning: the run was started with something else ({', '.join(differences)}): it "
            "continues, but its bits may differ from what they would have been"
        )


def announce(saved: SavedModel, decides: Sequence[tuple[tuple[str, ...], str]] = ASSUMED) -> None:
    """Say on standard error which checkpoint is restored, what speaks against it, and what is
    neither given nor recorded. decides: which of that counts."""
    flags, (_, warning) = saved.config.flags(), record.newest(saved.config.run.checkpoint)
    lines = [f"Warning: {warning}"] if warning else []
    assumed = []
    for names, meaning in decides:
        if "seed" in names and saved.config.dataset != "omniglot":
            continue  # there, folders are the split
        # As they stand on a command line that gives them.
        if given := [written(name, flags[name]) for name in names if name in saved.assumed]:
            assumed.append(f"assumed: {', '.join(given)}: {meaning}")
    if assumed:
        lines.append(f"Warning: {saved.prefix.parent} has no run.json: give what is assumed")
    note("\n".join([*lines, *assumed, f"Restoring {saved.prefix}"]))
