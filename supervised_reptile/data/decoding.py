"""From image files to pixels, on all cores."""

import concurrent.futures.process
import contextlib
import functools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image

from supervised_reptile.data.formats import Format
from supervised_reptile.system import machine
from supervised_reptile.system.errors import FailedError, RefusedError

Item = TypeVar("Item")
Result = TypeVar("Result")


def read_classes(
    files: Sequence[Sequence[str]], format: Format, cores: int | None = None
) -> AbstractContextManager[Iterator[np.ndarray]]:
    """A context that yields, class by class, uint8 [images, size, size, channels].

    files: the paths of each class. cores: None for all that this process may use.
    Raises RefusedError, naming the file, for what is not a whole image.
    """
    return on_all_cores(functools.partial(read_class, format=format), files, cores)


@contextlib.contextmanager
def on_all_cores(
    function: Callable[[Item], Result], items: Iterable[Item], cores: int | None = None
) -> Iterator[Iterator[Result]]:
    """Yield the results of a function for each item, in order.

    By processes, since decoding small images is mostly Python, which threads would share. They are
    started with SIGINT blocked: the terminal sends Ctrl-C to them too, but this process decides.
    """
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(
        cores or machine.cores(), context, initializer=_leave_with_parent
    )
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


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone: a killed one cannot tell it to."""

    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def read_class(files: Sequence[str], format: Format) -> np.ndarray:
    """The images of one class as uint8 [images, size, size, channels]."""
    images = np.stack([read_image(file, format) for file in files])
    return images.reshape(*images.shape[:3], format.channels)


def read_image(file: str | Path, format: Format) -> np.ndarray:
    """One image, resized with nearest neighbour as the paper's Pillow did, then converted.

    Raises RefusedError, naming the file, if it is not a whole image.
    """
    try:
        with Image.open(file) as image:
            resized = image.resize((format.size, format.size), Image.Resampling.NEAREST)
            return np.asarray(_eight_bits(resized).convert(format.mode))
    except Exception as error:  # Pillow raises many kinds for damaged files.
        raise RefusedError(
            f"{file} cannot be read as an image ({error}): replace it, or fetch the data again"
        ) from None


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image with 8 bits per value. Pillow's conversion would cut values above 255 off."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32 bits per value, of unknown range: convert it to 8 bits")
    return image
