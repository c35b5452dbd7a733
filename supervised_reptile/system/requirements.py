"""What the program needs before anything else can be imported.

This file and the package's __init__.py have to be read by every Python from 3.7 on.
"""

import importlib.util
import os
import signal
import sys

PACKAGES = ("numpy", "PIL", "tqdm", "tensorboard", "tensorflow")  # PIL is Pillow
OLDEST = (3, 10)


def open_streams() -> None:
    """Open as /dev/null what a launcher has closed of standard input, output and error.

    Or the next file that is opened, perhaps a checkpoint, would receive what is printed.
    """
    number = 0
    while number < 2:
        number = os.open(os.devnull, os.O_RDWR)  # takes the lowest number
        os.set_inheritable(number, True)  # the processes that read images need them, too
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def check(program: str) -> None:
    """Exit with 2 and one line if this Python is too old or lacks packages.

    It also opens standard streams that are closed, before anything else can take their place.
    """
    open_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback until there is an answer
    missing = [name for name in PACKAGES if not importlib.util.find_spec(name)]
    problem = sys.executable + " lacks the packages " + ", ".join(missing) if missing else ""
    if sys.version_info < OLDEST:
        problem = "needs Python 3.10 to 3.13, but this is {}.{}".format(*sys.version_info)
    if problem:
        remedy = ": run 'make venv', then 'source .venv/bin/activate'"
        print(program + ": error: " + problem + remedy, file=sys.stderr)
        sys.exit(2)
