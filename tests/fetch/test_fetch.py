"""What `fetch_data.sh` leaves on disk: all of Omniglot, or nothing."""

import fcntl
import hashlib
import io
import json
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import servers
from PIL import Image

from supervised_reptile.data import image_set, provenance
from supervised_reptile.data.cache import ClassFiles
from supervised_reptile.data.folders import Folder
from supervised_reptile.data.formats import CHARACTERS
from supervised_reptile.data.omniglot import find_characters
from supervised_reptile.fetch import __main__ as command
from supervised_reptile.fetch import checks, download, omniglot
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
from supervised_reptile.fetch import __main__ as command, download, omniglot
vars(omniglot).update({SMALL_COUNTS})
download.BACK_OFF = 0.001
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
    monkeypatch.setattr(download, "BACK_OFF", 0.001)
    with servers.serving(mirror) as server:
        yield server


@pytest.fixture
def target(tmp_path, monkeypatch):
    """Where the dataset is to be; removed afterwards, as pytest would keep its many files."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "data" / "omniglot"
    shutil.rmtree(tmp_path / "data", ignore_errors=True)


def fetch(base):
    command.fetch("omniglot", command.read_sources({"OMNIGLOT_URL": str(base)}))


def files_in(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "origin.json"
    }


def is_complete(target):
    """Whether `target` holds the small archives' drawings and nothing lies beside it."""
    return os.listdir(target.parent) == ["omniglot"] and files_in(target) == small_files()


def start(folder, url, *arguments, first="", stderr=subprocess.PIPE):
    """Start the program in `folder`, with the statements `first` run in it before."""
    arguments = arguments or ("omniglot",)
    return subprocess.Popen(
        [sys.executable, "-c", f"{SMALL_PROGRAM}{first}\nos._exit(command.run({arguments}))"],
        cwd=folder,
        env={**os.environ, "OMNIGLOT_URL": str(url)},
        stdout=subprocess.PIPE,
        stderr=stderr,
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


def test_file_address(mirror, target):
    fetch(mirror.as_uri())
    assert is_complete(target)


def test_http_address(server, target):
    fetch(server.url)
    assert is_complete(target)


def test_the_dataset_says_where_it_came_from(server, target):
    fetch(server.url)
    record = json.loads((target / "origin.json").read_text())
    assert record["source"] == server.url and record["digest"] == SMALL_COUNTS["DIGEST"]
    assert record["packaging"] == "archives" and len(record["date"]) == len("2026-01-31")


def test_dataset_is_as_readable_as_any_other_folder(mirror, target):
    fetch(mirror)
    assert target.stat().st_mode == target.parent.stat().st_mode


@pytest.mark.parametrize("form", ["{path}", "{path}/", "file://{path}", "file://{path}/"])
def test_omniglot_url_may_be_a_folder_or_end_in_a_slash(form, mirror, target):
    status, stdout, stderr = run(mirror.parent, form.format(path=mirror))
    assert (status, stderr) == (0, "")
    assert stdout.splitlines() == [
        "Fetching omniglot/images_background ...",
        "Extracting omniglot/images_background ...",
        "Fetching omniglot/images_evaluation ...",
        "Extracting omniglot/images_evaluation ...",
        "data/omniglot is complete.",
    ]
    assert is_complete(target)


def test_address_to_fetch_from():
    official = "https://github.com/brendenlake/omniglot/raw/master/python"
    assert command.read_sources({}).omniglot == official
    assert command.read_sources({"OMNIGLOT_URL": ""}).omniglot == official
    mine = command.read_sources({"OMNIGLOT_URL": "https://example.org/omniglot/"})
    assert mine.omniglot == "https://example.org/omniglot"


def test_two_settings_for_one_dataset_are_refused(mirror):
    settings = {"IMAGENET_TRAIN_TAR": str(mirror), "MINIIMAGENET_ARCHIVE": str(mirror)}
    with pytest.raises(RefusedError, match="set one of them"):
        command.read_sources(settings)


def test_official_archives_are_checked_as_they_are(server, target, monkeypatch):
    """By MD5, here of the small ones."""
    monkeypatch.setattr(omniglot, "OFFICIAL", server.url)
    message = refusal(server.url, target)
    assert "images_background.zip is not the official archive" in message
    assert os.listdir(target.parent) == []
    sums = {
        name: hashlib.md5((server.folder / f"{name}.zip").read_bytes()).hexdigest()
        for name in SMALL
    }
    monkeypatch.setattr(omniglot, "MD5", sums)
    fetch(server.url)
    assert is_complete(target)


def test_progress_is_shown_on_a_terminal(mirror):
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))  # rows, columns
    with servers.serving(mirror) as server:
        process = start(mirror.parent, server.url, stderr=terminal)
        process.communicate(timeout=30)
    shown = os.read(reader, 100_000).decode()
    os.close(terminal)
    os.close(reader)
    assert process.returncode == 0
    assert "B/s]" in shown and "files/s]" in shown and "images/s]" in shown


