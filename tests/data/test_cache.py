"""The cache of decoded images: mapped, whole or not there, and never of other images."""

import hashlib
import multiprocessing
import os
import shutil
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from supervised_reptile.data import cache, class_files, decoding
from supervised_reptile.data import image_set as image_sets
from supervised_reptile.data.folders import Folder
from supervised_reptile.data.formats import Format
from supervised_reptile.system import files
from supervised_reptile.system.errors import RefusedError

SPLIT = {"train": ["c0", "c1"], "test": ["c2"]}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Classes of 3, 1 and 2 images; the pixels of an image say which it is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    for index, count in enumerate((3, 1, 2)):
        (tmp_path / "data" / f"c{index}").mkdir(parents=True)
        for number in range(count):
            pixels = np.full((4, 4), 10 * index + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / f"c{index}" / f"{number}.png")
    return tmp_path / "data"


def read(folder, split=SPLIT):
    root = Folder(folder)
    classes = {found.name: found for found in root.folders}
    return image_sets.read_folders(root, classes, split, Format(4, "L"))


@pytest.fixture
def decodings(monkeypatch):
    """How often images were decoded."""
    calls, real = [], decoding.read_classes

    def counting(*arguments):
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(decoding, "read_classes", counting)
    return calls


def check(found):
    assert found.pixels.shape == (6, 4, 4, 1)
    assert found.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 20, 21]
    assert found.counts.tolist() == [3, 1, 2]


def test_the_second_start_maps_what_the_first_decoded(folder, decodings):
    first, second = read(folder), read(folder)
    check(first)
    check(second)
    assert len(decodings) == 1 and second.digest == first.digest
    assert isinstance(second.pixels, np.memmap)
    second.pixels[:] = 77
    check(read(folder))  # The file cannot be changed through a mapping.
    assert sorted(os.listdir(folder / ".cache")) == ["4-L.lock", "4-L.pixels"]


def test_the_cache_is_no_class(folder):
    read(folder)
    assert [found.name for found in Folder(folder).folders] == ["c0", "c1", "c2"]


def test_the_digest_is_of_names_counts_and_pixels_whatever_the_split(folder):
    """Filled up with zeros, as 0.1.0 stored them, so that its runs can be resumed."""
    found = read(folder)
    pixels = np.zeros((3, 3, 4, 4, 1), np.uint8)
    for index, count in enumerate((3, 1, 2)):
        for number in range(count):
            pixels[index, number] = 10 * index + number
    expected = hashlib.sha256(b'[["c0", "c1", "c2"], [3, 1, 2]]' + pixels.tobytes()).hexdigest()
    assert found.digest == expected
    assert read(folder, {"train": ["c2"], "test": ["c0"]}).digest == expected
    classes = [pixels[0], pixels[1, :1], pixels[2, :2]]

    def digest(names, counts=(3, 1, 2)):
        return cache.digest_of(names, counts, classes)

    assert digest(["c0", "c1", "c2"]) == expected
    assert digest(["c0", "c1", "cx"]) != expected
    assert digest(["c0", "c1", "c2"], (3, 2, 2)) != expected
    classes[2][1] += 1
    assert digest(["c0", "c1", "c2"]) != expected


def test_the_digest_of_very_uneven_classes_is_that_of_their_pixels_alone():
    """Or filling them up would take longer than anything else."""
    pixels = [np.full((count, 1, 1, 1), count, np.uint8) for count in (9, 1, 1)]
    expected = hashlib.sha256(b'[["a", "b", "c"], [9, 1, 1]]' + b"\x09" * 9 + b"\x01\x01")
    assert cache.digest_of(["a", "b", "c"], (9, 1, 1), pixels) == expected.hexdigest()


def test_another_split_is_taken_from_the_same_cache(folder, decodings):
    read(folder)
    found = read(folder, {"train": ["c2"], "test": ["c0"]})
    assert len(decodings) == 1
    assert found.names == ("c2", "c0") and found.counts.tolist() == [2, 3]
    assert found.pixels[:, 0, 0, 0].tolist() == [20, 21, 0, 1, 2]
    assert found.splits == {"train": range(1), "test": range(1, 2)}


