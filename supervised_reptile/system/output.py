"""What is printed: lists that stay short, standard output, whose failures are told as its own, and
standard error, whose failures do not matter."""

import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

STANDARD_OUTPUT = "standard output"


def some(items: Sequence[object], number: int = 5) -> str:
    """The first few of many, for a message."""
    more = f" and {len(items) - number:,} more" if len(items) > number else ""
    return ", ".join(str(item) for item in items[:number]) + more


def escaped(text: str) -> str:
    """A text with escapes for line breaks and whatever else cannot be printed: names of files may
    hold it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def say(text: str, end: str = "\n") -> None:
    """Print text at once. Raises OSError, with standard output as its file name."""
    try:
        print(_printable(text), end=end, flush=True)
    except OSError as error:
        # Or Python would complain once more, when it flushes what was not written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OSError(error.errno, error.strerror, STANDARD_OUTPUT) from None


def _printable(text: str) -> str:
    """The text, with escapes for what standard output's encoding lacks, as names of files may."""
    try:
        text.encode(sys.stdout.encoding, sys.stdout.errors or "strict")
    except UnicodeEncodeError:
        return text.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding)
    return text


class Remarks:
    """Standard error whose failures do not matter: a full disk of logs loses no result."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text, or from the first failure on nothing."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
