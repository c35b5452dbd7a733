"""What `fetch_data.sh` leaves on disk: all of Omniglot, or nothing."""

import fcntl
import os
import pty
import shutil
import signal
import stat
import struct
import subprocess
import sys
import termios
import threading
import zipfile
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from supervised_reptile import fetch

MODULES = ("__init__", "errors", "fetch", "signals")

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data" / "omniglot"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(1000)
SMALL_COUNTS = {"ALPHABETS": 2, "CHARACTERS": 3, "DRAWINGS": 2}
SMALL = {
    "images_background": ["Latin/character01", "Latin/character02"],
    "images_evaluation": ["Angelic/character01"],
}
# The program with the counts of the small archives, for tests that need a process of its own.
SMALL_PROGRAM = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from supervised_reptile import fetch
vars(fetch).update({SMALL_COUNTS})
"""


def write_archives(folder, characters=SMALL):
    """Write both zip files, with the characters given for each, into the new folder `folder`."""
    folder.mkdir()
    for name, paths in characters.items():
        with zipfile.ZipFile(folder / f"{name}.zip", "w") as archive:
            for path in paths:
                for drawing in (1, 2):
                    archive.writestr(f"{name}/{path}/0001_{drawing:02}.png", PNG)
    return folder


class Server(ThreadingHTTPServer):
    """Serves the files in `folder`, with whatever fault a test switches on."""

    daemon_threads = True

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.missing_bytes = 0  # promised in Content-Length, never sent
        self.slow = None  # the file that stops halfway until `released`
        self.reached, self.released = threading.Event(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.strip("/")
        if not (self.server.folder / name).is_file():
            return self.send_error(404)
        body = (self.server.folder / name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body) + self.server.missing_bytes))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(body[: len(body) // 2])
            if name == self.server.slow:
                self.server.reached.set()
                self.server.released.wait(30)
            self.wfile.write(body[len(body) // 2 :])

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder with small archives, and the counts that make them complete."""
    for name, value in SMALL_COUNTS.items():
        monkeypatch.setattr(fetch, name, value)
    return write_archives(tmp_path / "mirror")


@pytest.fixture
def server(mirror, monkeypatch):
    """A running Server of `mirror`."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server(mirror) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    """Where the dataset is to be; removed afterwards, as pytest would keep its many files."""
    yield tmp_path / "data" / "omniglot"
    shutil.rmtree(tmp_path / "data", ignore_errors=True)


def files_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def is_complete(target):
    """Whether `target` holds the small archives' drawings and nothing lies beside it."""
    characters = [path for paths in SMALL.values() for path in paths]
    expected = sorted(f"{path}/0001_{n:02}.png" for path in characters for n in (1, 2))
    return os.listdir(target.parent) == ["omniglot"] and files_in(target) == expected


def start(folder, url, *arguments, first="", stderr=subprocess.PIPE):
    """Start the program in `folder`, with the statements `first` run in it before."""
    return subprocess.Popen(
        [sys.executable, "-c", f"{SMALL_PROGRAM}{first}\nfetch.main()", *arguments],
        cwd=folder,
        env={**os.environ, "OMNIGLOT_URL": url},
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
    """Return the message with which a fetch from `base` is refused, leaving nothing behind."""
    with pytest.raises(fetch.FailedError) as caught:
        fetch.fetch_omniglot(base, target)
    assert os.listdir(target.parent) == []
    return str(caught.value)


def test_file_address(mirror, target):
    fetch.fetch_omniglot(mirror.as_uri(), target)
    assert is_complete(target)
    assert (target / "Latin/character01/0001_01.png").read_bytes() == PNG


def test_http_address(server, target):
    fetch.fetch_omniglot(server.url, target)
    assert is_complete(target)


def test_dataset_is_as_readable_as_any_other_folder(mirror, target):
    fetch.fetch_omniglot(mirror.as_uri(), target)
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
    ]
    assert is_complete(target)


@pytest.mark.parametrize(
    "setting, address",
    [
        ("", "https://github.com/brendenlake/omniglot/raw/master/python"),
        ("https://example.org/omniglot/", "https://example.org/omniglot"),
    ],
)
def test_address_to_fetch_from(setting, address, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["fetch_data.sh"])
    monkeypatch.setenv("OMNIGLOT_URL", setting)
    assert fetch.read_command_line() == address


def test_progress_is_shown_on_a_terminal(mirror):
    reader, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))  # rows, columns
    process = start(mirror.parent, str(mirror), "omniglot", stderr=terminal)
    process.communicate(timeout=30)
    shown = os.read(reader, 100_000).decode()
    os.close(terminal)
    os.close(reader)
    assert process.returncode == 0
    assert "B/s]" in shown and "files/s]" in shown


