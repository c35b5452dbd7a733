"""What computes: the cores that this process may use, the processor, the versions, the commit."""

import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
GIT_SECONDS = 10


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """What the processor is called."""
    try:
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    return found[1] if found else platform.processor()


def versions() -> dict:
    """Versions of what computes the results."""
    packages = ("tensorflow", "numpy", "pillow")
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in packages
    }


def commit() -> str | None:
    """The commit of the program, "-dirty" if its files were changed; None where that is unknown."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(PACKAGE), *words]
        return subprocess.check_output(
            command, stderr=subprocess.DEVNULL, text=True, timeout=GIT_SECONDS, env=own
        ).strip()

    try:
        git("ls-files", "--error-unmatch", "main.py")  # The folder may lie in another's repository.
        changed = git("status", "--porcelain", "--untracked-files=no", ".")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
