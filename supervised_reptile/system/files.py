"""Files that are whole, whatever happens while they are written, and locks that end with a process.

A kill, a full disk or a power cut leaves the old file or the new one, and drops every lock.
"""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from supervised_reptile.system.output import note


def temporary(path: Path) -> Path:
    """Where a file is written before it takes its place."""
    return path.with_name(f".{path.name}.tmp")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A context that yields where to write a file, which then takes its place, or nothing does.

    Raises OSError, which names the file.
    """
    beside = temporary(path)
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
    """Write a whole file or nothing, in UTF-8. A link stays one, a pipe or device is written to,
    line breaks and permissions are kept. Raises OSError."""
    content = text.encode(errors="backslashreplace")
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    with replacing(path.resolve() if path.is_symlink() else path) as beside:
        beside.write_bytes(content)
        if path.exists():
            shutil.copymode(path, beside)


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
    except OSError as error:
        # Some file systems have no order of names that could be waited for.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.EOPNOTSUPP)):
            raise
    finally:
        os.close(number)


@contextlib.contextmanager
def locked(path: Path, waiting: str = "") -> Iterator[None]:
    """Hold the lock of a folder, or of a file, which is made if it is missing and stays.

    waiting: said on standard error before waiting for the process that holds it.
    Raises BlockingIOError if another process holds it and there is no `waiting`, OSError if the
    file cannot be opened or its file system has no locks.
    """
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waiting:
                raise
            note(waiting)
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)
