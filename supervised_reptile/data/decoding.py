"""From image files to pixels, on all cores."""

import concurrent.futures.process
import contextlib
import functools
import multiprocessing
import os
import signal
import threading
import typing
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from supervised_reptile.data.formats import Format
from supervised_reptile.system import machine
from supervised_reptile.system.errors import FailedError, RefusedError, is_exhausted
from supervised_reptile.system.output import some

Item = TypeVar("Item")
Result = TypeVar("Result")
PHOTOMETRIC = 262  # a TIFF tag
CAMERA = 12  # bits per value that cameras and microscopes often store in 16


class ClassImages(typing.NamedTuple):
    """What came of the files of a class.

    pixels: uint8 [images, size, size, channels]. problems: the files that cannot be read, and
    why. depths: how many of 16 bits per value files use, and a file for each; 0: with 8 bits.
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
    except BaseException:
        for process in multiprocessing.active_children():
            process.kill()  # one that waits for a network's disk would be waited for
        raise
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
    depths: dict[int, str] = {0: ""}
    for found in classes:
        problems += found.problems
        depths = found.depths | depths
        yield found.pixels
    if problems:
        raise RefusedError(_unreadable(problems))
    _check_depths(depths)


def _check_depths(depths: Mapping[int, str]) -> None:
    """Refuse files with 16 bits per value that would be too dark. depths: as in ClassImages."""
    used = sorted(depths.keys() - {0})
    few, many = ([n for n in used if (n <= CAMERA) == is_few] for is_few in (True, False))
    if few and many:
        raise RefusedError(
            f"{depths[few[-1]]} uses only {few[-1]} of its 16 bits per value, {depths[many[-1]]} "
            f"{many[-1]}: one would be too dark or too bright; convert all to 8 bits"
        )
    if used and (used[-1] < CAMERA - 1 or CAMERA < used[-1] < 15):
        raise RefusedError(
            f"{depths[used[-1]]} and the other files with 16 bits per value use at most "
            f"{used[-1]} of them, and would be much too dark: convert them to 8 bits"
        )


def _unreadable(problems: Sequence[tuple[str, str]]) -> str:
    if len(problems) == 1:
        ((file, reason),) = problems
        return f"{file} cannot be read as an image ({reason}): replace it, or remove it"
    shown = some([f"{file} ({reason})" for file, reason in problems])
    return f"{len(problems):,} images cannot be read: {shown}: replace them, or remove them"


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


def _depth(image: Image.Image, format: Format) -> int:
    """How many of 16 bits per value an image uses. Raises ValueError if that is not clear."""
    if not format.as_shown:
        return 16
    white_is_zero = getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0
    if white_is_zero or image.has_transparency_data:
        raise ValueError("16 bits per value with white as zero, or transparent: convert it to 8")
    return int(np.asarray(image).max()).bit_length()


def _decode(file: str, format: Format) -> tuple[np.ndarray, int]:
    """The pixels of a file, and how many of 16 bits per value it uses, 0 if it has 8."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # twice as large is refused
        opened = Image.open(file)
    with opened as image:
        depth = 0
        if image.mode in ("I", "F"):
            raise ValueError("32 bits per value, of unknown range: convert it to 8 bits")
        if format.as_shown:
            ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I;16"):
            depth = _depth(image, format)
        resized = image.resize((format.size, format.size), Image.Resampling.NEAREST)
        if resized.mode.startswith("I;16"):
            # Pillow's conversion would cut values above 255 off.
            shift = 4 if depth <= CAMERA else 8
            resized = Image.fromarray((np.asarray(resized) >> shift).astype(np.uint8))
        if format.as_shown and resized.has_transparency_data:
            ink = resized.convert("RGBA")
            resized = Image.alpha_composite(Image.new("RGBA", ink.size, "white"), ink)
        pixels = np.asarray(resized.convert(format.mode))
        return pixels.reshape(format.shape), depth
