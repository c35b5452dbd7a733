"""miniImageNet: from ImageNet as the authors got it, or as others share it; and its checks."""

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from supervised_reptile.data import decoding, image_set
from supervised_reptile.data.folders import IMAGENET, Folder, is_image
from supervised_reptile.data.miniimagenet import CLASSES, find_classes
from supervised_reptile.data.provenance import ORIGINAL
from supervised_reptile.fetch import build, pickles, sources
from supervised_reptile.fetch.build import Contents
from supervised_reptile.fetch.sources import Sources
from supervised_reptile.system.errors import FailedError, UnsoundError
from supervised_reptile.system.output import some

SETTINGS = "IMAGENET_TRAIN_TAR, MINIIMAGENET_LISTS or MINIIMAGENET_ARCHIVE"
ZENODO = "https://zenodo.org/records/7978538/files/"
PICKLES = [f"mini-imagenet-cache-{split}.pkl" for split in ("train", "validation", "test")]
PICKLE = re.compile(
    r"mini-imagenet-cache-(train|val|validation|test)\.pkl"
    # The files of train_phase_val and train_phase_test hold other images of the training classes.
    r"|miniImageNet_category_split_(train_phase_train|val|test)\.pickle"
)
CSV = {"train.csv", "val.csv", "test.csv"}
# The authors' lists: the file names of each class's images, and where they lie in the archive.
LISTS = (
    "https://raw.githubusercontent.com/openai/supervised-reptile/"
    "8f2b71c67a31c1a605ced0cecb76db876b607a7a/metadata/miniimagenet"
)
LISTS_DIGEST = "0bbe89eed766bc1e1cf9158f475ad2ab4db7e3436ee80d3ce0b818faafa23cf3"  # build.digest_of
LINE = re.compile(r"^(n\d{8}_\d+\.JPEG),(\d+)-(\d+)\r?$", re.M)
TRAINING = ("", "train", "Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/train")  # within ImageNet
IMAGES = 600  # of each class
# The authors' lists have fewer of these.
ONE_LESS = """
    n02099601 n02108551 n02138441 n03075370 n03220513 n03337140 n03527444 n03544143 n03854065
    n04522168 n07584110 n07613480 n07747607 n13133613
"""
AUTHORS_IMAGES = {"n02174001": 598, "n03535780": 597, **dict.fromkeys(ONE_LESS.split(), 599)}
Lists = dict[Path, tuple[int, int]]  # <split>/<class>/<file>: its first and last byte


def read(settings: Sources, work: Path) -> Contents:
    """The Contents of what was set, or else of Zenodo. Raises FailedError if it is none that is
    known, or not the authors' archive."""
    if imagenet := settings["IMAGENET_TRAIN_TAR"]:
        lists = read_lists(settings["MINIIMAGENET_LISTS"] or LISTS, work)
        path = sources.locate(imagenet, work)
        if path.is_dir():
            images = _find_unpacked(path, lists).items()
            return Contents(imagenet, f"{ORIGINAL}, unpacked", images)
        return Contents(imagenet, f"{ORIGINAL}.tar", _read_tar(path, lists))
    source = settings["MINIIMAGENET_ARCHIVE"] or ZENODO
    names = PICKLES if source.endswith("/") else ()
    place = sources.locate(source, work, names)
    files = sources.list_files(sources.unpack(place, work / "unpacked"))
    found = [path for path in files if PICKLE.fullmatch(path.name)]
    if len(found) >= len(CLASSES):
        return Contents(source, "pickles", _placed(_read_pickles(found)))
    if CSV.issubset(path.name for path in files):
        return Contents(source, "images/ with lists", _placed(_read_listed(files)))
    found = [path for path in files if is_image(path.name) and IMAGENET.fullmatch(path.parent.name)]
    if not found:
        raise UnsoundError(
            f"{place.name} holds no folders of images that are named as miniImageNet's classes, no "
            f"images with train.csv, val.csv and test.csv, and no pickles of all three sets; found "
            f"{some([path.name for path in files], 3) or 'nothing'}"
        )
    by_folder = ((path.parent.name, path.name, path) for path in found)
    return Contents(source, "class folders", _placed(by_folder))


def _placed(
    images: Iterable[tuple[str, str, Path | bytes]],
) -> Iterator[tuple[Path, Path | bytes]]:
    """The path in the dataset and the content of images, given class, file name and content."""
    split_of = {name: split for split, names in CLASSES.items() for name in names}
    for name, file, content in images:
        if name not in split_of:
            raise UnsoundError(f"{name} is not a class of miniImageNet")
        yield Path(split_of[name], name, file), content


