"""What the report says on standard error about what it could not use."""

import sys


def say(message: str) -> None:
    """Print one line. Line breaks and what else cannot be printed, as names may hold it, are
    escaped."""
    escaped = "".join(c if c.isprintable() else repr(c)[1:-1] for c in message)
    print(f"report: {escaped}", file=sys.stderr)
