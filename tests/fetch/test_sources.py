"""Whatever a source is, and however its server misbehaves, it becomes a local folder or nothing."""

import os
import random
import stat
import tarfile
import zipfile

import pytest
import servers
from packaged import files_in, write_tar, write_tree, write_zip

from supervised_reptile.fetch import sources
from supervised_reptile.system.errors import FailedError, RefusedError, UnsoundError

BODY = random.Random(0).randbytes(500_000)


@pytest.fixture
def fetch(server, tmp_path):
    """A function that downloads the one file of the server and returns its bytes."""
    (server.folder / "file.bin").write_bytes(BODY)

    def fetch():
        return sources.locate(f"{server.url}/file.bin", tmp_path / "work").read_bytes()

    return fetch


def first_bytes(server):
    """Where the range of each request begins; None for a request without one."""
    return [wanted and int(wanted.strip("bytes=-")) for _, wanted in server.requests]


PASSING = {
    "no fault": [],
    "cut connection": [servers.cut_after(200_000)],
    "cut again and again": [servers.cut_after(70_000)] * 6,
    "closed without a word": [servers.hang_up, servers.hang_up],
    "500, then success": [servers.status(500), servers.status(503)],
    "429 with Retry-After": [servers.status(429, Retry_After="0")],
    "redirect": [servers.status(302, Location="/file.bin")],
    "no length": [servers.without_length],
    "a length that is no number": [servers.odd_length],
}


@pytest.mark.parametrize("has_ranges", [True, False])
@pytest.mark.parametrize("fault", PASSING)
def test_faults_that_pass_are_survived(server, fetch, tmp_path, fault, has_ranges):
    server.ranges, server.etag = has_ranges, '"1"' if has_ranges else None
    # Without ranges only what comes in one piece is new.
    server.faults = list(PASSING[fault] if has_ranges else PASSING[fault][:4])
    assert fetch() == BODY
    assert not server.faults and not list((tmp_path / "work").rglob("*.part"))


FAILING = {
    "cut connection": (servers.cut_after(0), "0 bytes read.*: try again later$", sources.ATTEMPTS),
    "500": (servers.status(500), "500 Server Error.*: try again later$", sources.ATTEMPTS),
    "416 without a part": (servers.status(416), "416 Client Error", 1),
    "404": (servers.status(404), r"404 Client Error.*/file\.bin$", 1),
}


@pytest.mark.parametrize("fault", FAILING)
def test_faults_that_stay_are_named(server, fetch, tmp_path, fault):
    server.always, message, requests = FAILING[fault]
    server.ranges = False
    with pytest.raises(FailedError, match=f"^file.bin: .*{message}"):
        fetch()
    assert not list((tmp_path / "work").rglob("file.bin"))
    assert len(server.requests) == requests


def test_silence_is_a_failure_but_costs_no_byte_that_came(server, fetch, monkeypatch):
    monkeypatch.setattr(sources, "TIMEOUT", 0.2)
    server.faults = [servers.stall]
    assert fetch() == BODY
    first, second = first_bytes(server)
    assert first is None and 100_000 < second <= 250_000


def cut_once(server, fetch, monkeypatch):
    """A first fetch that fails after 300,000 bytes."""
    with monkeypatch.context() as patch:
        patch.setattr(sources, "ATTEMPTS", 1)
        server.faults = [servers.cut_after(300_000)]
        with pytest.raises(FailedError, match="try again later"):
            fetch()
    server.requests = []


def test_the_next_fetch_asks_only_for_the_rest(server, fetch, monkeypatch):
    cut_once(server, fetch, monkeypatch)
    assert fetch() == BODY
    (first,) = first_bytes(server)
    assert 200_000 < first <= 300_000
    server.requests = []
    assert fetch() == BODY and not server.requests


def test_a_file_that_changed_in_between_is_fetched_whole(server, fetch, monkeypatch):
    cut_once(server, fetch, monkeypatch)
    (server.folder / "file.bin").write_bytes(bytes(reversed(BODY)))
    server.etag = '"2"'
    assert fetch() == bytes(reversed(BODY))


def test_a_file_of_the_same_name_from_elsewhere_is_another(server, tmp_path):
    for folder in ("a", "b"):
        (server.folder / folder).mkdir()
        (server.folder / folder / "file.bin").write_text(folder)
        address = f"{server.url}/{folder}/file.bin"
        assert sources.locate(address, tmp_path / "work").read_text() == folder


