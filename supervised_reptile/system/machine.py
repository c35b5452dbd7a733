"""The machine and the installation: cores, versions, commit."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def cores() -> int:
    """How many cores this process may use."""
    own = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(own(0)) if own else os.cpu_count() or 1


@functools.cache
def versions() -> dict:
    """Versions of Python and of the packages that compute the results, at the first call."""
    found = {name: importlib.metadata.version(name) for name in ("tensorflow", "numpy", "pillow")}
    return {"python": platform.python_version(), **found}


@functools.cache
def commit() -> str | None:
    """The commit of the program at the first call, "-dirty" if its files were changed; None where
    that is unknown."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words: str) -> str:
        # Or git says nothing of a checkout that another user owns, as in a container.
        trusted = ("-c", "safe.directory=*")
        command = ["git", "--no-optional-locks", *trusted, "-C", str(PACKAGE), *words]
        return subprocess.check_output(
            command, stderr=subprocess.DEVNULL, text=True, timeout=10, env=own
        ).strip()

    try:
        git("ls-files", "--error-unmatch", "main.py")  # The folder may lie in another's repository.
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
