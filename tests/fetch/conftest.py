"""A server and programs of its own for each test that needs them."""

import contextlib
import os
import pathlib
import subprocess
import sys
import threading
import time

import pytest
import servers

from supervised_reptile.fetch import sources

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A running Server of the folder `served`, and no long waits for it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(sources, "BACK_OFF", 0.001)
    (tmp_path / "served").mkdir()
    with servers.Server(tmp_path / "served") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def start(tmp_path):
    """A function that starts a Python program; what it leaves running is an error."""
    started = []

    def start(program, *arguments, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", program, *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process.pid)
        return process

    yield start
    deadline = time.monotonic() + 10
    for group in started:
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.killpg(group, 0)  # fails once no process is left, such as one that reads images
                assert time.monotonic() < deadline, "a process is left"
                time.sleep(0.1)
