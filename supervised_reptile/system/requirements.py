"""The check of the requirements, before anything else is imported.

This file and the package's __init__.py have to be read by every Python from 3.7 on.
"""

import importlib.util
import signal
import sys

PACKAGES = ("numpy", "PIL", "tqdm", "tensorboard", "tensorflow")  # PIL is Pillow
OLDEST = (3, 10)


def check(program: str, packages: tuple = PACKAGES) -> None:
    """Exit with 2 and one line if this Python is too old or lacks packages, or if a standard stream
    is closed: the next file that is opened, perhaps a checkpoint, would take its place."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback until there is an answer
    missing = [name for name in packages if not importlib.util.find_spec(name)]
    remedy = "run 'make venv', then 'source .venv/bin/activate'"
    problem = sys.executable + " lacks the packages " + ", ".join(missing) if missing else ""
    if sys.version_info < OLDEST:
        problem = "needs Python 3.10 to 3.13, but this is {}.{}".format(*sys.version_info)
    if None in (sys.stdin, sys.stdout, sys.stderr):
        problem, remedy = "standard input, output or error is closed", "open it, to /dev/null"
    if problem:
        print(program + ": error: " + problem + ": " + remedy, file=sys.stderr)
        sys.exit(2)
