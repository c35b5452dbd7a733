"""Omniglot (Lake et al.): where it is, its split, and its augmentation by rotations."""

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from supervised_reptile.args import Run
from supervised_reptile.data import image_set, synthetic
from supervised_reptile.data.dataset import Dataset
from supervised_reptile.data.formats import CHARACTERS
from supervised_reptile.data.image_set import ImageSet, Split
from supervised_reptile.system.commands import fetch_command
from supervised_reptile.system.errors import RefusedError

ROTATIONS = 4


def load(run: Run, seed: int, split: Split | None = None) -> tuple[ImageSet, Split]:
    """The images of a run, and its characters by split before augmentation.

    seed: decides the split, and what is drawn with --synthetic. split: that of an
    earlier run, to be used instead of drawing one.
    Raises RefusedError if there are no or too few characters, or an image is broken.
    """
    if run.synthetic:
        pixels = synthetic.characters(seed)
        characters = [f"synthetic/character{index:04d}" for index in range(1, len(pixels) + 1)]
        split = split or draw_split(characters, seed, run.train_classes)
        unrotated = image_set.select_generated(pixels, characters, split)
    else:
        folders = find_characters(run.data_dir)
        split = split or draw_split(list(folders), seed, run.train_classes)
        unrotated = image_set.read_folders(run.data_dir, folders, split, CHARACTERS)
    return rotate_training_classes(unrotated), split


def find_characters(data_dir: str | Path) -> dict[str, Path]:
    """From "alphabet/character" to its folder, sorted by alphabet, then by character."""
    image_set.check_folder(data_dir, f"get the data with {fetch_command()}")
    return {
        f"{alphabet.name}/{character.name}": character
        for alphabet in image_set.subfolders(data_dir)
        for character in image_set.subfolders(alphabet)
    }


def draw_split(characters: Sequence[str], seed: int, train_classes: int) -> Split:
    """The authors' split for a seed: names by "train" and "test". characters: in sorted order.

    Raises RefusedError if no characters remain for testing.
    """
    if len(characters) <= train_classes:
        raise RefusedError(
            f"--train-classes {train_classes}: there are only {len(characters)} characters, so "
            "that none are left for testing: choose fewer, or get the complete Omniglot with "
            f"{fetch_command()}"
        )
    shuffled = list(characters)
    random.Random(seed).shuffle(shuffled)
    return {"train": shuffled[:train_classes], "test": shuffled[train_classes:]}


def rotate_training_classes(unrotated: ImageSet) -> ImageSet:
    """Add training classes turned by 90, 180 and 270 degrees, each a class of its own."""
    train, test = unrotated.splits["train"], unrotated.splits["test"]
    turned = [np.rot90(unrotated.pixels[: len(train)], turn, (2, 3)) for turn in range(ROTATIONS)]
    pixels = np.concatenate([*turned, unrotated.pixels[len(train) :]])
    names = [
        f"{name} turned by {90 * turn}" if turn else name
        for turn in range(ROTATIONS)
        for name in unrotated.names[: len(train)]
    ]
    counts = np.concatenate(
        [np.tile(unrotated.counts[: len(train)], ROTATIONS), unrotated.counts[len(train) :]]
    )
    rotated = range(ROTATIONS * len(train))
    return dataclasses.replace(
        unrotated,
        pixels=pixels,
        names=(*names, *unrotated.names[len(train) :]),
        counts=counts,
        splits={"train": rotated, "test": range(len(rotated), len(rotated) + len(test))},
    )


OMNIGLOT = Dataset("omniglot", load)
