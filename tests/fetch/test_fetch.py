"""What `fetch_data.sh` leaves on disk: all of Omniglot, or nothing."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import servers
from packaged import files_in
from PIL import Image

from supervised_reptile.fetch import __main__ as command
from supervised_reptile.fetch import omniglot, sources
from supervised_reptile.system.errors import FailedError, RefusedError

ROOT = Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data" / "omniglot"
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


def digest_of(files):
    """As `sha256sum | sha256sum` gives it."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


SMALL_COUNTS = {
    "ALPHABETS": 2,
    "CHARACTERS": 3,
    "DRAWINGS": 2,
    "DIGEST": digest_of(small_files()),
}
# The program with the counts of the small archives, for tests that need a process of its own.
SMALL_PROGRAM = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from supervised_reptile.fetch import __main__ as command, omniglot, sources
vars(omniglot).update({SMALL_COUNTS})
sources.BACK_OFF = 0.001
"""


def write_archives(folder, files):
    """Write both zip files into the new folder `folder`."""
    folder.mkdir()
    for name, characters in SMALL.items():
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for path, content in files.items():
                if path.rpartition("/")[0] in characters:
                    archive.writestr(f"{name}/{path}", content)
    return folder


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder with small archives, and the counts that make them complete."""
    for name, value in SMALL_COUNTS.items():
        monkeypatch.setattr(omniglot, name, value)
    return write_archives(tmp_path / "mirror", small_files())


