"""Making a dataset beside its place, so that there is a complete one or none."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from supervised_reptile.system import files
from supervised_reptile.system.errors import FailedError, UnsoundError


class BusyError(FailedError):
    """Another fetch makes the same dataset."""


def work_path(target: Path) -> Path:
    """The hidden folder beside `target` in which it is made."""
    return target.with_name(f".{target.name}.partial")


def clear(target: Path) -> None:
    """Remove what a fetch left that was killed after it had made `target` complete."""
    if work_path(target).exists():
        with work_folder(target) as work:
            shutil.rmtree(work)


@contextlib.contextmanager
def work_folder(target: Path) -> Iterator[Path]:
    """Yield the folder in which `target` is made.

    It outlives a fetch that fails or is killed, for the next one to go on, unless UnsoundError
    says that its content is wrong. Raises BusyError if another fetch is at work there.
    """
    work = work_path(target)
    with contextlib.ExitStack() as lock:
        try:
            lock.enter_context(files.locked(work, folder=True))
        except BlockingIOError:
            raise BusyError("another fetch is at work there") from None
        try:
            yield work
        except UnsoundError:
            shutil.rmtree(work)
            raise


def publish(folder: Path, target: Path) -> None:
    """Make the complete `folder`, within a work folder, the dataset `target`."""
    os.sync()  # Or a power cut could leave the names of files without their bytes.
    folder.rename(target)
    shutil.rmtree(folder.parent)
