"""What `fetch_data.sh` leaves on disk: all of Omniglot, or nothing."""

import io
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import packaged
import pytest
import servers
from packaged import digest_of, files_in, write_zip
from PIL import Image

from supervised_reptile.args import Run
from supervised_reptile.data import omniglot as images
from supervised_reptile.data import provenance
from supervised_reptile.fetch import __main__ as command
from supervised_reptile.fetch import omniglot, sources
from supervised_reptile.system.errors import FailedError, RefusedError

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "omniglot"
REAL_DIGEST = omniglot.DIGEST
SMALL = {
    "images_background": ["Latin/character01", "Latin/character02"],
    "images_evaluation": ["Angelic/character01"],
}


def drawing(number, side=105):
    """A PNG file of one bit per pixel that only this number has."""
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 2, (side, side), dtype=np.uint8)
    Image.fromarray(pixels * 255).convert("1").save(file, "PNG")
    return file.getvalue()


def small_files():
    """All drawings by path, two of each character."""
    paths = [path for paths in SMALL.values() for path in paths]
    return {
        f"{path}/0001_{n:02}.png": drawing(2 * index + n)
        for index, path in enumerate(paths)
        for n in (1, 2)
    }


SMALL_COUNTS = {"ALPHABETS": 2, "CHARACTERS": 3, "DRAWINGS": 2, "DIGEST": digest_of(small_files())}
# The command with the counts of small datasets, for tests that need a process of its own.
COMMAND = f"""
import os, sys
from supervised_reptile.fetch import __main__ as command, miniimagenet, omniglot, sources
vars(omniglot).update({SMALL_COUNTS})
miniimagenet.CLASSES, miniimagenet.IMAGES = {packaged.SMALL}, 3
sources.BACK_OFF = 0.001
os._exit(command.run(sys.argv[1:]))
"""


def write_archives(folder, files):
    """Write both zip files."""
    folder.mkdir(exist_ok=True)
    for name, characters in SMALL.items():
        own = [path for path in files if path.rpartition("/")[0] in characters]
        write_zip(folder / f"{name}.zip", {f"{name}/{path}": files[path] for path in own})
    return folder


@pytest.fixture
def mirror(server, monkeypatch):
    """The server's folder with small archives, and the counts that make them complete."""
    for name, value in SMALL_COUNTS.items():
        monkeypatch.setattr(omniglot, name, value)
    return write_archives(server.folder, small_files())


@pytest.fixture
def target(tmp_path, monkeypatch):
    """Where the dataset is to be; removed afterwards, as pytest would keep its many files."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "data" / "omniglot"
    shutil.rmtree(tmp_path / "data", ignore_errors=True)


def fetch(base):
    command.fetch("omniglot", sources.read_sources({"OMNIGLOT_URL": str(base)}))


def is_complete(target):
    """Whether `target` holds the small archives' drawings and nothing lies beside it."""
    return os.listdir(target.parent) == ["omniglot"] and files_in(target) == small_files()


def outcome(process):
    """The exit status, stdout and stderr of a process that ends."""
    stdout, stderr = process.communicate(timeout=30)
    return process.returncode, stdout, stderr


def test_the_command_says_what_it_does_and_where_the_data_came_from(mirror, server, target, start):
    status, stdout, stderr = outcome(start(COMMAND, "omniglot", OMNIGLOT_URL=server.url))
    assert (status, stderr) == (0, "")
    assert stdout.splitlines() == [
        "Fetching images_background.zip ...",
        "Fetching images_evaluation.zip ...",
        "Extracting images_background.zip ...",
        "Extracting images_evaluation.zip ...",
        "data/omniglot is complete.",
    ]
    assert is_complete(target)
    assert target.stat().st_mode == target.parent.stat().st_mode
    record = provenance.read(target)
    assert record["source"] == server.url and record["digest"] == SMALL_COUNTS["DIGEST"]
    assert record["packaging"] == "archives" and len(record["date"]) == len("2026-01-31")


def test_a_complete_dataset_is_left_alone(mirror, server, target, capsys, monkeypatch):
    """But for what a fetch left that was killed at its very end. It is on the disk before it is in
    its place."""
    assert omniglot.OFFICIAL == "https://github.com/brendenlake/omniglot/raw/master/python"
    there = []
    monkeypatch.setattr(os, "sync", lambda: there.append(target.exists()))
    fetch(server.url)
    assert there == [False]
    server.requests = []
    (target.parent / ".omniglot.partial" / "images").mkdir(parents=True)
    fetch(server.url)
    assert is_complete(target) and server.requests == []
    assert "data/omniglot is complete." in capsys.readouterr().out


def test_something_else_in_its_place_is_left_alone(mirror, target):
    target.mkdir(parents=True)
    (target / "mine.txt").write_text("mine")
    with pytest.raises(FailedError, match="data/omniglot exists but is incomplete"):
        fetch(mirror)
    assert files_in(target.parent) == {"omniglot/mine.txt": b"mine"}


def test_a_link_to_where_there_is_room_is_followed(mirror, target):
    (target.parent.parent / "large disk" / "omniglot").mkdir(parents=True)
    target.parent.mkdir()
    target.symlink_to(target.parent.parent / "large disk" / "omniglot")
    fetch(mirror)
    assert target.is_symlink() and files_in(target) == small_files()
    assert os.listdir(target.parent.parent / "large disk") == ["omniglot"]


def test_what_is_missing_is_named(mirror, target):
    (mirror / "images_evaluation.zip").unlink()
    missing = rf"{mirror} is no folder with images_evaluation.zip or images_evaluation/\. Set OMNIG"
    with pytest.raises(FailedError, match=missing):
        fetch(mirror)
    assert not target.exists()


