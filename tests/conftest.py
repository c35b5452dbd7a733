"""Small data that many tests share."""

import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the tests are of what a CPU computes
# What is compiled in a third of the time. With XLA_FLAGS= it compiles as in real runs.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)
os.environ.setdefault(
    "HYPOTHESIS_STORAGE_DIRECTORY",
    str(pathlib.Path(__file__).parents[1] / ".pytest_cache" / "hypothesis"),
)
if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 2e9:
    # In memory: some disks take minutes for so many small files.
    os.environ.setdefault("TMPDIR", "/dev/shm")
    tempfile.tempdir = None

import numpy as np
import pytest
from PIL import Image

from supervised_reptile import main
from supervised_reptile.data import image_set as image_sets
from supervised_reptile.data import omniglot
from supervised_reptile.fetch import __main__ as command
from supervised_reptile.fetch import sources
from supervised_reptile.system import signals

# As in a shell, where the tests run in the background too: a program there ignores Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores

TOP = pathlib.Path(__file__).parents[1]
LONGEST = ("test_resume", "test_main", "test_golden", "test_reptile", "test_distribute")


def pytest_collection_modifyitems(items):
    """Long files first, so that no process waits for another one at the end."""
    items.sort(key=lambda item: item.path.stem not in LONGEST)


@pytest.fixture(scope="session")
def start():
    """A function that starts a script in another folder, and passes on XLA_FLAGS alone.

    variables: others of its environment. Its options are those of subprocess.Popen.
    """

    def begin(dataset, line, folder, variables=None, **options):
        own = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "CUDA_VISIBLE_DEVICES": "-1"}
        own |= {"XLA_FLAGS": os.environ["XLA_FLAGS"], **(variables or {})}
        words = [sys.executable, TOP / f"run_{dataset}.py", *line.split()]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(words, **{**pipes, "cwd": folder, "env": own, **options})

    return begin


@pytest.fixture(scope="session")
def save_image():
    """A function that writes an image into a folder, which it makes."""

    def save(path, pixels):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(pixels, np.uint8)).save(path)

    return save


@pytest.fixture(scope="session")
def few_images(tmp_path_factory, save_image):
    """The flags for images that are read in a moment, by dataset: 6 classes of 4 in each set."""
    flags = {}
    for dataset, sets, shape in (
        ("omniglot", ("Greek", "Latin"), (28, 28)),
        ("miniimagenet", ("train", "val", "test"), (84, 84, 3)),
    ):
        folder = tmp_path_factory.mktemp(dataset)
        generator = np.random.default_rng(0)
        for name, index, number in itertools.product(sets, range(6), range(4)):
            path = folder / name / f"{name}{index}" / f"{number}.png"
            save_image(path, generator.integers(0, 256, shape, np.uint8))
        flags[dataset] = f"--data-dir {folder}"
    flags["omniglot"] += " --train-classes 6"
    return flags


@pytest.fixture(scope="session")
def image_set():
    """A function that makes an ImageSet of random pixels."""

    def make(classes, shots, size=28, channels=1):
        """classes: number of classes by split. shots: images per class."""
        total = sum(classes.values())
        shape = (total * shots, size, size, channels)
        return image_sets.ImageSet(
            pixels=np.random.default_rng(0).integers(0, 256, shape, np.uint8),
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


@pytest.fixture
def refusal(tmp_path, monkeypatch, capsys, handlers):
    """A function that runs Omniglot's script in this process and returns why it refuses to."""
    monkeypatch.chdir(tmp_path)

    def run(line):
        with pytest.raises(SystemExit) as caught:
            main.main(omniglot.OMNIGLOT, line.split())
        out, err = capsys.readouterr()
        assert (caught.value.code, out, err.count("\n")) == (2, "", 1)
        return err

    return run