def test_other_things_in_the_archives_are_passed_over(mirror, target):
    with zipfile.ZipFile(mirror / "images_background.zip", "a") as archive:
        archive.writestr("images_background/Latin/", b"")
        archive.writestr("images_background/.DS_Store", b"x")
        archive.writestr("__MACOSX/Latin/character01/0001_03.png", b"x")
        archive.writestr("__MACOSX/images_background/Latin/character01/0001_04.png", b"x")
    fetch(mirror)
    assert is_complete(target)


def test_a_complete_dataset_is_left_alone(server, target, capsys):
    fetch(server.url)
    server.requests = []
    fetch(server.url)
    assert is_complete(target) and server.requests == []
    assert "data/omniglot is complete." in capsys.readouterr().out


def test_something_else_in_its_place_is_left_alone(mirror, target):
    target.mkdir(parents=True)
    (target / "mine.txt").write_text("mine")
    with pytest.raises(FailedError, match="data/omniglot exists but is incomplete"):
        fetch(mirror)
    assert files_in(target.parent) == {"omniglot/mine.txt": b"mine"}


def test_empty_folder_is_replaced(mirror, target):
    target.mkdir(parents=True)
    fetch(mirror)
    assert is_complete(target)


def test_a_link_to_where_there_is_room_is_followed(mirror, target):
    (target.parent.parent / "large disk" / "omniglot").mkdir(parents=True)
    target.parent.mkdir()
    target.symlink_to(target.parent.parent / "large disk" / "omniglot")
    fetch(mirror)
    assert target.is_symlink() and files_in(target) == small_files()
    assert os.listdir(target.parent.parent / "large disk") == ["omniglot"]


def test_what_was_left_after_the_dataset_was_complete_is_removed(mirror, target):
    fetch(mirror)
    (target.parent / ".omniglot.partial" / "images").mkdir(parents=True)
    fetch(mirror)
    assert is_complete(target)


def test_faults_of_the_connection_are_survived(server, target):
    server.faults = [servers.status(500), servers.cut_after(1000), servers.hang_up, servers.trickle]
    fetch(server.url)
    assert is_complete(target)


def test_faults_that_stay_are_refused(server, target):
    size = (server.folder / "images_background.zip").stat().st_size
    server.always, server.ranges = servers.promise_more, False
    assert f"the connection ended after {size} of {size + 7} bytes" in refusal(server.url, target)
    server.always = None
    fetch(server.url)
    assert is_complete(target)


@pytest.mark.parametrize("fault", [servers.corrupt, servers.promise_less])
def test_damaged_archives_are_fetched_anew(server, target, fault):
    server.faults = [None, fault]
    assert "images_evaluation.zip: not a sound archive" in refusal(server.url, target)
    assert os.listdir(target.parent) == []
    fetch(server.url)
    assert is_complete(target)


def test_status_404(server, target):
    (server.folder / "images_evaluation.zip").unlink()
    assert "images_evaluation.zip: HTTP status 404 Not Found" in refusal(server.url, target)


def test_missing_file(mirror, target):
    (mirror / "images_evaluation.zip").unlink()
    message = refusal(mirror, target)
    expected = "expected images_evaluation.zip or images_evaluation/, found images_background.zip"
    assert f"{mirror}: {expected}. Set OMNIGLOT_URL to " in message
    (mirror / "images_background.zip").unlink()
    assert "images_background/ and images_evaluation.zip or" in (message := refusal(mirror, target))
    assert "/, found nothing." in message
    (mirror.parent / "a.zip").touch()
    assert "a.zip is no folder: name the one" in refusal(mirror.parent / "a.zip", target)


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