def replace_content(folder):
    path = folder / "c1" / "0.png"
    Image.fromarray(np.full((4, 4), 99, np.uint8)).save(path)


CHANGES = {
    "another image": replace_content,
    "a new image": lambda folder: shutil.copy(folder / "c0/0.png", folder / "c0/9.png"),
    "one image less": lambda folder: (folder / "c0" / "2.png").unlink(),
    "a new name": lambda folder: (folder / "c0" / "2.png").rename(folder / "c0" / "0a.png"),
    "another size": lambda folder: (folder / "c0/2.png").write_bytes(
        (folder / "c0/2.png").read_bytes() + b" "
    ),
    "another time": lambda folder: os.utime(folder / "c0" / "2.png", ns=(1, 1)),
    "a new class": lambda folder: shutil.copytree(folder / "c0", folder / "c3"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_rebuilt_when_the_folder_changed(folder, decodings, change):
    read(folder)
    CHANGES[change](folder)
    found = read(folder)
    assert len(decodings) == 2
    assert found.of_class(1)[0, 0, 0, 0] == (99 if change == "another image" else 10)
    read(folder)
    assert len(decodings) == 2


def swap(folder):
    """Give a file the size and times of another image's, as cp -p and mv do."""
    path = folder / "c1" / "0.bmp"
    status, other = path.stat(), folder.parent / "other.bmp"
    Image.fromarray(np.full((4, 4), 99, np.uint8)).save(other)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def test_an_image_of_the_same_name_size_and_time_is_noticed(folder, decodings):
    Image.open(folder / "c1" / "0.png").save(folder / "c1" / "0.bmp")
    (folder / "c1" / "0.png").unlink()
    before = read(folder)
    swap(folder)
    after = read(folder)
    assert after.of_class(1)[0, 0, 0, 0] == 99 and before.digest != after.digest


def test_a_cache_of_other_pixels_is_found(folder):
    """Whatever its footer says."""

    def classes():
        return {found.name: found for found in Folder(folder).folders}

    def stale():
        return image_sets.stale_caches(Folder(folder), classes(), Format(4, "L"))

    def key():
        return class_files.list_files(classes(), Format(4, "L"), {}).key.encode()

    assert stale() == []
    read(folder)
    assert stale() == []
    place, old = folder / ".cache" / "4-L.pixels", key()
    replace_content(folder)
    assert stale() == []  # It is of other files, so it is never used.
    content, size = place.read_bytes(), 16 * 6
    footer = content[size : -cache.END.size].replace(old, key())
    place.write_bytes(content[:size] + footer + content[-cache.END.size :])
    assert stale() == []  # nor a damaged one
    end = cache.END.pack(len(footer), zlib.crc32(footer), cache.MARK)
    place.write_bytes(content[:size] + footer + end)
    assert stale() == [place]


def flip(place):
    def damage(path):
        data = bytearray(path.read_bytes())
        data[int(place * (len(data) - 1))] ^= 1
        path.write_bytes(data)

    return damage


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def grow(path):
    path.write_bytes(path.read_bytes() + bytes(20))


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "a few bytes": lambda path: path.write_bytes(b"abc"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "another file": lambda path: path.write_bytes(b"<html>" * 100),
    "cut at the end": cut,
    "grown at the end": grow,
    "cut at the beginning": lambda path: path.write_bytes(path.read_bytes()[16:]),
    **{f"a bit at {place:.0%}": flip(place) for place in np.linspace(0, 1, 11)},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_rebuilt_and_said_to_be_damaged(folder, decodings, capsys, damage):
    read(folder)
    DAMAGES[damage](folder / ".cache" / "4-L.pixels")
    check(read(folder))
    assert len(decodings) == 2
    assert capsys.readouterr().err.count("4-L.pixels is damaged") == 1
    read(folder)
    assert len(decodings) == 2


def test_what_a_killed_run_left_is_overwritten(folder):
    (folder / ".cache").mkdir()
    (folder / ".cache" / "4-L.tmp").write_bytes(b"half")
    check(read(folder))
    assert sorted(os.listdir(folder / ".cache")) == ["4-L.lock", "4-L.pixels"]


def in_the_users_folder(tmp_path):
    return list((tmp_path / "user" / "supervised-reptile").glob("*/4-L.pixels"))


def test_it_lies_in_the_users_folder_if_the_data_folder_cannot_be_written(
    folder, tmp_path, decodings
):
    (folder / ".cache").touch()  # Works for root, whom permissions do not stop.
    check(read(folder))
    check(read(folder))
    assert len(decodings) == 1
    assert len(in_the_users_folder(tmp_path)) == 1


def test_data_folders_of_one_name_have_caches_of_their_own(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "other" / "data")
    for data in (folder, tmp_path / "other" / "data"):
        (data / ".cache").touch()
        replace_content(data)
        read(data)
    assert len(in_the_users_folder(tmp_path)) == 2


def test_a_folder_without_room_is_passed_over(folder, tmp_path, monkeypatch):
    real = shutil.disk_usage

    def usage(path):
        found = real(path)
        return found._replace(free=10) if folder in path.parents else found

    monkeypatch.setattr(shutil, "disk_usage", usage)
    check(read(folder))
    assert len(in_the_users_folder(tmp_path)) == 1


def test_if_it_can_be_written_nowhere_the_message_says_so(folder, tmp_path):
    (folder / ".cache").touch()
    (tmp_path / "user").touch()
    with pytest.raises(RefusedError, match=r"neither in .*data/\.cache .* nor in .*XDG_CACHE_HOME"):
        read(folder)


def test_a_disk_that_fills_up_leaves_nothing(folder, monkeypatch, tmp_path):
    """At the second class."""
    monkeypatch.setattr(cache.zlib, "crc32", lambda images: fail() if images[0] else 0)

    def fail():
        raise OSError(28, "No space left on device")

    with pytest.raises(RefusedError, match="No space left"):
        read(folder)
    assert not list(tmp_path.rglob("*.pixels")) and not list(tmp_path.rglob("*.tmp"))


def test_a_broken_image_leaves_no_cache(folder):
    (folder / "c2" / "1.png").write_bytes(b"")
    with pytest.raises(RefusedError, match=r"c2/1\.png cannot be read"):
        read(folder)
    assert os.listdir(folder / ".cache") == ["4-L.lock"]


def _start(folder, ready, results):
    ready.wait()
    found = read(folder)
    results.put((found.digest, found.pixels[:, 0, 0, 0].tolist()))


def test_runs_that_start_at_once_all_get_the_same(folder):
    context = multiprocessing.get_context("spawn")
    ready, results = context.Event(), context.Queue()
    processes = [context.Process(target=_start, args=(folder, ready, results)) for _ in range(3)]
    for process in processes:
        process.start()
    time.sleep(1)
    ready.set()
    found = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    assert found[0] == found[1] == found[2]
    check(read(folder))
    assert sorted(os.listdir(folder / ".cache")) == ["4-L.lock", "4-L.pixels"]


def test_only_one_of_them_decodes(folder, decodings, capsys):
    """The second waits for the lock, and then finds what the first wrote."""
    classes = {found.name: found for found in Folder(folder).folders}
    listing = class_files.list_files(classes, Format(4, "L"), {})
    place = folder / ".cache" / "4-L.pixels"
    context = multiprocessing.get_context("spawn")
    ready, results = context.Event(), context.Queue()
    ready.set()
    place.parent.mkdir()
    with files.locked(place.with_suffix(".lock")):
        process = context.Process(target=_start, args=(folder, ready, results))
        process.start()
        process.join(2)
        assert process.is_alive() and not place.exists()
        cache._write(place, listing)
        written = place.stat().st_mtime_ns
    process.join(30)
    assert results.get()[1] == [0, 1, 2, 10, 20, 21]
    assert place.stat().st_mtime_ns == written


def test_a_pipe_in_the_place_of_a_cache_is_not_waited_for(folder):
    check(read(folder))
    (place,) = (folder / ".cache").glob("*.pixels")
    place.unlink()
    os.mkfifo(place)
    check(read(folder))
    assert place.is_file()


def test_nobodys_home_is_no_folder_here(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as without HOME and a name
    assert cache._users_folder(tmp_path).is_absolute()