def test_a_part_that_is_all_of_it_is_fetched_anew(server, fetch, tmp_path):
    """A kill between the last byte and the renaming."""
    fetch()
    (path,) = (tmp_path / "work").rglob("file.bin")
    path.rename(path.with_name("file.bin.part"))
    assert fetch() == BODY


def test_settings(tmp_path):
    assert set(sources.read_sources({"OMNIGLOT_URL": ""}).values()) == {""}
    (tmp_path / "a b").mkdir()
    for form in (f"{tmp_path}/a b", f"{tmp_path}/a b/", f"file://{tmp_path}/a%20b/"):
        address = sources.read_sources({"MINIIMAGENET_ARCHIVE": form})["MINIIMAGENET_ARCHIVE"]
        assert address == (tmp_path / "a b").as_uri()
        assert sources.locate(address, tmp_path / "work") == tmp_path / "a b"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"OMNIGLOT_URL": "ftp://example.org"}, "OMNIGLOT_URL=ftp://example.org is no http"),
        ({"OMNIGLOT_URL": "missing"}, "OMNIGLOT_URL=missing is no .* and no file /.*/missing$"),
        ({"IMAGENET_TRAIN_TAR": "https://example.org"}, "has to be a file or folder"),
        ({"IMAGENET_TRAIN_TAR": ".", "MINIIMAGENET_ARCHIVE": "."}, "set one of them"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(RefusedError, match=message):
        sources.read_sources(settings)


FILES = {"top/b/2.png": b"two", "top/a/1.png": b"one", "list.csv": b"x,y"}
PASSED_OVER = {
    "top/.DS_Store": b"",
    "__MACOSX/top/a/1.png": b"",
    "top/a/._1.png": b"",
    "Thumbs.db": b"",
    "other.tar": b"",
}
ESCAPES = ["../evil.png", "top/../../evil.png", "/etc/evil.png"]


def write_any_tar(path, files):
    """With names that begin with ./ unless they are absolute."""
    names = {os.path.join(".", name): content for name, content in files.items()}
    write_tar(path, names, f"w:{path.suffix[1:].replace('tar', '')}")


FORMS = {
    "folder": write_tree,
    "archive.zip": write_zip,
    **{f"archive.{kind}": write_any_tar for kind in ("tar", "gz", "bz2", "xz")},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_alike_and_nothing_is_written_elsewhere(form, tmp_path):
    escapes = {} if form == "folder" else dict.fromkeys(ESCAPES, b"evil")
    FORMS[form](tmp_path / form, FILES | PASSED_OVER | escapes)
    found = sources.unpack(tmp_path / form, tmp_path / "deep" / "unpacked")
    files = {str(path.relative_to(found)): path.read_bytes() for path in sources.list_files(found)}
    assert files == FILES
    assert form == "folder" or files_in(tmp_path / "deep") == {
        f"unpacked/{path}": content for path, content in FILES.items()
    }


def test_links_and_devices_are_not_unpacked(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            member = tarfile.TarInfo(f"top/{kind[0]}/1.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    assert sources.list_files(sources.unpack(tmp_path / "a.tar", tmp_path / "unpacked")) == []
    link = zipfile.ZipInfo("top/1.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    (path,) = sources.list_files(sources.unpack(tmp_path / "a.zip", tmp_path / "unpacked"))
    assert not path.is_symlink() and path.read_bytes() == b"/etc/passwd"


@pytest.mark.parametrize("form", ["archive.zip", "archive.tar"])
def test_an_archive_is_not_blamed_for_where_it_is_unpacked(form, tmp_path):
    FORMS[form](tmp_path / form, FILES)
    (tmp_path / "unpacked").touch()
    with pytest.raises(NotADirectoryError):
        sources.unpack(tmp_path / form, tmp_path / "unpacked")


def cut_short(data):
    return data[: len(data) // 2]


def change_a_byte(data):
    return data.replace(b"one", b"oNe", 1)


def a_page(data):
    return b"<html>Please log in</html>"


DAMAGES = [(cut_short, form) for form in FORMS if form != "folder"]


# Tar files have no checksums of contents: what is in them is checked later.
@pytest.mark.parametrize(
    ("damage", "form"), [*DAMAGES, (a_page, "archive.tar"), (change_a_byte, "archive.zip")]
)
def test_damaged_archives_are_refused(form, damage, tmp_path):
    path = tmp_path / form
    FORMS[form](path, {"a/1.png": b"one" * 1000, "a/2.png": BODY[:30_000]})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnsoundError, match=rf"^{form} is not a sound .* \(.*\); unpack .* first"):
        sources.unpack(path, tmp_path / "unpacked")