def test_unpacked_archives_beside_the_zip_files(mirror, target):
    """As torchvision leaves them. One of the zip files may have been removed."""
    for name in SMALL:
        shutil.copy(mirror / f"{name}.zip", mirror.parent)
    unpack(mirror)
    shutil.copy(mirror.parent / "images_background.zip", mirror)
    fetch(mirror)
    assert is_complete(target)


def test_unpacked_archives_that_lack_something_are_refused(mirror, target):
    unpack(mirror)
    (mirror / "images_evaluation/Angelic/character01/0001_01.png").unlink()
    message = refusal(mirror, target)
    assert "not 2 drawings each: Angelic/character01 (1). A part of it needs no fetching" in message
    shutil.rmtree(mirror / "images_evaluation/Angelic")
    assert "1 alphabets with 2 characters instead of 2 with 3" in refusal(mirror, target)
    assert os.listdir(target.parent) == []


def test_archives_that_would_write_elsewhere_are_refused(mirror, target):
    with zipfile.ZipFile(mirror / "images_background.zip", "a") as archive:
        archive.writestr("images_background/../../evil.png", drawing(9))
    message = refusal(mirror, target)
    assert (
        "images_background.zip: unsafe path or link 'images_background/../../evil.png'" in message
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Latin/character02/0001_01.png": None}, r"not 2 drawings each: Latin/character02 (1)"),
        (
            {"Angelic/character01/0001_01.png": drawing(77)},
            "the drawings are not those of Omniglot",
        ),
        (
            {"Angelic/character01/0001_01.png": b""},
            "1 images cannot be decoded: Angelic/character01/0001_01.png (empty)",
        ),
        (
            {"Angelic/character01/0001_01.png": drawing(5)[:150]},
            "1 images cannot be decoded: Angelic/character01/0001_01.png (",
        ),
        (
            {f"Angelic/character01/0001_0{n}.png": None for n in (1, 2)},
            "1 alphabets with 2 characters instead of 2 with 3",
        ),
    ],
)
def test_what_is_not_omniglot_is_refused_by_name(tmp_path, mirror, target, change, message):
    files = {
        path: content for path, content in (small_files() | change).items() if content is not None
    }
    assert message in refusal(write_archives(tmp_path / "other", files), target)
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_interrupted_fetch_is_continued(name, server, target):
    server.faults = [None, servers.stall]
    process = start(server.folder.parent, server.url)
    assert server.reached.wait(30)
    half = (server.folder / "images_evaluation.zip").stat().st_size // 2
    while not any(p.stat().st_size == half for p in target.parent.rglob("*.zip.part")):
        time.sleep(0.01)
    process.send_signal(signal.Signals[name])
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.Signals[name]
    assert stderr == f"fetch_data.sh: stopped by {name}\n"
    assert os.listdir(target.parent) == [".omniglot.partial"]
    server.requests = []
    assert run(server.folder.parent, server.url)[0] == 0
    assert is_complete(target)
    assert server.requests == [("/images_evaluation.zip", f"bytes={half}-")]


def test_second_fetch_does_not_disturb_the_first(server, target):
    server.faults = [None, servers.stall]
    first = start(server.folder.parent, server.url)
    assert server.reached.wait(30)
    status, _, stderr = run(server.folder.parent, server.url)
    assert status == 1 and "another fetch is at work there. Wait until it has ended." in stderr
    server.released.set()
    first.communicate(timeout=30)
    assert first.returncode == 0
    assert is_complete(target)


def test_failed_fetch_says_in_one_line_what_to_do(server, target):
    (server.folder / "images_background.zip").unlink()
    status, _, stderr = run(server.folder.parent, server.url)
    assert status == 1
    assert stderr.startswith("Cannot fetch omniglot: images_background.zip: HTTP status 404")
    assert "OMNIGLOT_URL" in stderr and stderr.count("\n") == 1


# Bytes: too few for an archive, for a drawing of noise.
@pytest.mark.parametrize("limit", [1000, 50_000])
def test_disk_that_takes_no_more(limit, mirror, target):
    with zipfile.ZipFile(mirror / "images_evaluation.zip", "w") as archive:
        archive.writestr("images_evaluation/Angelic/character01/0001_01.png", drawing(1, 800))
    first = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    with servers.serving(mirror) as server:
        status, _, stderr = run(mirror.parent, server.url, first=first)
    assert status == 1 and stderr.startswith("Cannot write data/omniglot: File too large.")
    assert os.listdir(target.parent) == [".omniglot.partial"]
    archives = write_archives(mirror.parent / "sound", small_files())
    assert run(mirror.parent, archives)[0] == 0
    assert is_complete(target)


