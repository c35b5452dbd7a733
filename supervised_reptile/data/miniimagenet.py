"""miniImageNet (Vinyals et al., in the split of Ravi and Larochelle): where it is."""

from supervised_reptile.args import Run
from supervised_reptile.data import folders, image_set, synthetic
from supervised_reptile.data.decoding import PHOTOGRAPHS
from supervised_reptile.data.folders import Folder
from supervised_reptile.data.image_set import Dataset, Loaded, Split
from supervised_reptile.system.errors import RefusedError
from supervised_reptile.system.output import some

CLASSES = {  # by split
    split: names.split()
    for split, names in {
        "train": """
    n01532829 n01558993 n01704323 n01749939 n01770081 n01843383 n01910747
    n02074367 n02089867 n02091831 n02101006 n02105505 n02108089 n02108551
    n02108915 n02111277 n02113712 n02120079 n02165456 n02457408 n02606052
    n02687172 n02747177 n02795169 n02823428 n02966193 n03017168 n03047690
    n03062245 n03207743 n03220513 n03337140 n03347037 n03400231 n03476684
    n03527444 n03676483 n03838899 n03854065 n03888605 n03908618 n03924679
    n03998194 n04067472 n04243546 n04251144 n04258138 n04275548 n04296562
    n04389033 n04435653 n04443257 n04509417 n04515003 n04596742 n04604644
    n04612504 n06794110 n07584110 n07697537 n07747607 n09246464 n13054560
    n13133613
    """,
        "val": """
    n01855672 n02091244 n02114548 n02138441 n02174001 n02950826 n02971356
    n02981792 n03075370 n03417042 n03535780 n03584254 n03770439 n03773504
    n03980874 n09256479
    """,
        "test": """
    n01930112 n01981276 n02099601 n02110063 n02110341 n02116738 n02129165
    n02219486 n02443484 n02871525 n03127925 n03146219 n03272010 n03544143
    n03775546 n04146614 n04149813 n04418357 n04522168 n07613480
    """,
    }.items()
}
SPLITS = {**{name: name for name in CLASSES}, "validation": "val"}  # by the name of a folder
SYNTHETIC_IMAGES = 60


def load(run: Run, seed: int, split: Split | None = None, other_classes: bool = False) -> Loaded:
    """The images of a run, and its classes by split.

    seed: decides what is drawn with --synthetic. split: that of an earlier run; without it, the
    folders decide. other_classes: as of image_set.Dataset.
    Raises RefusedError if classes are missing or an image is broken.
    """
    if run.synthetic:
        places = image_set.ranges(CLASSES)
        names = [f"texture{index:03d}" for index in range(1, places["test"].stop + 1)]
        pixels = synthetic.textures(seed, len(names), SYNTHETIC_IMAGES)
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

    flat: whether any class folders side by side will do, all of them for testing. Those of
    miniImageNet's own classes always do: their split is known.
    Raises RefusedError if a split is missing or a class belongs to two.
    """
    if root.depth == 1:
        there = (folder for folder in root.folders if folder.images)
        classes = folders.by_name((folder.name, folder) for folder in there)
        known = {name: split for split, names in CLASSES.items() for name in names}
        split = {part: [n for n in classes if known.get(n) == part] for part in CLASSES}
        if classes.keys() <= known.keys() and all(split.values()):
            return classes, split
        if flat:
            return classes, {"test": list(classes)}
    parts = find_splits(root)
    all_folders = [folder for part in parts.values() for folder in part.folders]
    classes = folders.by_name((folder.name, folder) for folder in all_folders)
    return classes, {name: [folder.name for folder in part.folders] for name, part in parts.items()}


def find_splits(root: Folder) -> dict[str, Folder]:
    """The folder of each split. Raises RefusedError if one is missing or empty."""
    top = folders.inner(root)
    if {"val", "validation"} <= {folder.name for folder in top.folders if folder.folders}:
        raise RefusedError(
            f"--data-dir {root.path} has both val/ and validation/: remove one of them"
        )
    there = {SPLITS.get(folder.name, ""): folder for folder in top.folders if folder.folders}
    missing = [f"{name}/" for name in CLASSES if name not in there]
    if missing:
        found = some([f"{folder.name}/" for folder in top.folders])
        raise RefusedError(
            f"--data-dir {root.path}: expected train/, val/ and test/ with a folder for each "
            f"class, but {' and '.join(missing)} has none; found {found}: give each split a "
            "folder, or name the folder above"
        )
    return {name: there[name] for name in CLASSES}


MINIIMAGENET = Dataset("miniimagenet", load)
