"""Text for people: lists that stay short, escapes, standard output."""

import os
import sys
from collections.abc import Sequence


def some(items: Sequence[object], number: int = 5) -> str:
    """The first few of many, for a message."""
    more = f" and {len(items) - number:,} more" if len(items) > number else ""
    return ", ".join(str(item) for item in items[:number]) + more


def escaped(text: str) -> str:
    """A text with escapes for line breaks and whatever else cannot be printed: names of files may
    hold it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def note(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr)


def say(text: str, end: str = "\n") -> None:
    """Print text at once, with escapes for what standard output's encoding lacks.

    Raises OSError, with standard output as its file name.
    """
    encoding = sys.stdout.encoding or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), end=end, flush=True)
    except OSError as error:
        # Or Python would complain once more, when it flushes what was not written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OSError(error.errno, error.strerror, "standard output") from None