def test_data_that_is_no_folder(mirror, target):
    target.parent.write_text("in the way")
    status, _, stderr = run(mirror.parent, mirror)
    assert status == 1 and stderr.startswith("Cannot write data/omniglot: ")


def test_wrong_usage(mirror, target):
    assert run(mirror.parent, mirror, "imagenet")[0] == 2
    status, _, stderr = run(mirror.parent, "ftp://example.org")
    assert status == 2 and "OMNIGLOT_URL=ftp://example.org" in stderr and stderr.count("\n") == 1
    assert not target.parent.exists()


def test_verify(mirror, target):
    assert run(mirror.parent, mirror, "verify") == (1, "", "data/ holds no dataset.\n")
    fetch(mirror)
    status, stdout, _ = run(mirror.parent, mirror, "verify")
    assert status == 0
    assert stdout == f"data/omniglot is intact. Digest of all images: {SMALL_COUNTS['DIGEST']}\n"
    (target / "Latin/character01/0001_01.png").write_bytes(drawing(77))
    status, _, stderr = run(mirror.parent, mirror, "verify")
    assert status == 1 and stderr.startswith("data/omniglot: the drawings are not those")


STRAY = [
    "Thumbs.db",
    "Latin/desktop.ini",
    "Latin/character01/Thumbs.db",
    "Latin/character01/.DS_Store",
    "Latin/character01/._0001_01.png",
    "__MACOSX/character01/0001_01.png",
    "__MACOSX/Latin/character01/0001_01.png",
]


def test_verify_passes_over_stray_files_of_systems(mirror, target, capsys):
    fetch(mirror)
    for name in STRAY:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(b"x")
    command.verify()
    assert capsys.readouterr().out.endswith(f" of all images: {SMALL_COUNTS['DIGEST']}\n")


@pytest.mark.parametrize("content", ['{"a": 1}', "[1, 2]", "null"])
def test_verify_names_a_record_of_another_program(mirror, target, capsys, content):
    fetch(mirror)
    (target / "origin.json").write_text(content)
    assert provenance.read(target).keys() == {"source"}
    command.verify()
    out = capsys.readouterr().out
    assert f"data/omniglot is intact. Digest of all images: {SMALL_COUNTS['DIGEST']} (" in out
    assert out.endswith("omniglot, whose origin.json was not written by fetch_data.sh.)\n")


DAMAGED = {
    "": "is damaged (no JSON: it is empty): ",
    "<html>\nPlease log in": r"is damaged (no JSON: it begins with '<html>\nPlease log in'): ",
    '{\n "source": "https': "is damaged (no JSON: it begins with",
    '{"source": "a", "packaging": "b", "date": "c"}': "is damaged (it says nothing of digest): ",
    '{"source": "https://a.org"}': "it says nothing of packaging, digest, date",
    '{"digest": 3}': "it says nothing of source, packaging, digest, date",
}


@pytest.mark.parametrize("content", DAMAGED)
def test_verify_names_a_damaged_record(mirror, target, content):
    fetch(mirror)
    (target / "origin.json").write_text(content)
    with pytest.raises(FailedError) as caught:
        command.verify()
    message = str(caught.value)
    assert "data/omniglot/origin.json " in message and DAMAGED[content] in message
    assert "fetch the data again, or remove this file if" in message and "\n" not in message


