"""The machine and the installation: cores, processor, versions, commit, commands, imports."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def cores() -> int:
    """How many cores this process may use."""
    own = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(own(0)) if own else os.cpu_count() or 1


def processor() -> str:
    """The name of the processor."""
    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    found = re.search(r"^model name\s*: (.*)$", text, re.M)
    return found[1] if found else platform.processor()


@functools.cache
def versions() -> dict:
    """Versions of Python and of the packages that compute the results, at the first call."""
    packages = ("tensorflow", "numpy", "pillow")
    found = {name: importlib.metadata.version(name) for name in packages}
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


def fetch_command() -> str:
    """The command that fetches the data: a checkout's script, or that of an installed package."""
    script = PACKAGE.with_name("fetch_data.sh")
    return "./fetch_data.sh" if script.exists() else "fetch-reptile-data"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """A context in which to import TensorFlow, without what its C++ code writes meanwhile.

    TF_CPP_MIN_LOG_LEVEL silences only what comes later. Whoever sets it sees everything.
    """
    sys.stderr.flush()
    screen = os.dup(2)
    if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(screen, 2)
        os.close(screen)
