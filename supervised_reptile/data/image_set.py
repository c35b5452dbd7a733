"""Images of classes in one uint8 array, read from folders or from their cache; and what a dataset
has to offer."""

import dataclasses
import functools
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np

from supervised_reptile.args import Run
from supervised_reptile.data import cache, provenance
from supervised_reptile.data.decoding import Format
from supervised_reptile.data.folders import Folder, passed_over
from supervised_reptile.system.errors import RefusedError
from supervised_reptile.system.output import note, some

if typing.TYPE_CHECKING:
    import tensorflow as tf

Split = dict[str, list[str]]  # names of classes, before augmentation, by "train", "val", "test"
Loaded = tuple["ImageSet", Split]  # the images of a run, and their split


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """All classes of a run, those of one split side by side.

    pixels: uint8 [images, height, width, channels], class after class.
    names: the name of each class. counts: int [classes], its number of images.
    splits: from the name of a split ("train", "val", "test") to its range of classes.
    origin: where the images came from. digest: cache.digest_of the data folder, before any split
        or augmentation.
    passed_over: how many files of each kind the data folder holds besides.
    rotations: how often each training class is there: turned, it is another class.
    """

    pixels: np.ndarray
    names: tuple[str, ...]
    counts: np.ndarray
    splits: dict[str, range]
    origin: dict[str, str] = dataclasses.field(default_factory=dict)
    digest: str = ""
    passed_over: Mapping[str, int] = dataclasses.field(default_factory=dict)
    rotations: int = 1

    @functools.cached_property
    def first(self) -> np.ndarray:
        """int [classes], the index of the first image of each."""
        return np.cumsum(self.counts) - self.counts

    def of_class(self, index: int) -> np.ndarray:
        """The pixels of one class, [images, height, width, channels]."""
        return self.pixels[self.first[index] :][: self.counts[index]]

    @property
    def provenance(self) -> dict[str, Any]:
        """The description of these images in the records of a run."""
        return {"origin": self.origin, "digest": self.digest}

    def as_tensor(self) -> "tf.Tensor":
        """The pixels as a tensor on the CPU, without a copy where they are mapped from the cache:
        they can be more than a gigabyte."""
        import tensorflow as tf  # Reading images does not need it.

        # TensorFlow borrows only memory that may be written and begins at a multiple of 64 bytes.
        if self.pixels.ctypes.data % 64 or not self.pixels.flags.writeable:
            return tf.constant(self.pixels)
        return tf.identity(tf.experimental.dlpack.from_dlpack(self.pixels.__dlpack__()))

    def _turns(self, split: str) -> int:
        return self.rotations if split == "train" else 1

    def classes_of(self, split: str) -> str:
        """How many classes a split has, in words: those that are only turned are not counted."""
        turns = self._turns(split)
        count = f"{len(self.splits[split]) // turns:,} classes"
        return f"{count}, each in {turns} rotations" if turns > 1 else count

    def __str__(self) -> str:
        """A line with the numbers of classes and images that were read, by split, before rotations,
        and of files that were passed over."""
        parts = []
        for split, classes in self.splits.items():
            turns = self._turns(split)
            images, comma = self.counts[list(classes)].sum() // turns, "," if turns > 1 else ""
            parts.append(f"{split} {self.classes_of(split)}{comma} with {images:,} images")
        others = [f"{number:,} {kind}" for kind, number in self.passed_over.items()]
        return ", ".join(parts) + ("; passed over: " + ", ".join(others) if others else "")


class Dataset(typing.NamedTuple):
    """A dataset by the name of its script and its network, and how the images of a run are read.

    load: gives them and their split, from the Run; a seed, which decides the split, and what is
    drawn with --synthetic; the split of an earlier run, to be used instead, or None; whether the
    classes may be others than those of that run: then other_split is used.
    It raises RefusedError if classes are missing, or an image cannot be read.
    """

    name: str
    load: Callable[[Run, int, Split | None, bool], Loaded]


def ranges(split: Mapping[str, Sized]) -> dict[str, range]:
    """Where the classes of each split lie if they follow one another: a range by split."""
    result, start = {}, 0
    for name, members in split.items():
        result[name] = range(start, start + len(members))
        start += len(members)
    return result


