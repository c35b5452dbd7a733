"""The cache of decoded images: mapped, whole or not there, and never of other images."""

import concurrent.futures
import hashlib
import os
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from supervised_reptile.data import cache
from supervised_reptile.data import image_set as image_sets
from supervised_reptile.data.decoding import Format
from supervised_reptile.data.folders import Folder
from supervised_reptile.system import files

pytestmark = pytest.mark.usefixtures("in_this_process")


def classes(folder):
    return {found.name: found for found in Folder(folder).folders}


@pytest.fixture
def decodings(monkeypatch):
    """How often images were decoded."""
    calls, real = [], cache.ClassFiles.decode

    def counting(listing):
        calls.append(listing)
        return real(listing)

    monkeypatch.setattr(cache.ClassFiles, "decode", counting)
    return calls


def check(found):
    assert found.pixels.shape == (6, 4, 4, 1)
    assert found.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 20, 21]
    assert found.counts.tolist() == [3, 1, 2]


def test_the_second_start_maps_what_the_first_decoded(folder, read, decodings):
    first, second = read(), read()
    check(first)
    check(second)
    assert len(decodings) == 1 and second.digest == first.digest
    assert isinstance(second.pixels, np.memmap)
    second.pixels[:] = 77
    check(read())  # The file cannot be changed through a mapping.
    assert sorted(os.listdir(folder / ".cache")) == ["4-L.lock", "4-L.npy"]


def test_the_digest_is_of_names_counts_and_pixels_whatever_the_split(read, decodings):
    """Filled up with zeros, as the records of runs have it."""
    found = read()
    pixels = np.zeros((3, 3, 4, 4, 1), np.uint8)
    for index, count in enumerate((3, 1, 2)):
        for number in range(count):
            pixels[index, number] = 10 * index + number
    expected = hashlib.sha256(b'[["c0", "c1", "c2"], [3, 1, 2]]' + pixels.tobytes()).hexdigest()
    assert found.digest == expected
    other = read({"train": ["c2"], "test": ["c0"]})
    assert (other.digest, other.names, len(decodings)) == (expected, ("c2", "c0"), 1)
    assert other.pixels[:, 0, 0, 0].tolist() == [20, 21, 0, 1, 2]

    def digest(names, counts=(3, 1, 2)):
        return cache.digest_of(names, np.array(counts), found.pixels)

    assert digest(["c0", "c1", "c2"]) == expected
    assert digest(["c0", "c1", "cx"]) != expected
    assert digest(["c0", "c1", "c2"], (3, 2, 1)) != expected
    found.pixels[5] += 1
    assert digest(["c0", "c1", "c2"]) != expected


def test_the_digest_of_very_uneven_classes_is_that_of_their_pixels_alone():
    """Or filling them up would take longer than anything else."""
    counts = np.array([9, 1, 1])
    pixels = np.repeat(counts, counts).astype(np.uint8).reshape(-1, 1, 1, 1)
    expected = hashlib.sha256(b'[["a", "b", "c"], [9, 1, 1]]' + b"\x09" * 9 + b"\x01\x01")
    assert cache.digest_of(["a", "b", "c"], counts, pixels) == expected.hexdigest()


def replace_content(folder):
    path = folder / "c1" / "0.png"
    Image.fromarray(np.full((4, 4), 99, np.uint8)).save(path)


def swap(path):
    """Give an image's name, size and time to another, as cp -p and mv do."""
    status, other = path.stat(), path.with_name("other.tmp")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


CHANGES = {
    "another image": replace_content,
    "a new image": lambda folder: shutil.copy(folder / "c0/0.png", folder / "c0/9.png"),
    "one image less": lambda folder: (folder / "c0" / "2.png").unlink(),
    "another time": lambda folder: os.utime(folder / "c0" / "2.png", ns=(1, 1)),
    "an image of the same size and time": lambda folder: swap(folder / "c1" / "0.png"),
    "a new class": lambda folder: shutil.copytree(folder / "c0", folder / "c3"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_rebuilt_when_the_folder_changed(folder, read, decodings, change):
    read()
    CHANGES[change](folder)
    found = read()
    assert len(decodings) == 2
    assert found.of_class(1)[0, 0, 0, 0] == (99 if change == "another image" else 10)
    read()
    assert len(decodings) == 2


def test_it_is_of_one_way_to_read_and_one_version_of_pillow(folder, monkeypatch):
    """The same files, read as a viewer shows them or as the paper's."""

    def key(source):
        return cache.list_files(classes(folder), Format(4, "L"), source).key

    keys = [key({}), key({"digest": "12ab"})]
    monkeypatch.setattr(cache.PIL, "__version__", "1.0")
    assert key({}) not in keys and keys[0] != keys[1]


def test_a_cache_of_other_pixels_is_found(folder, read):
    def stale():
        return image_sets.stale_cache(Folder(folder), classes(folder), Format(4, "L"))

    assert stale() is None
    read()
    assert stale() is None
    place = folder / ".cache" / "4-L.npy"
    content = bytearray(place.read_bytes())
    content[128] ^= 1  # the first pixel, after NumPy's header
    place.write_bytes(content)
    assert stale() == place
    replace_content(folder)
    assert stale() is None  # It is of other files, so it is never used.


DAMAGES = {
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "cut within the header": lambda content: content[:50],
    "cut at the end": lambda content: content[:-20],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_one_that_is_not_whole_is_made_anew(folder, read, decodings, damage):
    read()
    place = folder / ".cache" / "4-L.npy"
    place.write_bytes(DAMAGES[damage](place.read_bytes()))
    check(read())
    assert len(decodings) == 2
    read()
    assert len(decodings) == 2


def test_what_a_killed_run_left_is_overwritten(folder, read):
    (folder / ".cache").mkdir()
    (folder / ".cache" / ".4-L.npy.tmp").write_bytes(b"half")
    check(read())
    assert sorted(os.listdir(folder / ".cache")) == ["4-L.lock", "4-L.npy"]


def test_where_it_cannot_be_written_each_start_decodes(folder, read, decodings, capsys):
    (folder / ".cache").touch()  # Works for root, whom permissions do not stop.
    check(read())
    check(read())
    assert len(decodings) == 2
    assert capsys.readouterr().err.count("each start decodes them again") == 2


def test_a_disk_that_fills_up_leaves_nothing(folder, read, monkeypatch, capsys):
    real = np.save

    def fail(file, array):
        real(file, array)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", fail)
    check(read())
    assert os.listdir(folder / ".cache") == ["4-L.lock"]
    assert "cannot be kept in" in (err := capsys.readouterr().err) and "No space left" in err


def test_a_run_that_starts_while_another_writes_waits_for_its_cache(folder, read, decodings, capfd):
    listing = cache.list_files(classes(folder), Format(4, "L"), {})
    place = cache.place_of(folder, listing)
    place.parent.mkdir()
    with (
        concurrent.futures.ThreadPoolExecutor() as threads,
        files.locked(place.with_suffix(".lock")),
    ):
        waiting = threads.submit(read)
        while "Waiting for another run that writes" not in capfd.readouterr().err:
            assert not waiting.done()
            time.sleep(0.01)
        pixels = np.array([0, 1, 2, 10, 20, 21], np.uint8).repeat(16).reshape(-1, 4, 4, 1)
        with open(place, "wb") as file:
            np.save(file, pixels)
            np.save(file, [listing.key, "1234"])
            np.save(file, cache.hashes_of(pixels))
    check(waiting.result())
    assert waiting.result().digest == "1234" and decodings == []
