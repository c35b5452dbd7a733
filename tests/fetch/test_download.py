"""Files from servers that misbehave arrive whole, or not at all."""

import hashlib
import random
import socket

import pytest
import servers

from supervised_reptile.fetch import download
from supervised_reptile.system.errors import FailedError, RefusedError

BODY = random.Random(0).randbytes(200_000)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A server of one file, and no long waits."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "BACK_OFF", 0.001)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "file.bin").write_bytes(BODY)
    with servers.serving(tmp_path / "served") as server:
        yield server


@pytest.fixture
def fetch(server, tmp_path):
    """A function that fetches the file and returns its bytes."""

    def fetch(path="file.bin", base=None):
        with download.Client() as client:
            return client.fetch(f"{base or server.url}/{path}", tmp_path / "work").read_bytes()

    (tmp_path / "work").mkdir()
    return fetch


def parts(tmp_path):
    return [path for path in (tmp_path / "work").rglob("*") if path.suffix == ".part"]


PASSING = {
    "no fault": [],
    "cut connection": [servers.cut_after(50_000)],
    "cut before the first byte": [servers.cut_after(0)],
    "cut again and again": [servers.cut_after(10_000)] * 12,
    "closed without a word": [servers.hang_up, servers.hang_up],
    "length too large, once": [servers.promise_more],
    "500, then success": [servers.status(500), servers.status(503)],
    "429 with Retry-After": [servers.status(429, Retry_After="0")],
    "redirect": [servers.status(302, Location="/file.bin")],
    "redirect to a cut connection": [
        servers.status(301, Location="/file.bin"),
        servers.cut_after(70_000),
    ],
    "slow trickle": [servers.trickle],
    "no length": [servers.without_length],
    "no length and cut": [servers.chunks_cut_short],
    "another range": [servers.cut_after(60_000), servers.other_range],
    "resumed with 416": [servers.cut_after(60_000), servers.status(416)],
}


@pytest.mark.parametrize("fault", PASSING)
def test_faults_that_pass_are_survived(server, fetch, tmp_path, fault):
    server.faults = list(PASSING[fault])
    assert fetch() == BODY
    assert not server.faults and not parts(tmp_path)


@pytest.mark.parametrize("fault", PASSING)
def test_faults_that_pass_are_survived_without_ranges_and_etags(server, fetch, fault):
    server.ranges, server.etag = False, None
    # Without ranges only what comes in one piece is new.
    server.faults = PASSING[fault][:4]
    assert fetch() == BODY


FAILING = {
    "cut connection": (servers.cut_after(0), "the connection ended after 0 of 200000 bytes"),
    "closed without a word": (servers.hang_up, "Remote end closed connection"),
    "500": (servers.status(500), "HTTP status 500"),
    "404": (servers.status(404), "HTTP status 404"),
    "403": (servers.status(403), "HTTP status 403"),
    "endless redirect": (servers.status(302, Location="/file.bin"), "redirect"),
}


@pytest.mark.parametrize("fault", FAILING)
def test_faults_that_stay_are_named(server, fetch, tmp_path, fault):
    server.always, message = FAILING[fault]
    with pytest.raises(FailedError, match=message) as caught:
        fetch()
    assert str(caught.value).startswith("file.bin: ")
    assert not list((tmp_path / "work").rglob("file.bin"))


def test_a_refusal_is_not_asked_again_but_a_failure_is(server, fetch):
    for fault, requests in (
        (servers.status(404), 1),
        (servers.status(500), download.ATTEMPTS),
        (servers.cut_after(0), download.ATTEMPTS),
    ):
        server.always, server.requests = fault, []
        with pytest.raises(FailedError):
            fetch()
        assert len(server.requests) == requests


def test_a_length_that_is_always_too_large_is_no_endless_wait(server, fetch):
    server.always, server.ranges = servers.promise_more, False
    with pytest.raises(FailedError, match="ended after 200000 of 200007 bytes"):
        fetch()


def test_a_length_that_is_too_small_gives_what_was_promised(server, fetch):
    """HTTP cannot tell; the checks of what is in the file can."""
    server.faults = [servers.promise_less]
    assert fetch() == BODY[:-7]


