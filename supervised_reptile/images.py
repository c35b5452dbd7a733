"""Images of classes in one uint8 array, and reading them from folders on all cores."""

import concurrent.futures.process
import contextlib
import dataclasses
import functools
import multiprocessing
import os
import pathlib
import signal

import numpy as np
from PIL import Image
from tqdm import tqdm

from supervised_reptile.errors import FailedError, RefusedError

SUFFIXES = {".jpeg", ".jpg", ".png"}
CHANNELS = {"L": 1, "RGB": 3}


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """All classes of a run, those of one split side by side.

    pixels: uint8 [classes, images, height, width, channels]; a class with fewer images than
        others is padded with zeros, which are never drawn.
    names: the name of each class. counts: int [classes], its number of images.
    splits: from the name of a split ("train", "val", "test") to its range of classes.
    """

    pixels: np.ndarray
    names: tuple
    counts: np.ndarray
    splits: dict

    @property
    def rows(self):
        """The pixels as uint8 [classes * images, height, width, channels]."""
        return self.pixels.reshape(-1, *self.pixels.shape[2:])


def ranges(split):
    """Where the classes of each split lie if they follow one another: a range by split."""
    result, start = {}, 0
    for name, members in split.items():
        result[name] = range(start, start + len(members))
        start += len(members)
    return result


def read_folders(folders, split, size, mode):
    """An ImageSet of the given split.

    folders: from the name of a class to its folder. split: class names by split.
    size: height and width in pixels. mode: Pillow's "L" or "RGB".
    Raises RefusedError naming the file or folder for an empty class or an unreadable image.
    """
    names = tuple(name for members in split.values() for name in members)
    files = [image_files(folders[name]) for name in names]
    counts = np.array([len(paths) for paths in files])
    pixels = np.zeros([len(names), counts.max(), size, size, CHANNELS[mode]], np.uint8)
    with _on_all_cores(functools.partial(read_class, size=size, mode=mode), files) as arrays:
        progress = tqdm(arrays, "Reading images", len(names), unit=" classes", disable=None)
        for index, array in enumerate(progress):
            pixels[index, : len(array)] = array
    return ImageSet(pixels, names, counts, ranges(split))


@contextlib.contextmanager
def _on_all_cores(function, items):
    """Yield the results of a function for each item, in order.

    By processes, since decoding small images is mostly Python, which threads would share. They are
    started with SIGINT blocked: the terminal sends Ctrl-C to them too, but this process decides.
    """
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(os.cpu_count(), context)
    try:
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            results = pool.map(function, items)  # Starts the processes as it submits.
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        yield results
    except concurrent.futures.process.BrokenProcessPool:
        raise FailedError("a process reading images was killed: is memory short?") from None
    finally:
        pool.shutdown(cancel_futures=True)


def select(pixels, names, split):
    """An ImageSet of the named classes of an array [classes, images, height, width, channels]."""
    check_present(split, names, "--synthetic")
    chosen = tuple(name for members in split.values() for name in members)
    places = {name: index for index, name in enumerate(names)}
    pixels = pixels[[places[name] for name in chosen]]
    counts = np.full(len(chosen), pixels.shape[1])
    return ImageSet(pixels, chosen, counts, ranges(split))


def check_present(split, names, where):
    """Raise RefusedError if classes of the split of an earlier run are missing."""
    missing = [name for members in split.values() for name in members if name not in names]
    if missing:
        raise RefusedError(
            f"{where} lacks {len(missing)} classes that the run was split into, {missing[0]} "
            "among them: give the data that the run was trained on"
        )


def check_folder(folder, advice):
    """Return the folder. Raises RefusedError if it is missing or holds no folders."""
    if not os.path.isdir(folder):
        problem = "does not exist"
    elif not subfolders(folder):
        problem = "holds no folders of images"
    else:
        return folder
    raise RefusedError(
        f"the data folder {folder} {problem}: {advice}, name another folder with --data-dir, "
        "or try the program with --synthetic"
    )


def subfolders(folder):
    """The folders in a folder, sorted by name, hidden ones left out."""
    entries = (entry for entry in pathlib.Path(folder).iterdir() if entry.name[0] != ".")
    return sorted((entry for entry in entries if entry.is_dir()), key=lambda entry: entry.name)


def image_files(folder):
    """The image files of a class, sorted by name. Raises RefusedError if there are none."""
    files = sorted(
        entry.path
        for entry in os.scandir(folder)
        if entry.name[0] != "." and os.path.splitext(entry.name)[1].lower() in SUFFIXES
    )
    if not files:
        raise RefusedError(
            f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}): fill it, or remove it"
        )
    return files


def read_class(files, size, mode):
    """The images of one class as uint8 [images, size, size, channels]."""
    images = np.stack([read_image(file, size, mode) for file in files])
    return images.reshape(*images.shape[:3], CHANNELS[mode])


def read_image(file, size, mode):
    """One image, resized with nearest neighbour as the paper's Pillow did, then converted.

    Raises RefusedError, naming the file, if it is not a whole image.
    """
    try:
        with Image.open(file) as image:
            return np.asarray(image.resize((size, size), Image.Resampling.NEAREST).convert(mode))
    except Exception as error:  # Pillow raises many kinds for damaged files.
        raise RefusedError(
            f"{file} cannot be read as an image ({error}): replace it, or fetch the data again"
        ) from None
