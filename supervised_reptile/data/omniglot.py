"""Omniglot (Lake et al.): where it is, its split, and its augmentation by rotations."""

import dataclasses
import random
from collections.abc import Sequence

import numpy as np

from supervised_reptile.args import Run
from supervised_reptile.data import folders, image_set, provenance, synthetic
from supervised_reptile.data.decoding import CHARACTERS
from supervised_reptile.data.folders import Folder, by_name, inner
from supervised_reptile.data.image_set import Dataset, ImageSet, Loaded, Split
from supervised_reptile.system.errors import RefusedError
from supervised_reptile.system.output import some

ROTATIONS = 4
# Of the 32,460 files, as origin.json records it: fetch.build.digest_of.
DIGEST = "811c7e9fcc07e5e7f708a9d2dcaf34a1957fb263ed1841b403d5dbf8e9eaf054"
ARCHIVES = ("images_background", "images_evaluation")  # whose folders may still be there


def load(run: Run, seed: int, split: Split | None = None, other_classes: bool = False) -> Loaded:
    """The images of a run, and its characters by split before augmentation.

    seed: decides the split, and what is drawn with --synthetic. split: that of an
    earlier run, to be used instead of drawing one. other_classes: as of image_set.Dataset.
    Raises RefusedError if there are no or too few characters, or an image is broken, or if these
    are not to be cleaned.
    """
    if run.clean and (run.synthetic or provenance.read(run.data_dir).get("digest") == DIGEST):
        raise RefusedError(
            "--clean is for your own drawings: omit it, or give --no-clean, for "
            f"{'--synthetic' if run.synthetic else f'Omniglot, in --data-dir {run.data_dir}'}"
        )
    if run.synthetic:
        pixels = synthetic.characters(seed)
        characters = [f"synthetic/character{index:04d}" for index in range(1, len(pixels) + 1)]
        split = split or draw_split(characters, seed, run.train_classes)
        unrotated = image_set.select_generated(pixels, characters, split)
    else:
        root = folders.root(run.data_dir, "omniglot")
        classes = find_characters(root)
        if split and other_classes:
            split = image_set.other_split(split, classes, classes)
        split = split or draw_split(list(classes), seed, run.train_classes)
        format = dataclasses.replace(CHARACTERS, clean=run.clean)
        unrotated = image_set.read_folders(root, classes, split, format)
    return rotate_training_classes(unrotated) if run.rotations else unrotated, split


def find_characters(root: Folder) -> dict[str, Folder]:
    """From "alphabet/character" to its folder, sorted by alphabet, then by character.

    The alphabets may lie in the folders of the two archives. Classes without alphabets have a
    plain name.
    Raises RefusedError unless the classes lie on one of these levels, for two of one name.
    """
    top = inner(root)
    archives = [part for part in top.folders if part.name in ARCHIVES]
    groups = [group for part in archives or [top] for group in part.folders]
    flat = [group for group in groups if group.images and not group.has_folders_of_images]
    deep = [group for group in groups if group.has_folders_of_images and not group.images]
    if bool(flat) == bool(deep):
        found = [group.example() for group in flat[:1] + deep[:1]] or [root.example()]
        raise RefusedError(
            f"--data-dir {root.path}: expected all images as <alphabet>/<character>/<image>, or "
            f"all as <class>/<image>, but found {some(found)}: put all classes on one level, or "
            "name the folder above them"
        )
    groups.sort(key=lambda group: group.name)
    if flat:
        return by_name((group.name, group) for group in groups)
    parts = [(group, part) for group in groups for part in group.folders]
    return by_name((f"{group.name}/{part.name}", part) for group, part in parts)


def draw_split(characters: Sequence[str], seed: int, train_classes: int) -> Split:
    """The authors' split for a seed: names by "train" and "test". characters: in sorted order.

    Raises RefusedError if no characters remain for testing.
    """
    if len(characters) <= train_classes:
        raise RefusedError(
            f"--train-classes {train_classes}: there are only {len(characters)} characters, so "
            "that none are left for testing: choose fewer (the complete Omniglot has 1623)"
        )
    shuffled = list(characters)
    random.Random(seed).shuffle(shuffled)
    return {"train": shuffled[:train_classes], "test": shuffled[train_classes:]}


def rotate_training_classes(unrotated: ImageSet) -> ImageSet:
    """Add training classes turned by 90, 180 and 270 degrees, each a class of its own."""
    train = len(unrotated.splits.get("train", ()))
    drawn = unrotated.counts[:train].sum()
    turned = [np.rot90(unrotated.pixels[:drawn], turn, (1, 2)) for turn in range(ROTATIONS)]
    names = [
        f"{name} turned by {90 * turn}" if turn else name
        for turn in range(ROTATIONS)
        for name in unrotated.names[:train]
    ]
    counts = (np.tile(unrotated.counts[:train], ROTATIONS), unrotated.counts[train:])
    sizes = {**unrotated.splits, "train": range(ROTATIONS * train)} if train else unrotated.splits
    return dataclasses.replace(
        unrotated,
        pixels=np.concatenate([*turned, unrotated.pixels[drawn:]]),
        names=(*names, *unrotated.names[train:]),
        counts=np.concatenate(counts),
        splits=image_set.ranges(sizes),
        rotations=ROTATIONS,
    )


OMNIGLOT = Dataset("omniglot", load)
