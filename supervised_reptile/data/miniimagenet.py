"""miniImageNet (Vinyals et al., in the split of Ravi and Larochelle): where it is."""

from supervised_reptile.args import Run
from supervised_reptile.data import folders, image_set, synthetic
from supervised_reptile.data.dataset import Dataset
from supervised_reptile.data.folders import Folder
from supervised_reptile.data.formats import PHOTOGRAPHS
from supervised_reptile.data.image_set import ImageSet, Split
from supervised_reptile.system.errors import RefusedError

CLASSES = {"train": 64, "val": 16, "test": 20}
SPLITS = {**{name: name for name in CLASSES}, "validation": "val"}  # by the name of a folder
SYNTHETIC_IMAGES = 60
SHOWN = 5  # folders that a message names


def load(
    run: Run, seed: int, split: Split | None = None, other_classes: bool = False
) -> tuple[ImageSet, Split]:
    """The images of a run, and its classes by split.

    seed: decides what is drawn with --synthetic. split: that of an earlier run; without it, the
    folders decide. other_classes: as of dataset.Load.
    Raises RefusedError if classes are missing or an image is broken.
    """
    if run.synthetic:
        names = [f"texture{index:03d}" for index in range(1, sum(CLASSES.values()) + 1)]
        pixels = synthetic.textures(seed, len(names), SYNTHETIC_IMAGES)
        places = image_set.ranges({key: range(n) for key, n in CLASSES.items()})
        split = split or {key: [names[index] for index in place] for key, place in places.items()}
        return image_set.select_generated(pixels, names, split), split
    root = folders.root(run.data_dir, "miniimagenet")
    classes, found = find_classes(root, flat=other_classes)
    if split and other_classes:
        split = image_set.other_split(split, classes, found["test"])
    split = split or found
    return image_set.read_folders(root, classes, split, PHOTOGRAPHS), split


def find_classes(root: Folder, flat: bool = False) -> tuple[dict[str, Folder], Split]:
    """From the name of a class to its folder, and the names by split.

    flat: whether class folders side by side will do, all of them for testing.
    Raises RefusedError if a split is missing or a class belongs to two.
    """
    parts = {"test": root} if flat and root.depth == 1 else find_splits(root)
    classes: dict[str, Folder] = {}
    for folder in (folder for part in parts.values() for folder in part.folders):
        if folder.name in classes:
            raise RefusedError(
                f"{folder.path} is a class of {classes[folder.name].path.parent} too: "
                "a class belongs to one split, or testing means nothing"
            )
        classes[folder.name] = folder
    return classes, {name: [folder.name for folder in part.folders] for name, part in parts.items()}


def find_splits(root: Folder) -> dict[str, Folder]:
    """The folder of each split. Raises RefusedError if one is missing or empty."""
    top = folders.inner(root, levels=2)
    there = {SPLITS.get(folder.name, ""): folder for folder in top.folders if folder.folders}
    missing = [f"{name}/" for name in CLASSES if name not in there]
    if missing:
        found = ", ".join(f"{folder.name}/" for folder in top.folders[:SHOWN])
        advice = "give each split a folder"
        if root.name in SPLITS:
            advice = f"name the folder above it, {root.path.parent}"
        raise RefusedError(
            f"--data-dir {root.path}: expected train/, val/ and test/ with a folder for each "
            f"class, but {' and '.join(missing)} has none; found {found}: {advice}"
        )
    return {name: there[name] for name in CLASSES}


MINIIMAGENET = Dataset("miniimagenet", load)
