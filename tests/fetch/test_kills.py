"""Whatever is killed at whatever moment, the next run ends whole and verified.

`make soak` kills more often than the tests do.
"""

import functools
import os
import random
import shutil
import signal
import time

import packaged
import pytest
import servers
from test_fetch import COMMAND, small_files, write_archives

from supervised_reptile.data import cache, provenance
from supervised_reptile.data.decoding import Format
from supervised_reptile.data.folders import Folder


def few_or_many(many):
    """A test that kills twice, or with `make soak` many times."""
    return pytest.mark.parametrize("kills", [2, pytest.param(many, marks=pytest.mark.soak)])


slow = pytest.mark.slow
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


@few_or_many(25)
@pytest.mark.parametrize(
    "form", ["archives", pytest.param("zip", marks=slow), pytest.param("pickles", marks=slow)]
)
def test_a_killed_fetch_leaves_nothing_and_is_continued(form, kills, server, start, tmp_path):
    small = packaged.small_files()
    write_archives(server.folder / "omniglot", small_files())
    packaged.write_zip(server.folder / "mini.zip", small)
    packaged.write_tree(server.folder / "pickles", packaged.of_zenodo(small))
    dataset, setting, path = FETCHES[form]
    fetch = functools.partial(start, COMMAND, dataset, **{setting: server.url + path})
    target = tmp_path / "data" / dataset
    server.always = servers.trickle
    _, whole = finish(fetch())
    expected, chance, killed = packaged.files_in(target), random.Random(form), 0
    while killed < kills:
        shutil.rmtree(tmp_path / "data")
        # A fetch that was killed is killed again as it goes on, up to three times.
        for _ in range(3):
            if not kill_after(fetch(), chance.uniform(0, whole)):
                break
            killed += 1
            if target.exists():
                assert packaged.files_in(target) == expected and provenance.read(target)["digest"]
        finish(fetch())
        assert packaged.files_in(target) == expected
        assert os.listdir(target.parent) == [dataset]
    finish(start(COMMAND, "verify"))


@slow
@few_or_many(55)
def test_a_killed_reading_leaves_no_cache_that_is_not_whole(kills, start, tmp_path):
    files = {f"c{n % 6}/{n}.jpg": packaged.jpeg(n % 256) for n in range(600)}
    data = packaged.write_tree(tmp_path / "data", files)
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