@pytest.fixture
def server(mirror, monkeypatch):
    """A running server of `mirror`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(sources, "BACK_OFF", 0.001)
    with servers.serving(mirror) as server:
        yield server


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


def start(folder, url, *arguments, first=""):
    """Start the program in `folder`, with the statements `first` run in it before."""
    arguments = arguments or ("omniglot",)
    return subprocess.Popen(
        [sys.executable, "-c", f"{SMALL_PROGRAM}{first}\nos._exit(command.run({arguments}))"],
        cwd=folder,
        env={**os.environ, "OMNIGLOT_URL": str(url)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder, url, *arguments, first=""):
    """Run the program in `folder`; return its exit status, stdout and stderr."""
    process = start(folder, url, *arguments, first=first)
    stdout, stderr = process.communicate(timeout=30)
    return process.returncode, stdout, stderr


def refusal(base, target):
    """Return the message with which a fetch from `base` is refused, leaving no dataset behind."""
    with pytest.raises(FailedError) as caught:
        fetch(base)
    assert not target.exists()
    return str(caught.value)


def test_the_command_says_what_it_does_and_where_the_dataset_came_from(server, target):
    status, stdout, stderr = run(server.folder.parent, server.url)
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
    record = json.loads((target / "origin.json").read_text())
    assert record["source"] == server.url and record["digest"] == SMALL_COUNTS["DIGEST"]
    assert record["packaging"] == "archives" and len(record["date"]) == len("2026-01-31")


def test_a_complete_dataset_is_left_alone(server, target, capsys):
    """But for what a fetch left that was killed at its very end."""
    assert omniglot.OFFICIAL == "https://github.com/brendenlake/omniglot/raw/master/python"
    fetch(server.url)
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
    message = refusal(mirror, target)
    expected = f"{mirror} is no folder with images_evaluation.zip or images_evaluation/. Set OMNIGL"
    assert expected in message


def unpack(folder, into="{folder}"):
    """Replace the archives in a folder by what they hold, as unzip does."""
    for name in SMALL:
        with zipfile.ZipFile(folder / f"{name}.zip") as archive:
            archive.extractall(into.format(folder=folder, name=name))
        (folder / f"{name}.zip").unlink()


# Into the folder itself, as unzip and torchvision do, or as Windows does.
@pytest.mark.parametrize("into", ["{folder}", "{folder}/{name}"])
def test_unpacked_archives(mirror, target, into):
    unpack(mirror, into)
    (mirror / "images_background" / "Thumbs.db").write_bytes(b"x")
    fetch(mirror)
    assert is_complete(target)
    record = json.loads((target / "origin.json").read_text())
    assert record["packaging"] == "archives, unpacked"
    assert record["digest"] == SMALL_COUNTS["DIGEST"]


IMAGE = "Angelic/character01/0001_01.png"
OTHER = {
    "a drawing is missing": ({IMAGE: None}, "not 2 drawings each: Angelic/character01 (1)"),
    "another drawing": ({IMAGE: drawing(77)}, "the drawings are not those of Omniglot"),
}


@pytest.mark.parametrize("fault", OTHER)
def test_what_is_not_omniglot_is_refused_by_name(tmp_path, mirror, target, fault):
    change, problem = OTHER[fault]
    changed = small_files() | change
    files = {path: content for path, content in changed.items() if content is not None}
    message = refusal(write_archives(tmp_path / "other", files), target)
    assert problem in message and "Set OMNIGLOT_URL to another source" in message
    assert "a part of it needs no fetching: name its folder with --data-dir." in message
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("name", ["SIGINT", pytest.param("SIGTERM", marks=pytest.mark.slow)])
def test_interrupted_fetch_is_continued(name, server, target):
    server.faults = [None, servers.stall]
    process = start(server.folder.parent, server.url)
    assert server.reached.wait(30)
    process.send_signal(signal.Signals[name])
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.Signals[name]
    assert stderr == f"fetch_data.sh: stopped by {name}\n"
    assert os.listdir(target.parent) == [".omniglot.partial"]
    server.requests = []
    fetch(server.url)
    assert is_complete(target)
    assert [path for path, _ in server.requests] == ["/images_evaluation.zip"]


def test_second_fetch_does_not_disturb_the_first(server, target):
    server.faults = [None, servers.stall]
    first = start(server.folder.parent, server.url)
    assert server.reached.wait(30)
    with pytest.raises(RefusedError, match=r"another fetch is at work in .*: wait until"):
        fetch(server.url)
    server.released.set()
    first.communicate(timeout=30)
    assert first.returncode == 0
    assert is_complete(target)


def test_disk_that_takes_no_more(mirror, target):
    with zipfile.ZipFile(mirror / "images_evaluation.zip", "w") as archive:
        archive.writestr("images_evaluation/Angelic/character01/0001_01.png", drawing(1, 800))
    first = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))"
    with servers.serving(mirror) as server:
        status, _, stderr = run(mirror.parent, server.url, first=first)
    assert status == 1 and stderr.startswith("Cannot make data/omniglot: ")
    assert "File too large" in stderr and stderr.count("\n") == 1
    assert os.listdir(target.parent) == [".omniglot.partial"]
    archives = write_archives(mirror.parent / "sound", small_files())
    fetch(archives)
    assert is_complete(target)


def test_what_fails_is_said_in_one_line(server, target):
    status, _, stderr = run(server.folder, "ftp://example.org")
    assert status == 2 and "OMNIGLOT_URL=ftp://example.org" in stderr and stderr.count("\n") == 1
    assert not target.parent.exists()
    (server.folder / "images_background.zip").unlink()
    status, _, stderr = run(server.folder, server.url)
    assert status == 1 and stderr.count("\n") == 1
    assert stderr.startswith("Cannot fetch omniglot: images_background.zip: 404 Client Error")
    assert "Set OMNIGLOT_URL to another source" in stderr


def test_verify(mirror, target):
    assert run(mirror.parent, mirror, "verify") == (1, "", "data/ holds no dataset.\n")
    fetch(mirror)
    status, stdout, _ = run(mirror.parent, mirror, "verify")
    assert status == 0
    assert stdout == f"data/omniglot is intact. Digest of all images: {SMALL_COUNTS['DIGEST']}\n"
    (target / "origin.json").write_text("")
    with pytest.raises(FailedError, match=r"^data/omniglot: .*origin.json is damaged"):
        command.verify()
    (target / IMAGE).write_bytes(drawing(77))
    with pytest.raises(FailedError, match=r"^data/omniglot: the drawings are not those"):
        command.verify()


REAL_DIGEST = omniglot.DIGEST


def check_real(target):
    assert len(list(target.iterdir())) == 51  # with origin.json
    assert len(list(target.glob("*/*"))) == 1623
    assert len(list(target.glob("*/*/*.png"))) == len(files_in(target)) == 32460
    assert digest_of(files_in(target)) == REAL_DIGEST


needs_real = pytest.mark.skipif(
    not REAL.is_dir(), reason="no real Omniglot in ../shared/data/omniglot"
)


@needs_real
@pytest.mark.slow
def test_real_archives_by_http(target, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(sources, "BACK_OFF", 0.001)
    with servers.serving(REAL) as server:
        server.faults = [servers.cut_after(1_000_000), servers.status(503), servers.hang_up]
        fetch(server.url)
    check_real(target)
