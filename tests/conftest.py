"""Small data that many tests share."""

import os
import pathlib
import shutil
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the tests are of what a CPU computes
os.environ.setdefault(
    "HYPOTHESIS_STORAGE_DIRECTORY",
    str(pathlib.Path(__file__).parents[1] / ".pytest_cache" / "hypothesis"),
)

import numpy as np
import pytest

from supervised_reptile.data import image_set as image_sets
from supervised_reptile.fetch import __main__ as command
from supervised_reptile.fetch import sources
from supervised_reptile.system import signals

# As in a shell, where the tests run in the background too: a program there ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores


@pytest.fixture(scope="session")
def image_set():
    """A function that makes an ImageSet of random pixels."""

    def make(classes, shots, size=28, channels=1):
        """classes: number of classes by split. shots: images per class."""
        total = sum(classes.values())
        pixels = np.random.default_rng(0).integers(
            0, 256, (total * shots, size, size, channels), dtype=np.uint8
        )
        return image_sets.ImageSet(
            pixels=pixels,
            names=tuple(f"class{index}" for index in range(total)),
            counts=np.full(total, shots),
            splits=image_sets.ranges({split: range(n) for split, n in classes.items()}),
        )

    return make


@pytest.fixture
def fetch_mini(tmp_path, monkeypatch):
    """A function that fetches with the given settings and returns what is there afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(sources, "BACK_OFF", 0.001)

    def fetch(**settings):
        command.fetch("miniimagenet", sources.read_sources(settings))
        return tmp_path / "data" / "miniimagenet"

    yield fetch
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def handlers():
    """Puts the signal handlers back that a command in this process has set."""
    previous = {number: signal.getsignal(number) for number in signals.SIGNALS}
    yield
    if (pipe := signal.set_wakeup_fd(-1)) != -1:
        os.close(pipe)
    for number, handler in previous.items():
        signal.signal(number, handler)