def test_other_things_in_the_archives_are_passed_over(mirror, target):
    with zipfile.ZipFile(mirror / "images_background.zip", "a") as archive:
        archive.writestr("images_background/Latin/", b"")
        archive.writestr("images_background/.DS_Store", b"x")
        archive.writestr("__MACOSX/Latin/character01/0001_03.png", b"x")
        archive.writestr("__MACOSX/images_background/Latin/character01/0001_04.png", b"x")
    fetch.fetch_omniglot(mirror.as_uri(), target)
    assert is_complete(target)


def test_existing_dataset_is_left_alone(mirror, target, capsys):
    target.mkdir(parents=True)
    (target / "mine.txt").write_text("mine")
    fetch.fetch_omniglot(mirror.as_uri(), target)
    assert files_in(target.parent) == ["omniglot/mine.txt"]
    assert "there already" in capsys.readouterr().out


def test_empty_folder_is_replaced(mirror, target):
    target.mkdir(parents=True)
    fetch.fetch_omniglot(mirror.as_uri(), target)
    assert is_complete(target)


def test_cut_connection(server, target):
    server.missing_bytes = 7
    size = (server.folder / "images_background.zip").stat().st_size
    message = refusal(server.url, target)
    assert (
        message.startswith("images_background.zip: ") and f"{size} of {size + 7} bytes" in message
    )


def test_silent_connection(server, target, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
    server.slow = "images_background.zip"
    assert refusal(server.url, target) == "images_background.zip: timed out"


def test_status_404(server, target):
    (server.folder / "images_evaluation.zip").unlink()
    assert refusal(server.url, target) == "images_evaluation.zip: HTTP Error 404: Not Found"


def test_missing_file(mirror, target):
    (mirror / "images_evaluation.zip").unlink()
    message = refusal(mirror.as_uri(), target)
    assert message.startswith("images_evaluation.zip: ") and "No such file" in message


def test_failed_fetch_can_be_repeated(server, target):
    server.missing_bytes = 7
    refusal(server.url, target)
    server.missing_bytes = 0
    fetch.fetch_omniglot(server.url, target)
    assert is_complete(target)


def cut_short(data):
    return data[: len(data) // 2]


def flip_a_byte_of_a_drawing(data):
    return data.replace(PNG, PNG[:500] + b"\x01" + PNG[501:], 1)


def not_a_zip(data):
    return b"<html>Please log in</html>"


@pytest.mark.parametrize("damage", [cut_short, flip_a_byte_of_a_drawing, not_a_zip])
def test_damaged_archive(damage, mirror, target):
    archive = mirror / "images_evaluation.zip"
    archive.write_bytes(damage(archive.read_bytes()))
    message = refusal(mirror.as_uri(), target)
    assert message.startswith("images_evaluation.zip: not a sound zip file")


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "images_background/../../evil.png",
        "images_background/../Latin/evil.png",
        "/images_background/Latin/evil.png",
        "images_background\\..\\..\\evil.png",
    ],
)
def test_member_that_would_escape(name, mirror, target):
    with zipfile.ZipFile(mirror / "images_background.zip", "a") as archive:
        archive.writestr(name, PNG)
    message = refusal(mirror.as_uri(), target)
    assert message == f"images_background.zip: unsafe path or link {name!r}"


