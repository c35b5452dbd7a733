"""miniImageNet (Vinyals et al., in the split of Ravi and Larochelle): where it is."""

import pathlib

from supervised_reptile.args import Run
from supervised_reptile.data import image_set, synthetic
from supervised_reptile.data.dataset import Dataset
from supervised_reptile.data.formats import PHOTOGRAPHS
from supervised_reptile.data.image_set import ImageSet, Split
from supervised_reptile.system.commands import fetch_command
from supervised_reptile.system.errors import RefusedError

CLASSES = {"train": 64, "val": 16, "test": 20}
SYNTHETIC_IMAGES = 60


def load(run: Run, seed: int, split: Split | None = None) -> tuple[ImageSet, Split]:
    """The images of a run, and its classes by split.

    seed: decides what is drawn with --synthetic. split: that of an earlier run;
    without it, the folders decide.
    Raises RefusedError if classes are missing or an image is broken.
    """
    if run.synthetic:
        names = [f"texture{index:03d}" for index in range(1, sum(CLASSES.values()) + 1)]
        pixels = synthetic.textures(seed, len(names), SYNTHETIC_IMAGES)
        places = image_set.ranges({key: range(n) for key, n in CLASSES.items()})
        split = split or {key: [names[index] for index in place] for key, place in places.items()}
        return image_set.select_generated(pixels, names, split), split
    folders, found = find_classes(run.data_dir)
    split = split or found
    return image_set.read_folders(run.data_dir, folders, split, PHOTOGRAPHS), split


def find_classes(data_dir: str | pathlib.Path) -> tuple[dict[str, pathlib.Path], Split]:
    """From the name of a class to its folder, and the names by split."""
    advice = f"get the data with {fetch_command()} miniimagenet"
    image_set.check_folder(data_dir, advice)
    folders: dict[str, pathlib.Path] = {}
    split: Split = {}
    for part in CLASSES:
        classes = image_set.subfolders(
            image_set.check_folder(pathlib.Path(data_dir) / part, advice)
        )
        split[part] = [folder.name for folder in classes]
        for folder in classes:
            if folder.name in folders:
                raise RefusedError(
                    f"{folder} is a class of {folders[folder.name].parent} too: "
                    "a class belongs to one split, or testing means nothing"
                )
            folders[folder.name] = folder
    return folders, split


MINIIMAGENET = Dataset("miniimagenet", load)