def test_a_record_that_cannot_be_read_is_damaged(tmp_path):
    (tmp_path / "origin.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RefusedError, match="it cannot be read: "):
        provenance.read(tmp_path)


def noise(listing):
    """What a wrong decoder would read."""
    shape = (listing.counts.sum(), 28, 28, 1)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def read_images(target):
    """As a run does, which leaves a cache; return its place."""
    characters = find_characters(root := Folder(target))
    image_set.read_folders(root, characters, {"test": list(characters)}, CHARACTERS)
    return target / ".cache" / "28-L.npy"


def test_verify_compares_the_cache(mirror, target, monkeypatch, capsys):
    fetch(mirror)
    place = read_images(target)
    command.verify()
    assert "is intact" in capsys.readouterr().out
    place.unlink()
    with monkeypatch.context() as patched:
        patched.setattr(ClassFiles, "decode", noise)
        read_images(target)
    expected = "the cache data/omniglot/.cache/28-L.npy holds other pixels than the images"
    with pytest.raises(FailedError, match=f"^data/omniglot: {expected}: remove it$"):
        command.verify()
    place.unlink()
    command.verify()


def put_python(path):
    """Put a command at `path` that runs this Python."""
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)


@pytest.fixture
def tree(tmp_path):
    """A copy of the program."""
    (tmp_path / "tree").mkdir()
    shutil.copy(ROOT / "fetch_data.sh", tmp_path / "tree")
    shutil.copytree(ROOT / "supervised_reptile", tmp_path / "tree" / "supervised_reptile")
    return tmp_path / "tree"


def run_script(tree, *arguments, **environment):
    """Run `sh fetch_data.sh` from another folder; return its exit status, stdout and stderr."""
    script = ["sh", str(tree / "fetch_data.sh"), *arguments]
    environment = {**os.environ, **environment}
    done = subprocess.run(script, cwd="/", env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_script_fetches_into_its_own_folder(tree, mirror):
    fetching, data = (tree / f"supervised_reptile/{wing}/omniglot.py" for wing in ("fetch", "data"))
    fetching.write_text(fetching.read_text().replace("= 50, 1623, 20", "= 2, 3, 2"))
    data.write_text(data.read_text().replace(REAL_DIGEST, SMALL_COUNTS["DIGEST"]))
    put_python(tree / ".venv/bin/python")
    status, _, stderr = run_script(tree, "omniglot", OMNIGLOT_URL=mirror.as_uri())
    assert (status, stderr) == (0, "")
    assert is_complete(tree / "data/omniglot")


REAL_DIGEST = omniglot.DIGEST


def test_script_accepts_nothing_less_than_all_of_omniglot(tree, mirror):
    put_python(tree / ".venv/bin/python")
    status, _, stderr = run_script(tree, "omniglot", OMNIGLOT_URL=mirror.as_uri())
    assert status == 1
    assert "2 alphabets with 3 characters instead of 50 with 1623" in stderr
    assert os.listdir(tree / "data") == []


def test_script_takes_python3_where_there_is_no_venv(tree, tmp_path):
    put_python(tmp_path / "bin/python3")
    status, stdout, _ = run_script(tree, "--help", PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert status == 0
    assert stdout.startswith("usage: fetch_data.sh")


def test_script_says_what_to_install(tree):
    """A Python without any packages."""
    (tree / ".venv/bin").mkdir(parents=True)
    (tree / ".venv/bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "$@"\n')
    (tree / ".venv/bin/python").chmod(0o755)
    status, _, stderr = run_script(tree, "--help")
    assert status == 1 and stderr.count("\n") == 1
    assert stderr.startswith("fetch_data.sh needs the Python package ") and "make venv" in stderr


def check_real(target):
    assert len(list(target.iterdir())) == 51  # with origin.json
    assert len(list(target.glob("*/*"))) == 1623
    assert len(list(target.glob("*/*/*.png"))) == len(files_in(target)) == 32460
    assert checks.digest_of_files(target) == digest_of(files_in(target)) == REAL_DIGEST


needs_real = pytest.mark.skipif(
    not REAL.is_dir(), reason="no real Omniglot in ../shared/data/omniglot"
)


@needs_real
def test_real_archives(target):
    fetch(REAL.as_uri())
    check_real(target)


@needs_real
def test_real_archives_by_http(target, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "BACK_OFF", 0.001)
    with servers.serving(REAL) as server:
        server.faults = [servers.cut_after(1_000_000), servers.status(503), servers.hang_up]
        fetch(server.url)
    check_real(target)


@needs_real
def test_real_archives_unpacked(target):
    for name in SMALL:
        with zipfile.ZipFile(REAL / f"{name}.zip") as archive:
            archive.extractall(target.parent.parent / "unpacked")
    fetch(target.parent.parent / "unpacked")
    shutil.rmtree(target.parent.parent / "unpacked")
    check_real(target)
