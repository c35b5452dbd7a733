"""What the program needs before anything else can be imported.

This file has to be read by every Python 3, however old.
"""

import importlib.util
import sys

PACKAGES = {"numpy": "numpy", "PIL": "pillow", "tqdm": "tqdm", "tensorboard": "tensorboard"}
PACKAGES["tensorflow"] = "tensorflow"
OLDEST = (3, 10)


def check(program: str) -> None:
    """Exit with 2 and one line if this Python is too old or lacks packages."""
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
