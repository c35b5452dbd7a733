"""Errors, and their one line for the person at the shell."""

import errno
import re

from supervised_reptile.system.output import escaped

# Of the system, whatever path was asked for.
EXHAUSTED = (errno.ENFILE, errno.EMFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSYS)
LIMITS = "close other programs, or raise the limits (ulimit -a; of a container, /dev/shm, too)"
ADVICE = {errno.ENOSPC: "make room", errno.EDQUOT: "make room", errno.EPIPE: "its reader has ended"}
MEMORY = r"out[ _]of[ _]memory|RESOURCE_EXHAUSTED|bad_alloc|\bOOM\b|allocate"


class RefusedError(Exception):
    """A flag or the data is wrong before any work started: exit status 2.

    The message is one line, escaped: which flag or file, what is wrong with it, what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(escaped(message))


class DamagedError(RefusedError):
    """A checkpoint is not what was written, or not all of it."""


class FailedError(Exception):
    """Something went wrong after work had started: exit status 1. The message is one line."""


class LostError(FailedError):
    """Another process of a run that several share has ended."""


class UnsoundError(FailedError):
    """Fetched data is not as it should be: nothing of it may be used."""


def is_exhausted(error: BaseException) -> bool:
    """Whether the system lacks memory, handles or processes, whatever file it happened at."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in EXHAUSTED


def explain(failure: BaseException) -> str:
    """One line: how disk, memory or system failed, and what to do where that is known."""
    if isinstance(failure, OSError) and failure.strerror:
        if is_exhausted(failure):
            return f"{failure.strerror}: {LIMITS}"
        name = f"{failure.filename}: " if failure.filename else ""
        advice = ADVICE.get(failure.errno or 0, "check the path" if name else "")
        return f"{name}{failure.strerror}; {advice}".rstrip("; ")
    line = (str(failure) or repr(failure)).splitlines()[0]
    if isinstance(failure, MemoryError) or re.search(MEMORY, str(failure), re.IGNORECASE):
        return f"out of memory ({line}): use smaller batches, or a machine with more memory"
    return line
