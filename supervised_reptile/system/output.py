"""Standard output, whose failures are told as its own."""

import os
import sys

STANDARD_OUTPUT = "standard output"


def say(text: str, end: str = "\n") -> None:
    """Print text at once. Raises OSError, with standard output as its file name."""
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        # Or Python would complain once more, when it flushes what was not written.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OSError(error.errno, error.strerror, STANDARD_OUTPUT) from None