# Into the folder itself, as unzip and torchvision do, or as Windows does.
@pytest.mark.parametrize("into", [".", "{name}"])
def test_unpacked_archives(mirror, target, into):
    for name in SMALL:
        shutil.unpack_archive(mirror / f"{name}.zip", mirror / into.format(name=name))
        (mirror / f"{name}.zip").unlink()
    (mirror / "images_background" / "Thumbs.db").write_bytes(b"x")
    before = files_in(mirror)
    fetch(mirror)
    assert is_complete(target) and files_in(mirror) == before
    record = provenance.read(target)
    assert record["packaging"] == "archives, unpacked"
    assert record["digest"] == SMALL_COUNTS["DIGEST"]


IMAGE = "Angelic/character01/0001_01.png"
OTHER = {
    "a drawing is missing": ({}, r"not 2 drawings each: Angelic/character01 \(1\)"),
    "another drawing": ({IMAGE: drawing(77)}, "the drawings are not those of Omniglot"),
}


@pytest.mark.parametrize("fault", OTHER)
def test_what_is_not_omniglot_is_refused_by_name(tmp_path, mirror, target, fault):
    instead, problem = OTHER[fault]
    files = small_files()
    del files[IMAGE]
    advice = "Set OMNIGLOT_URL to another source .*a part of it .*: name its folder with --data-dir"
    with pytest.raises(FailedError, match=rf"{problem}.*{advice}\."):
        fetch(write_archives(tmp_path / "other", files | instead))
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.slow)])
def test_interrupted_fetch_is_continued(name, mirror, server, target, start):
    server.faults = [None, servers.stall]
    process = start(COMMAND, "omniglot", OMNIGLOT_URL=server.url)
    assert server.reached.wait(30)
    process.send_signal(signal.Signals[name])
    status, _, stderr = outcome(process)
    assert status == 128 + signal.Signals[name]
    assert stderr == f"fetch_data.sh: stopped by {name}\n"
    assert os.listdir(target.parent) == [".omniglot.partial"]
    server.requests = []
    fetch(server.url)
    assert is_complete(target)
    assert [path for path, _ in server.requests] == ["/images_evaluation.zip"]


def test_second_fetch_does_not_disturb_the_first(mirror, server, target, start):
    server.faults = [None, servers.stall]
    first = start(COMMAND, "omniglot", OMNIGLOT_URL=server.url)
    assert server.reached.wait(30)
    with pytest.raises(RefusedError, match=r"another fetch is at work in .*: wait until"):
        fetch(server.url)
    server.released.set()
    assert outcome(first)[0] == 0
    assert is_complete(target)


def test_disk_that_takes_no_more(mirror, server, target, start):
    write_archives(mirror, small_files() | {IMAGE: drawing(1, 800)})
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    status, _, stderr = outcome(start(limit + COMMAND, "omniglot", OMNIGLOT_URL=server.url))
    assert status == 1 and stderr.startswith("Cannot make data/omniglot: ")
    assert "File too large" in stderr and stderr.count("\n") == 1
    assert os.listdir(target.parent) == [".omniglot.partial"]
    fetch(write_archives(mirror, small_files()))
    assert is_complete(target)


def test_what_fails_is_said_in_one_line(mirror, server, target, start):
    status, _, stderr = outcome(start(COMMAND, "omniglot", OMNIGLOT_URL="ftp://example.org"))
    assert status == 2 and "OMNIGLOT_URL=ftp://example.org" in stderr and stderr.count("\n") == 1
    assert not target.parent.exists()
    (mirror / "images_background.zip").unlink()
    status, _, stderr = outcome(start(COMMAND, "omniglot", OMNIGLOT_URL=server.url))
    assert status == 1 and stderr.count("\n") == 1
    assert stderr.startswith("Cannot fetch omniglot: images_background.zip: 404 Client Error")
    assert "Set OMNIGLOT_URL to another source" in stderr


def test_verify(mirror, target, start):
    assert outcome(start(COMMAND, "verify")) == (1, "", "data/ holds no dataset.\n")
    fetch(mirror)
    status, stdout, _ = outcome(start(COMMAND, "verify"))
    assert status == 0
    assert stdout == f"data/omniglot is intact. Digest of all images: {SMALL_COUNTS['DIGEST']}\n"
    images.load(Run(data_dir="data/omniglot", train_classes=2), seed=0)
    cache = target / ".cache" / "28-L.npy"
    content = bytearray(cache.read_bytes())
    content[128] ^= 1  # the first pixel, after NumPy's header
    cache.write_bytes(content)
    with pytest.raises(FailedError, match=r"omniglot: the cache .*28-L.npy holds other pixels"):
        command.verify()
    (target / "origin.json").write_text("")
    with pytest.raises(FailedError, match=r"^data/omniglot: .*origin.json is damaged"):
        command.verify()
    (target / IMAGE).write_bytes(drawing(77))
    with pytest.raises(FailedError, match=r"^data/omniglot: the drawings are not those"):
        command.verify()


@pytest.mark.skipif(not REAL.is_dir(), reason="no real Omniglot in ../shared/data/omniglot")
@pytest.mark.slow
def test_real_archives_by_http(server, target):
    server.folder = REAL
    server.faults = [servers.cut_after(1_000_000), servers.status(503), servers.hang_up]
    fetch(server.url)
    assert digest_of(files_in(target)) == REAL_DIGEST  # of names and contents
