"""What the program tells the person at the shell when it has to stop."""

import errno
import os
import re
import traceback

from supervised_reptile.system.output import escaped

MEMORY = (
    "give it a machine or GPU with more free memory; a smaller --eval-batch or --inner-batch, or "
    "with --parallel-tasks --meta-batch, takes less, but is another run"
)
# What fails whatever path is asked for.
OF_THE_SYSTEM = {
    errno.ENFILE: "close other programs, or raise the limit of the system",
    errno.EMFILE: "raise the limit with ulimit -n",  # its words begin those of the one before
    errno.ENOSYS: "this system lacks what is needed; inside a container, check /dev/shm",
    errno.EAGAIN: "close other programs, or raise the limit of processes with ulimit -u",
    errno.ENOMEM: MEMORY,
}
OF_A_FILE = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "raise the limit of file sizes with ulimit -f",
    errno.EPIPE: "what reads it has ended",
    errno.EIO: "its disk or terminal has failed",
}


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
    """What was fetched is not what it should be: nothing of it may be used."""


def is_exhausted(error: BaseException) -> bool:
    """Whether the system lacks memory, handles or processes, whatever file it happened at."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in OF_THE_SYSTEM


def explain(failure: BaseException) -> str:
    """What disk, memory or system failed at, and what to do where that is known, in one line."""
    if isinstance(failure, OSError) and failure.strerror:
        return _explain_number(failure, failure.strerror)
    line = (str(failure) or repr(failure)).splitlines()[0]
    return f"out of memory ({line}): {MEMORY}" if _is_of_memory(failure) else line


def _explain_number(failure: OSError, reason: str) -> str:
    if advice := OF_THE_SYSTEM.get(failure.errno or 0):
        return f"{reason}: {advice}"
    advice = OF_A_FILE.get(failure.errno or 0)
    if failure.filename is None:
        return f"{reason}; {advice}" if advice else reason
    return f"{failure.filename}: {reason}; {advice or 'check the path'}"


def _is_of_memory(failure: BaseException) -> bool:
    text = str(failure)
    # TensorFlow has one error for memory and for other things that are exhausted.
    other = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
    if type(failure).__name__ == "ResourceExhaustedError":
        return not any(os.strerror(number) in text for number in other)
    told = re.search(r"out[ _]of[ _]memory|RESOURCE_EXHAUSTED|bad_alloc", text, re.IGNORECASE)
    return isinstance(failure, MemoryError) or bool(told)


def of_the_system(failure: Exception) -> OSError | None:
    """The OSError that TensorFlow has put into words, if it is one that no file is to blame for."""
    for number in OF_THE_SYSTEM:
        if os.strerror(number) in str(failure):
            return OSError(number, os.strerror(number))
    return None


def show_traceback(failure: BaseException | None) -> None:
    """Print a failure's traceback on standard error, with all that it came from."""
    cause = failure
    while cause:
        cause.__suppress_context__ = False  # `from None` keeps it short for those who only use it
        cause = cause.__context__
    traceback.print_exception(failure)
