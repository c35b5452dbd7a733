"""What the program needs before anything else can be imported.

This file has to be read by every Python 3, however old.
"""

import importlib.util
import os
import signal
import sys

PACKAGES = {"numpy": "numpy", "PIL": "pillow", "tqdm": "tqdm", "tensorboard": "tensorboard"}
PACKAGES["tensorflow"] = "tensorflow"
OLDEST = (3, 10)


def open_streams() -> None:
    """Open as /dev/null what a launcher has closed of standard input, output and error.

    Or the next file that is opened, perhaps a checkpoint, would receive what is printed.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest number
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def check(program: str) -> None:
    """Exit with 2 and one line if this Python is too old or lacks packages.

    It also opens standard streams that are closed, before anything else can take their place.
    """
    open_streams()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # no traceback until there is an answer
    environment = "run 'make venv', then 'source .venv/bin/activate'"
    if sys.version_info < OLDEST:
        here = "{}.{}".format(*sys.version_info)
        _refuse(program, "needs Python 3.10 to 3.13, but this is " + here + ": " + environment)
    missing = [name for module, name in PACKAGES.items() if not importlib.util.find_spec(module)]
    if missing:
        packages = ", ".join(missing)
        _refuse(program, sys.executable + " lacks the packages " + packages + ": " + environment)


def _refuse(program: str, message: str) -> None:
    print(program + ": error: " + message, file=sys.stderr)
    sys.exit(2)
