"""What the report says on standard error about what it could not use."""

import sys

from supervised_reptile.system.output import escaped


def say(message: str) -> None:
    """Print one line."""
    print(f"report: {escaped(message)}", file=sys.stderr)