def test_silence_is_a_failure(server, fetch, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    server.always = servers.stall
    with pytest.raises(FailedError, match="timed out"):
        fetch()


def test_silence_that_passes_costs_no_byte(server, fetch, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    server.faults = [servers.stall]
    assert fetch() == BODY
    assert server.requests[1] == ("/file.bin", "bytes=100000-")


def test_a_second_run_asks_only_for_the_rest(server, fetch, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.faults = [servers.cut_after(150_000)]
    with pytest.raises(FailedError):
        fetch()
    assert fetch() == BODY
    assert [wanted for _, wanted in server.requests] == [None, "bytes=150000-"]


def test_a_file_that_changed_in_between_is_fetched_whole(server, fetch, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.faults = [servers.cut_after(150_000)]
    with pytest.raises(FailedError):
        fetch()
    other = bytes(reversed(BODY))
    (server.folder / "file.bin").write_bytes(other)
    server.etag = '"2"'
    assert fetch() == other


def test_a_complete_part_that_was_not_renamed_is_recognised(server, fetch, tmp_path, monkeypatch):
    """A kill between the last byte and the renaming."""
    with monkeypatch.context() as patch:
        patch.setattr(download._Part, "complete", lambda part: None)
        with pytest.raises(FileNotFoundError):
            fetch()
    server.requests = []
    assert fetch() == BODY
    assert server.requests == [("/file.bin", "bytes=200000-")]


def test_a_whole_file_is_not_asked_for_again(server, fetch):
    fetch()
    server.requests = []
    assert fetch() == BODY
    assert server.requests == []


def test_files_of_one_name_from_two_addresses_are_kept_apart(server, fetch):
    (server.folder / "other").mkdir()
    (server.folder / "other" / "file.bin").write_bytes(b"other")
    assert fetch() == BODY
    assert fetch("other/file.bin") == b"other"


def test_a_weak_etag_is_not_relied_on(server, fetch, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    server.etag = 'W/"1"'
    server.faults = [servers.cut_after(150_000)]
    with pytest.raises(FailedError):
        fetch()
    assert fetch() == BODY
    assert [wanted for _, wanted in server.requests] == [None, None]


def test_nobody_there_says_so(fetch, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        base = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(FailedError, match=r"^file.bin: .*Connection refused"):
            fetch(base=base)


def test_tls_is_verified(server, fetch):
    """A server that does not even speak it."""
    with pytest.raises(FailedError, match="SSL"):
        fetch(base=server.url.replace("http:", "https:"))


def test_proxies_are_honoured(server, fetch, monkeypatch):
    monkeypatch.delenv("no_proxy")
    monkeypatch.setenv("http_proxy", server.url)
    server.faults = [servers.status(404)]
    with pytest.raises(FailedError, match="404"):
        fetch(base="http://example.org")
    assert server.requests == [("http://example.org/file.bin", None)]


def test_byte_ranges(server):
    with download.Client() as client:
        address = f"{server.url}/file.bin"
        server.faults = [servers.cut_after(10), servers.status(500), servers.other_range]
        assert client.get_range(address, 1000, 1999) == BODY[1000:2000]
        server.ranges = False
        with pytest.raises(FailedError, match="does not serve byte ranges"):
            client.get_range(address, 1000, 1999)


def test_byte_ranges_of_a_local_file(server):
    with download.Client() as client:
        address = (server.folder / "file.bin").as_uri()
        assert client.get_range(address, 1000, 1999) == BODY[1000:2000]
        with pytest.raises(FailedError, match="ends before byte 200000"):
            client.get_range(address, 199_990, 200_000)


def test_a_local_file_is_used_where_it_lies(server, tmp_path):
    with download.Client() as client:
        path = server.folder / "file.bin"
        assert client.fetch(path.as_uri(), tmp_path) == path
        with pytest.raises(FailedError, match="no such file"):
            client.fetch(path.as_uri() + ".missing", tmp_path)


def test_addresses_and_paths(tmp_path):
    (tmp_path / "a b").mkdir()
    address = download.check_address("X", str(tmp_path / "a b"))
    assert address.startswith("file:///") and download.local_path(address) == tmp_path / "a b"
    assert download.check_address("X", "https://example.org/") == "https://example.org/"
    for wrong in ("ftp://example.org", str(tmp_path / "missing")):
        with pytest.raises(RefusedError, match=f"^X={wrong} is no"):
            download.check_address("X", wrong)
    assert download.file_name("https://a.org/b/c%20d.pkl?download=1") == "c d.pkl"


def test_corrupt_bytes_are_for_the_checks_of_the_content(server, fetch):
    server.faults = [servers.corrupt]
    assert hashlib.sha256(fetch()).digest() != hashlib.sha256(BODY).digest()
