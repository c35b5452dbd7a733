"""Whatever is killed at whatever moment, the next run ends whole and verified.

`make soak` kills more often than the tests do.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import packaged
import pytest
import servers
import test_fetch
from PIL import Image

from supervised_reptile.data import cache, provenance
from supervised_reptile.data.decoding import Format
from supervised_reptile.data.folders import Folder


def few_or_many(many):
    """A test that kills twice, or with `make soak` many times."""
    return pytest.mark.parametrize("kills", [2, pytest.param(many, marks=pytest.mark.soak)])


slow = pytest.mark.slow


FETCH = f"""
import os, sys
sys.path.insert(0, {str(test_fetch.ROOT)!r})
from supervised_reptile.fetch import __main__ as command, miniimagenet, omniglot
vars(omniglot).update({test_fetch.SMALL_COUNTS})
miniimagenet.CLASSES, miniimagenet.IMAGES = {packaged.SMALL}, 3
os._exit(command.run(sys.argv[1:]))
"""
READ = """
import sys
from supervised_reptile.data import image_set as image_sets
from supervised_reptile.data.folders import Folder
from supervised_reptile.data.decoding import Format
root = Folder(sys.argv[1])
folders = {found.name: found for found in root.folders}
found = image_sets.read_folders(root, folders, {"train": list(folders)}, Format(28, "RGB"))
print(found.digest)
"""


@pytest.fixture
def start(tmp_path):
    """A function that starts a Python program; what it leaves running is an error."""
    started = []

    def start(program, *arguments, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(test_fetch.ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process.pid)
        return process

    yield start
    deadline = time.monotonic() + 10
    while any(is_alive(group) for group in started) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [group for group in started if is_alive(group)]


def is_alive(group):
    """Whether any process of a group is left, such as one that reads images."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def finish(process):
    """Wait for a process that is to succeed; return what it printed and the seconds it took."""
    begin = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out, time.monotonic() - begin


def kill_after(process, seconds):
    """Kill a process after so long; return whether it was still at work."""
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)  # in vain if another process still has its output open
    return process.returncode == -signal.SIGKILL


FETCHES = {
    "archives": ("omniglot", "OMNIGLOT_URL", "/omniglot"),
    "zip": ("miniimagenet", "MINIIMAGENET_ARCHIVE", "/mini.zip"),
    "pickles": ("miniimagenet", "MINIIMAGENET_ARCHIVE", "/pickles/"),
}


@pytest.fixture
def server(tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    files = packaged.small_files()
    test_fetch.write_archives(served / "omniglot", test_fetch.small_files())
    packaged.write_zip(served / "mini.zip", files)
    packaged.write_tree(
        served / "pickles",
        packaged.pickled(files, ("train", "validation", "test")),
    )
    with servers.serving(served) as server:
        yield server


@few_or_many(25)
@pytest.mark.parametrize(
    "form", ["archives", pytest.param("zip", marks=slow), pytest.param("pickles", marks=slow)]
)
def test_a_killed_fetch_leaves_nothing_and_is_continued(form, kills, server, start, tmp_path):
    dataset, setting, path = FETCHES[form]
    environment = {setting: server.url + path, "no_proxy": "127.0.0.1"}
    target = tmp_path / "data" / dataset
    server.always = servers.trickle
    _, whole = finish(start(FETCH, dataset, **environment))
    expected, chance, killed, done = packaged.files_in(target), random.Random(form), 0, 0
    while killed < kills:
        shutil.rmtree(tmp_path / "data")
        # A fetch that was killed is killed again as it goes on, up to three times.
        for _ in range(3):
            process = start(FETCH, dataset, **environment)
            if not kill_after(process, chance.uniform(0, whole)):
                done += 1
                break
            killed += 1
            if target.exists():
                assert packaged.files_in(target) == expected and provenance.read(target)["digest"]
        finish(start(FETCH, dataset, **environment))
        assert packaged.files_in(target) == expected
        assert os.listdir(target.parent) == [dataset]
    finish(start(FETCH, "verify", **environment))
    print(f"{form}: {killed} kills, {done} were done before")


@slow
@few_or_many(55)
def test_a_killed_reading_leaves_no_cache_that_is_not_whole(kills, start, tmp_path):
    data = tmp_path / "data"
    for index in range(6):
        (data / f"c{index}").mkdir(parents=True)
        for number in range(100):
            pixels = np.random.default_rng([index, number]).integers(0, 256, (60, 60, 3), np.uint8)
            Image.fromarray(pixels).save(data / f"c{index}" / f"{number}.png")
    digest, whole = finish(start(READ, data))
    classes = {found.name: found for found in Folder(data).folders}
    listing = cache.list_files(classes, Format(28, "RGB"), {})
    place = data / ".cache" / "28-RGB.npy"
    chance, killed, left = random.Random(0), 0, 0
    while killed < kills:
        place.unlink(missing_ok=True)
        killed += kill_after(start(READ, data), chance.uniform(0, whole))
        left += (data / ".cache" / ".28-RGB.npy.tmp").exists()
        if place.exists():
            assert cache.read(place, listing)[1] == digest.strip()
        assert finish(start(READ, data))[0] == digest
        assert sorted(os.listdir(data / ".cache")) == ["28-RGB.lock", "28-RGB.npy"]
    print(f"cache: {killed} kills, {left} of them while it was written")
