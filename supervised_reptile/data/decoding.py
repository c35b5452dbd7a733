"""From image files to the pixels that the networks see, on all cores."""

import concurrent.futures.process
import contextlib
import dataclasses
import io
import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from supervised_reptile.data.cleaning import cleaned
from supervised_reptile.system import machine, signals
from supervised_reptile.system.errors import FailedError, RefusedError, is_exhausted
from supervised_reptile.system.output import note, some

Item = TypeVar("Item")
Result = TypeVar("Result")
Source = str | os.PathLike[str] | Image.Image


# Of a class: its pixels, uint8 [images, size, size, channels]; the files that cannot be read, each
# with the reason in brackets; and those of which it cannot be told whether they are whole.
ClassImages = tuple[np.ndarray, list[str], list[str]]

# How files of a kind begin, and what comes before and after the last of their pixels: PNG, JPEG.
MARKS = {b"\x89P": (b"IDAT", b"IEND"), b"\xff\xd8": (b"\xff\xda", b"\xff\xd9")}


@dataclasses.dataclass(frozen=True)
class Format:
    """size: height and width in pixels. mode: Pillow's, "L" for grey or "RGB". as_shown: whether
    files are seen as a viewer shows them, or as the paper's code read its two data sets. clean:
    whether they are then made to look as Omniglot's drawings (--clean)."""

    size: int
    mode: str
    as_shown: bool = False
    clean: bool = False

    @property
    def channels(self) -> int:
        """Values per pixel."""
        return len(self.mode)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: height, width, channels."""
        return self.size, self.size, self.channels


CHARACTERS = Format(28, "L")  # Omniglot
PHOTOGRAPHS = Format(84, "RGB")  # miniImageNet


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
            # The terminal sends Ctrl-C to these processes, too, but this one decides.
            previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                # Starts the processes, each of which would complain if this one left it half-way.
                # Not pool.map: that cancels what is not done when it ends early, and Python 3.11
                # cannot have a process killed then without a traceback.
                with signals.deferred() as pending:
                    futures = [pool.submit(function, item) for item in items][::-1]
                if pending.number:
                    raise signals.Interrupted(pending.number)
                results = (futures.pop().result() for _ in items)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, previous)
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


def _leave_with_parent() -> None:
    """End this process when the one that started it is gone: a killed one cannot tell it to."""

    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent:
            parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def read_class(files: Sequence[Source], format: Format) -> ClassImages:
    """The ClassImages of files or opened images. Raises OSError where the system is at fault, and
    not a file."""
    pixels, problems, doubtful = np.zeros((len(files), *format.shape), np.uint8), [], []
    for index, file in enumerate(files):
        try:
            data = file if isinstance(file, Image.Image) else Path(file).read_bytes()
            pixels[index] = _decode(data, format)
            whole = isinstance(data, Image.Image) or _is_whole(data)
            if whole is None:
                doubtful.append(str(file))
            elif not whole:
                raise ValueError("its end is lost: there are zeros instead")
        except Exception as error:  # Pillow raises many kinds for damaged files.
            if is_exhausted(error):
                raise
            reason = (str(error) or repr(error)).splitlines()[0]
            if isinstance(error, UnidentifiedImageError):
                reason = "empty, or of no known kind"
            problems.append(f"{file} ({reason})")
    return pixels, problems, doubtful


def _is_whole(data: bytes) -> bool | None:
    """Whether an image file has its end, or zeros in its place, which Pillow often overlooks: a
    power cut or a full disk leaves them. None if that cannot be told."""
    kept = data.rstrip(b"\0")
    zeros = len(data) - len(kept)
    if marks := MARKS.get(data[:2]):
        return zeros < 16 or kept.rfind(marks[0]) < kept.rfind(marks[1])
    return None if 3 * zeros > len(data) else True


def pixels_of(classes: Iterable[ClassImages]) -> Iterator[np.ndarray]:
    """The pixels of each class.

    Warns after the last one of doubtful images. Raises RefusedError if images cannot be read,
    naming the first few.
    """
    problems: list[str] = []
    doubtful: list[str] = []
    for pixels, unreadable, perhaps in classes:
        problems += unreadable
        doubtful += perhaps
        yield pixels
    if doubtful:
        note(
            f"Warning: {len(doubtful):,} of the images end in zeros, a third of the file or more, "
            f"as after a power cut or on a full disk: look at them: {some(doubtful)}"
        )
    if problems:
        raise RefusedError(
            f"{len(problems):,} of the images cannot be read: {some(problems)}: replace or remove "
            "what is broken"
        )


def open_image(data: bytes) -> Image.Image:
    """The image in a file of a known kind. For others, Pillow may start other programs."""
    return Image.open(io.BytesIO(data), formats=("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"))


def _decode(data: bytes | Image.Image, format: Format) -> np.ndarray:
    """The pixels of an image, or of a file's bytes: resized with nearest neighbour as the paper's
    Pillow did, then converted. format.as_shown: turned upright first, and put on white. Raises as
    Pillow does, and ValueError for a blank drawing that is to be cleaned."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # twice as large is refused
        opened = data.copy() if isinstance(data, Image.Image) else open_image(data)
    with opened as image:
        if not min(image.size):
            raise ValueError("it has no pixels")
        if image.mode[0] in "IF":
            # What is white in them is not known; scientific ones often use 12 of 16 bits.
            raise ValueError("more than 8 bits per value: convert it to 8 bits")
        if format.as_shown:
            ImageOps.exif_transpose(image, in_place=True)
        if format.clean:
            image = cleaned(_on_white(image))
        resized = image.resize((format.size, format.size), Image.Resampling.NEAREST)
        if format.as_shown:
            resized = _on_white(resized)
        return np.asarray(resized.convert(format.mode)).reshape(format.shape)


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    ink = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", ink.size, "white"), ink)
