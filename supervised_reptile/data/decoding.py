"""From image files to pixels, on all cores."""

import concurrent.futures.process
import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from supervised_reptile.data.formats import Format
from supervised_reptile.system import machine
from supervised_reptile.system.errors import FailedError, RefusedError, is_exhausted

Item = TypeVar("Item")
Result = TypeVar("Result")
SHOWN = 5  # unreadable images that a message names


class ClassImages(typing.NamedTuple):
    """What came of the files of a class.

    pixels: uint8 [images, size, size, channels]. problems: the files that cannot be read, and
    why. depths: the bits per value that files use (8, 12 or 16), and a file for each.
    """

    pixels: np.ndarray
    problems: list[tuple[str, str]]
    depths: dict[int, str]


def read_classes(
    files: Sequence[Sequence[str]], format: Format, cores: int | None = None
) -> AbstractContextManager[Iterator[ClassImages]]:
    """A context that yields the ClassImages of each class.

    files: the paths of each class. cores: None for all that this process may use.
    """
    return on_all_cores(functools.partial(read_class, format=format), files, cores)


@contextlib.contextmanager
def on_all_cores(
    function: Callable[[Item], Result], items: Sequence[Item], cores: int | None = None
) -> Iterator[Iterator[Result]]:
    """Yield the results of a function for each item, in order.

    By processes, since decoding small images is mostly Python, which threads would share; by this
    process where the system starts no others.
    """
    pool = None
    results: Iterator[Result] = map(function, items)
    try:
        with contextlib.suppress(OSError, ImportError, NotImplementedError):
            # No memory for semaphores (/dev/shm), no more processes, no more handles.
            pool = concurrent.futures.ProcessPoolExecutor(
                max(1, min(cores or machine.cores(), len(items))),
                multiprocessing.get_context("spawn"),
                initializer=_leave_with_parent,
            )
            with _blocked_interrupt():
                results = pool.map(function, items)  # Starts the processes as it submits.
        yield results
    except concurrent.futures.process.BrokenProcessPool:
        raise FailedError("a process reading images was killed: is memory short?") from None
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _blocked_interrupt() -> Iterator[None]:
    """Start processes with SIGINT blocked: the terminal sends Ctrl-C to them, too, but the one
    that starts them decides."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone: a killed one cannot tell it to."""

    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def read_class(files: Sequence[str], format: Format) -> ClassImages:
    """The ClassImages of files. Raises OSError where the system is at fault, and not a file."""
    found = ClassImages(np.zeros((len(files), *format.shape), np.uint8), [], {})
    for index, file in enumerate(files):
        try:
            pixels, depth = _decode(file, format)
        except Exception as error:  # Pillow raises many kinds for damaged files.
            if is_exhausted(error):
                raise
            found.problems.append((file, _reason(file, error)))
        else:
            found.pixels[index] = pixels
            found.depths.setdefault(depth, file)
    return found


def pixels_of(classes: Iterable[ClassImages]) -> Iterator[np.ndarray]:
    """The pixels of each class.

    Raises RefusedError after the last one if images cannot be read, naming the first few, or if
    some would be brighter than they should be beside the others.
    """
    problems: list[tuple[str, str]] = []
    depths: dict[int, str] = {}
    for found in classes:
        problems += found.problems
        depths = found.depths | depths
        yield found.pixels
    if problems:
        raise RefusedError(_unreadable(problems))
    if {12, 16} <= depths.keys():
        raise RefusedError(
            f"{depths[12]} uses only 12 of its 16 bits per value, {depths[16]} all of them: one "
            "would be too dark or too bright beside the other; convert all images to 8 bits"
        )


def _unreadable(problems: Sequence[tuple[str, str]]) -> str:
    if len(problems) == 1:
        ((file, reason),) = problems
        return f"{file} cannot be read as an image ({reason}): replace it, or remove it"
    shown = ", ".join(f"{file} ({reason})" for file, reason in problems[:SHOWN])
    more = f" and {len(problems) - SHOWN:,} more" if len(problems) > SHOWN else ""
    return f"{len(problems):,} images cannot be read: {shown}{more}: replace them, or remove them"


def _reason(file: str, error: Exception) -> str:
    if os.path.exists(file) and not os.path.getsize(file):
        return "empty"
    if isinstance(error, UnidentifiedImageError):
        return "its content is of no known kind"
    return (str(error) or repr(error)).splitlines()[0]


def read_image(file: str | Path, format: Format) -> np.ndarray:
    """One image as uint8 [size, size, channels]: resized with nearest neighbour as the paper's
    Pillow did, then converted. format.as_shown: turned first, and put on white.

    Raises RefusedError, naming the file, if it is not a whole image.
    """
    (pixels,) = pixels_of([read_class([str(file)], format)])
    return pixels[0]


def _decode(file: str, format: Format) -> tuple[np.ndarray, int]:
    """The pixels of a file, and how many of its bits per value it uses."""
    with Image.open(file) as image:
        depth = 8
        if image.mode in ("I", "F"):
            raise ValueError("32 bits per value, of unknown range: convert it to 8 bits")
        if format.as_shown:
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I;16"):
            dark = format.as_shown and np.asarray(image).max() < 2**12
            depth = 12 if dark else 16
        resized = image.resize((format.size, format.size), Image.Resampling.NEAREST)
        if depth > 8:
            # Pillow's conversion would cut values above 255 off.
            resized = Image.fromarray((np.asarray(resized) >> (depth - 8)).astype(np.uint8))
        if format.as_shown and resized.has_transparency_data:
            ink = resized.convert("RGBA")
            resized = Image.alpha_composite(Image.new("RGBA", ink.size, "white"), ink)
        pixels = np.asarray(resized.convert(format.mode))
        return pixels.reshape(format.shape), depth
