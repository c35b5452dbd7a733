"""From image files to pixels, on all cores."""

import concurrent.futures.process
import contextlib
import functools
import multiprocessing
import os
import signal
import threading

import numpy as np
from PIL import Image

from supervised_reptile.system import machine
from supervised_reptile.system.errors import FailedError, RefusedError


def read_classes(files, format, cores=None):
    """A context that yields, class by class, uint8 [images, size, size, channels].

    files: the paths of each class. format: Format. cores: None for all that this
    process may use.
    Raises RefusedError, naming the file, for what is not a whole image.
    """
    return on_all_cores(functools.partial(read_class, format=format), files, cores)


@contextlib.contextmanager
def on_all_cores(function, items, cores=None):
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


def _leave_with_parent():
    """End this process when the one that started it is gone: a killed one cannot tell it to."""

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def read_class(files, format):
    """The images of one class as uint8 [images, size, size, channels]."""
    images = np.stack([read_image(file, format) for file in files])
    return images.reshape(*images.shape[:3], format.channels)


def read_image(file, format):
    """One image, resized with nearest neighbour as the paper's Pillow did, then converted.

    Raises RefusedError, naming the file, if it is not a whole image.
    """
    try:
        with Image.open(file) as image:
            image = image.resize((format.size, format.size), Image.Resampling.NEAREST)
            return np.asarray(_eight_bits(image).convert(format.mode))
    except Exception as error:  # Pillow raises many kinds for damaged files.
        raise RefusedError(
            f"{file} cannot be read as an image ({error}): replace it, or fetch the data again"
        ) from None


def _eight_bits(image):
    """The image with 8 bits per value. Pillow's conversion would cut values above 255 off."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("32 bits per value, of unknown range: convert it to 8 bits")
    return image
