"""Files that are whole, whatever happens while they are written, and locks that no process keeps.

A kill, a full disk or a power cut leaves the old file or the new one, and drops every lock.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path


def temporary(path: Path) -> Path:
    """Where a file is written before it takes its place."""
    return path.with_name(path.name + ".tmp")


@contextlib.contextmanager
def replacing(path: Path, beside: Path | None = None) -> Iterator[Path]:
    """A context that yields where to write a file, which then takes its place, or nothing does.

    beside: where that is, `temporary` if None. Raises OSError, which names the file.
    """
    beside = beside or temporary(path)
    try:
        yield beside
        put_in_place({beside: path})
    except OSError as error:
        if error.filename2 or error.filename in (None, str(beside)):
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_atomically(path: Path, text: str) -> None:
    """Write a whole file or nothing, in UTF-8. Raises OSError."""
    with replacing(path) as beside:
        beside.write_text(text, "utf-8", "backslashreplace")


def write_through(path: Path, text: str) -> None:
    """Write a file of the user's: a link stays one, a pipe or device is written to, line breaks
    and permissions are kept. Raises OSError."""
    place, content = Path(os.path.realpath(path)), text.encode("utf-8", "backslashreplace")
    if place.exists() and not place.is_file():
        place.write_bytes(content)
        return
    # No file of the user's is in the way under such a name.
    with replacing(place, place.with_name(f"{place.name}.{os.getpid()}.tmp")) as beside:
        beside.write_bytes(content)
        if place.exists():
            shutil.copymode(place, beside)


def put_in_place(files: Mapping[Path, Path]) -> None:
    """Rename whole files, one after another. files: from each to its place, in one folder."""
    for beside in files:
        sync(beside)
    for beside, place in files.items():
        os.replace(beside, place)
    sync(place.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def is_locked(path: Path) -> bool:
    """Whether another process holds the lock of a file. It is not made if it is missing."""
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # no such file, or no locks
    return False


@contextlib.contextmanager
def locked(
    path: Path, waiting: Callable[[], None] | None = None, folder: bool = False
) -> Iterator[None]:
    """Hold the lock of a file or folder, which is made if it is missing.

    waiting: called before waiting for the process that holds it.
    Raises BlockingIOError if another process holds it and there is no `waiting`, OSError if the
    path cannot be opened or its file system has no locks.
    """
    while True:
        if folder:
            path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is None:
                    raise
                waiting()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # The process that held it may have removed the file just now.
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                yield
                return
        finally:
            os.close(descriptor)
