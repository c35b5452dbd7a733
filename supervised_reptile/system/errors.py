"""What the program tells the person at the shell when it has to stop."""

import errno

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)


class RefusedError(Exception):
    """A flag or the data is wrong before any work started: exit status 2.

    The message is one line: which flag or file, what is wrong with it, what to do. Line breaks and
    whatever else cannot be printed, as names of files may hold it, are escaped.
    """

    def __init__(self, message: str) -> None:
        escaped = (c if c.isprintable() else repr(c)[1:-1] for c in message)
        super().__init__("".join(escaped))


class DamagedError(RefusedError):
    """A checkpoint is not what was written, or not all of it."""


class FailedError(Exception):
    """Something went wrong after work had started: exit status 1. The message is one line."""


class UnsoundError(FailedError):
    """What was fetched is not what it should be: nothing of it may be used."""


def is_exhausted(error: BaseException) -> bool:
    """Whether the system lacks memory, handles or processes, whatever file it happened at."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in EXHAUSTED