def test_link_in_an_archive(mirror, target):
    link = zipfile.ZipInfo("images_background/Latin/character01/0001_02.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(mirror / "images_background.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "unsafe path or link" in refusal(mirror.as_uri(), target)


def test_missing_characters_are_counted(tmp_path, mirror, target):
    characters = {**SMALL, "images_background": ["Latin/character01"]}
    message = refusal(write_archives(tmp_path / "few", characters).as_uri(), target)
    assert "2 alphabets with 2 characters instead of 2 with 3" in message


def test_missing_drawings_are_named(mirror, target):
    with zipfile.ZipFile(mirror / "images_evaluation.zip", "w") as archive:
        archive.writestr("images_evaluation/Angelic/character01/0001_01.png", PNG)
    assert refusal(mirror.as_uri(), target) == "not 2 drawings each: Angelic/character01 (1)"


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_interrupted_fetch_leaves_nothing_and_can_be_repeated(name, server, target):
    server.slow = "images_evaluation.zip"
    process = start(server.folder.parent, server.url)
    assert server.reached.wait(30)
    process.send_signal(signal.Signals[name])
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.Signals[name]
    assert stderr == f"fetch_data.sh: stopped by {name}\n"
    assert os.listdir(target.parent) == []
    server.slow = None
    assert run(server.folder.parent, server.url)[0] == 0
    assert is_complete(target)


def test_killed_fetch_leaves_no_dataset_and_the_next_one_clears_up(server, target):
    server.slow = "images_evaluation.zip"
    process = start(server.folder.parent, server.url)
    assert server.reached.wait(30)
    process.kill()
    process.communicate(timeout=30)
    (leftover,) = os.listdir(target.parent)
    assert leftover.startswith(".omniglot-")
    server.slow = None
    assert run(server.folder.parent, server.url)[0] == 0
    assert is_complete(target)


def test_second_fetch_does_not_disturb_the_first(server, target):
    server.slow = "images_evaluation.zip"
    first = start(server.folder.parent, server.url)
    assert server.reached.wait(30)
    status, _, stderr = run(server.folder.parent, server.url)
    assert (status, stderr) == (1, "Cannot write data/omniglot: another fetch is at work there.\n")
    server.released.set()
    first.communicate(timeout=30)
    assert first.returncode == 0
    assert is_complete(target)


def test_failed_fetch_says_in_one_line_where_and_what_to_do(server, target):
    (server.folder / "images_background.zip").unlink()
    status, _, stderr = run(server.folder.parent, server.url)
    assert status == 1
    assert stderr.startswith(f"Cannot fetch Omniglot from {server.url}: images_background.zip: ")
    assert "OMNIGLOT_URL" in stderr and stderr.count("\n") == 1


@pytest.mark.parametrize("limit", [1000, 10_000])  # bytes: too few for an archive, for a drawing
def test_disk_that_takes_no_more(limit, mirror, target):
    with zipfile.ZipFile(mirror / "images_evaluation.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images_evaluation/Angelic/character01/0001_01.png", bytes(20_000))
    first = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    status, _, stderr = run(mirror.parent, str(mirror), first=first)
    assert (status, stderr) == (1, "Cannot write data/omniglot: File too large.\n")
    assert os.listdir(target.parent) == []


def test_data_that_is_no_folder(mirror, target):
    target.parent.write_text("in the way")
    status, _, stderr = run(mirror.parent, str(mirror))
    assert (status, stderr) == (1, "Cannot write data/omniglot: File exists.\n")


def test_wrong_usage(mirror, target):
    assert run(mirror.parent, str(mirror), "imagenet")[0] == 2
    status, _, stderr = run(mirror.parent, "ftp://example.org")
    assert status == 2 and "OMNIGLOT_URL=ftp://example.org" in stderr
    assert not target.parent.exists()


def put_python(path):
    """Put a command at `path` that runs this Python."""
    path.parent.mkdir(parents=True)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    path.chmod(0o755)


@pytest.fixture
def tree(tmp_path):
    """A copy of the program with nothing but what the fetch needs."""
    (tmp_path / "tree/supervised_reptile").mkdir(parents=True)
    for name in ["fetch_data.sh", *(f"supervised_reptile/{name}.py" for name in MODULES)]:
        shutil.copy(ROOT / name, tmp_path / "tree" / name)
    return tmp_path / "tree"


def run_script(tree, *arguments, **environment):
    """Run `sh fetch_data.sh` from another folder; return its exit status, stdout and stderr."""
    script = ["sh", str(tree / "fetch_data.sh"), *arguments]
    environment = {**os.environ, **environment}
    done = subprocess.run(script, cwd="/", env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_script_fetches_into_its_own_folder(tree, mirror):
    program = tree / "supervised_reptile/fetch.py"
    program.write_text(program.read_text().replace("= 50, 1623, 20", "= 2, 3, 2"))
    put_python(tree / ".venv/bin/python")
    status, _, stderr = run_script(tree, OMNIGLOT_URL=mirror.as_uri())
    assert (status, stderr) == (0, "")
    assert is_complete(tree / "data/omniglot")


def test_script_accepts_nothing_less_than_all_of_omniglot(tree, mirror):
    put_python(tree / ".venv/bin/python")
    status, _, stderr = run_script(tree, OMNIGLOT_URL=mirror.as_uri())
    assert status == 1
    assert "2 alphabets with 3 characters instead of 50 with 1623" in stderr
    assert os.listdir(tree / "data") == []


def test_script_takes_python3_where_there_is_no_venv(tree, tmp_path):
    put_python(tmp_path / "bin/python3")
    status, stdout, _ = run_script(tree, "--help", PATH=f"{tmp_path}/bin:{os.environ['PATH']}")
    assert status == 0
    assert stdout.startswith("usage: fetch_data.sh")


@pytest.mark.skipif(not REAL.is_dir(), reason="no real Omniglot in ../shared/data/omniglot")
def test_real_archives(target):
    fetch.fetch_omniglot(REAL.as_uri(), target)
    assert len(list(target.iterdir())) == 50
    assert len(list(target.glob("*/*"))) == 1623
    assert len(list(target.glob("*/*/*.png"))) == len(files_in(target)) == 32460