def _read_pickles(paths: Sequence[Path]) -> Iterator[tuple[str, str, bytes]]:
    for path in paths:
        try:
            with path.open("rb") as file:
                yield from pickles.read_images(file)
        except UnsoundError as error:
            raise UnsoundError(f"{path.name}: {error}") from None


def _read_listed(files: Sequence[Path]) -> Iterator[tuple[str, str, Path]]:
    """The images, wherever they lie, whose names are in train.csv, val.csv and test.csv."""
    class_of = {}
    for path in (path for path in files if path.name in CSV):
        # They may begin with a byte order mark.
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            try:
                rows = list(csv.DictReader(file))
            except csv.Error as error:
                raise UnsoundError(f"{path.name} is no list ({error})") from None
        columns = rows[0].keys() if rows else ()
        for name, label in (("filename", "label"), ("image_name", "class_name")):
            if name in columns and label in columns:
                class_of.update({row[name]: row[label] for row in rows})
                break
        else:
            raise UnsoundError(
                f"{path.name} has no columns filename,label or class_name,image_name"
            )
    for path in files:
        if path.name in class_of:
            yield class_of[path.name], path.name, path


def read_lists(where: str, work: Path) -> Lists:
    """The authors' lists. where: an address below which they are, or of a local folder or tar
    file that holds them. Raises UnsoundError if they are not the authors'."""
    names = sorted(f"{split}/{name}.csv" for split, group in CLASSES.items() for name in group)
    place = sources.locate(where, work, names)
    files = sources.list_files(sources.unpack(place, work / "unpacked"))
    found = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}
    if missing := [name for name in names if name not in found]:
        raise UnsoundError(f"MINIIMAGENET_LISTS={place} lacks the lists {some(missing)}")
    digests = ((name, hashlib.sha256(found[name]).hexdigest()) for name in names)
    if build.digest_of(digests) != LISTS_DIGEST:
        raise UnsoundError(f"MINIIMAGENET_LISTS={where}: these lists are not those of the authors")
    return {
        Path(name).with_suffix("") / image: (int(first), int(last))
        for name in names
        for image, first, last in LINE.findall(found[name].decode())
    }


def _read_tar(path: Path, lists: Lists) -> Iterator[tuple[Path, bytes]]:
    """The images of the lists in ILSVRC2012_img_train.tar, in the order in which they lie there."""
    with path.open("rb") as file:
        for name, (first, last) in sorted(lists.items(), key=lambda line: line[1]):
            file.seek(first)
            content = file.read(last - first + 1)
            if len(content) <= last - first or not content.startswith(b"\xff\xd8"):  # as JPEGs do
                raise FailedError(
                    f"{path}: bytes {first}-{last} are not the image {name.name}: this is not "
                    f"{ORIGINAL}.tar, or not all of it"
                )
            yield name, content


def _find_unpacked(root: Path, lists: Lists) -> dict[Path, Path]:
    """The images of the lists in a folder into which ILSVRC2012_img_train.tar was unpacked.

    Raises FailedError unless all are there, each with as many bytes as in the archive.
    """
    example = next(iter(lists)).parent.name
    training = next((root / top for top in TRAINING if (root / top / example).is_dir()), root)
    paths = {name: training / name.parent.name / name.name for name in lists}
    if wrong := [
        f"{path.parent.name}/{path.name}"
        for name, path in paths.items()
        if not path.is_file() or path.stat().st_size != lists[name][1] - lists[name][0] + 1
    ]:
        raise FailedError(f"{training} lacks images of the authors, or has others: {some(wrong)}")
    return paths


def check_names(folder: Path) -> None:
    """Raise UnsoundError, naming what is missing, unless all files of miniImageNet are there."""
    found = Counter(path.parent.as_posix() for path in build.list_images(folder))
    expected = {f"{split}/{name}": name for split, names in CLASSES.items() for name in names}
    if different := expected.keys() ^ found.keys():
        raise UnsoundError(f"these classes are missing, or too many: {some(sorted(different))}")
    if wrong := [
        f"{path} ({found[path]})"
        for path, name in expected.items()
        if found[path] not in (IMAGES, AUTHORS_IMAGES.get(name))
    ]:
        raise UnsoundError(f"not {IMAGES} images each: {some(wrong)}")


def check(folder: Path) -> str:
    """The digest of a folder that holds all of miniImageNet. Raises UnsoundError for others."""
    check_names(folder)
    return build.check_images(folder)


def stale_cache(folder: Path) -> Path | None:
    """The cache of decoded images if it holds other pixels than the images of a folder."""
    root = Folder(folder)
    return image_set.stale_cache(root, find_classes(root)[0], decoding.PHOTOGRAPHS)