def read_folders(
    root: Folder, folders: Mapping[str, Folder], split: Split, format: Format
) -> ImageSet:
    """An ImageSet of the given split.

    root: the data folder. folders: from the name of a class to its folder, all that it holds.
    Raises RefusedError naming the file or folder for an empty class or unreadable images, or if
    all images are the same.
    """
    data_dir = root.path
    check_present(split, folders, data_dir)
    source = provenance.read(data_dir)
    listing = cache.list_files(folders, format, source)
    pixels, digest, hashes = cache.load(data_dir, listing)
    others = passed_over(root, folders.values())
    whole = ImageSet(pixels, listing.names, listing.counts, {}, source, digest, others)
    of_class = dict(zip(listing.names, np.split(hashes, whole.first[1:])))
    _check_different(of_class, data_dir)
    if "digest" not in source:  # of the paper's own, docs/data.md says how many there are
        _warn_of_repeated(of_class, split, data_dir)
    return select(whole, split)


def stale_cache(root: Folder, folders: Mapping[str, Folder], format: Format) -> Path | None:
    """The cache of a data folder if it would be used, but holds other pixels than its images."""
    listing = cache.list_files(folders, format, provenance.read(root.path))
    place = cache.place_of(root.path, listing)
    cached = cache.read(place, listing)
    return place if cached and not np.array_equal(cached[0], listing.decode()) else None


def _check_different(hashes: Mapping[str, np.ndarray], where: Path) -> None:
    """Refuse a set whose images are all the same; name classes of that kind.

    hashes: cache.hashes_of the images of each class.
    """
    if len(np.unique(np.concatenate([*hashes.values()]))) == 1:
        raise RefusedError(
            f"{where}: all images look the same to the network: there is nothing to learn"
        )
    several = {name: found for name, found in hashes.items() if len(found) > 1}
    if uniform := [name for name, found in several.items() if (found == found[0]).all()]:
        same = "within each of these classes all images are the same"
        note(f"Warning: {where}: {same}: {some(uniform)}")


def _warn_of_repeated(hashes: Mapping[str, np.ndarray], split: Split, where: Path) -> None:
    """Say how many images of the other sets are among the training images, whatever their names.

    hashes: as of _check_different.
    """
    sets = {part: np.concatenate([hashes[name] for name in split[part]]) for part in split}
    training, found = sets.pop("train", np.zeros(0)), []
    for part, members in sets.items():
        if repeated := np.isin(members, training).sum():
            found.append(f"{repeated:,} of {len(members):,} {part} images")
    if found:
        known = "are also training images: this is no test of new classes"
        note(f"Warning: {where}: {' and '.join(found)} {known}")


def select(whole: ImageSet, split: Split) -> ImageSet:
    """The ImageSet of a split, given class names by split, of all classes that there are."""
    chosen = tuple(name for members in split.values() for name in members)
    if chosen == whole.names:  # then the pixels stay mapped
        return dataclasses.replace(whole, splits=ranges(split))
    places = {name: index for index, name in enumerate(whole.names)}
    indices = [places[name] for name in chosen]
    return dataclasses.replace(
        whole,
        pixels=np.concatenate([whole.of_class(index) for index in indices]),
        names=chosen,
        counts=whole.counts[indices],
        splits=ranges(split),
    )


def select_generated(pixels: np.ndarray, names: Sequence[str], split: Split) -> ImageSet:
    """An ImageSet of the named classes of generated images, [classes, images, ...]."""
    check_present(split, names, "--synthetic")
    counts = np.full(len(names), pixels.shape[1])
    flat = pixels.reshape(-1, *pixels.shape[2:])
    digest = cache.digest_of(names, counts, flat)
    source = {"source": "generated (--synthetic)"}
    return select(ImageSet(flat, tuple(names), counts, {}, source, digest), split)


def other_split(split: Split, names: Collection[str], new: Iterable[str]) -> Split:
    """The split in which a trained model is tested on other images than its own.

    split: that of its run. names: of the classes that are there. new: those of them that are for
    testing if the run did not know them.
    """
    known = {name for members in split.values() for name in members}
    left = {part: [name for name in members if name in names] for part, members in split.items()}
    left["test"] = left.get("test", []) + [name for name in new if name not in known]
    return {part: members for part, members in left.items() if members}


def check_present(split: Split, names: Collection[str], where: str | Path) -> None:
    """Raise RefusedError if classes of the split of an earlier run are missing."""
    missing = [name for members in split.values() for name in members if name not in names]
    if missing:
        raise RefusedError(
            f"{where} lacks {len(missing)} classes that the run was split into, {missing[0]} "
            "among them: give the data that the run was trained on"
        )
