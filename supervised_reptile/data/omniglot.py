"""Omniglot (Lake et al.): where it is, its split, and its augmentation by rotations."""

import dataclasses
import random
from collections.abc import Sequence

import numpy as np

from supervised_reptile.args import Run
from supervised_reptile.data import folders, image_set, synthetic
from supervised_reptile.data.folders import Folder, inner
from supervised_reptile.data.formats import CHARACTERS
from supervised_reptile.data.image_set import Dataset, ImageSet, Split
from supervised_reptile.system.errors import RefusedError

ROTATIONS = 4
# Of the 32,460 files, as origin.json records it: fetch.build.digest_of.
DIGEST = "811c7e9fcc07e5e7f708a9d2dcaf34a1957fb263ed1841b403d5dbf8e9eaf054"
ARCHIVES = ("images_background", "images_evaluation")  # whose folders may still be there


def load(
    run: Run, seed: int, split: Split | None = None, other_classes: bool = False
) -> tuple[ImageSet, Split]:
    """The images of a run, and its characters by split before augmentation.

    seed: decides the split, and what is drawn with --synthetic. split: that of an
    earlier run, to be used instead of drawing one. other_classes: as of image_set.Load.
    Raises RefusedError if there are no or too few characters, or an image is broken.
    """
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
        unrotated = image_set.read_folders(root, classes, split, CHARACTERS)
    return rotate_training_classes(unrotated), split


def find_characters(root: Folder) -> dict[str, Folder]:
    """From "alphabet/character" to its folder, sorted by alphabet, then by character.

    The alphabets may lie in the folders of the two archives. Classes without alphabets have a
    plain name.
    Raises RefusedError if the classes do not lie on one level that is known.
    """
    top = inner(root, levels=2)
    archives = [part for part in top.folders if part.name in ARCHIVES]
    groups = [group for part in archives or [top] for group in part.folders]
    flat = [group for group in groups if group.images and not group.has_folders_of_images]
    deep = [group for group in groups if group.has_folders_of_images and not group.images]
    both = [group for group in groups if group.images and group.has_folders_of_images]
    if not (flat or deep or both):
        example = root.example() or root.path
        raise RefusedError(
            f"--data-dir {root.path}: expected <alphabet>/<character>/<image> or <class>/<image>, "
            f"but found {example}: perhaps name {example.parents[2]}"
        )
    if bool(flat) == bool(deep):  # Those that are both would be what all others are.
        one, other = (flat or both)[0].path, (deep or both)[0].path
        raise RefusedError(
            f"--data-dir {root.path}: {one} holds images, but {other} holds folders of images: put "
            "all classes on one level"
        )
    groups.sort(key=lambda group: group.name)
    named = [(group.name, group) for group in groups]
    if not flat:
        named = [(f"{group.name}/{part.name}", part) for group in groups for part in group.folders]
    found: dict[str, Folder] = {}
    for name, folder in named:
        if name in found:
            raise RefusedError(
                f"{folder.path} and {found[name].path} are one class by their names: rename one "
                "of them, or put their images in one folder"
            )
        found[name] = folder
    return found


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
    train, test = (len(unrotated.splits.get(name, ())) for name in ("train", "test"))
    drawn = unrotated.counts[:train].sum()
    turned = [np.rot90(unrotated.pixels[:drawn], turn, (1, 2)) for turn in range(ROTATIONS)]
    names = [
        f"{name} turned by {90 * turn}" if turn else name
        for turn in range(ROTATIONS)
        for name in unrotated.names[:train]
    ]
    counts = (np.tile(unrotated.counts[:train], ROTATIONS), unrotated.counts[train:])
    places = image_set.ranges({"train": range(ROTATIONS * train), "test": range(test)})
    return dataclasses.replace(
        unrotated,
        pixels=np.concatenate([*turned, unrotated.pixels[drawn:]]),
        names=(*names, *unrotated.names[train:]),
        counts=np.concatenate(counts),
        splits={name: place for name, place in places.items() if place},
    )


OMNIGLOT = Dataset("omniglot", load)
