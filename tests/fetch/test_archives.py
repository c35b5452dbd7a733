"""Folders, zip files and tar files: read alike, and nothing of them is written elsewhere."""

import io
import stat
import tarfile
import zipfile
from pathlib import PurePosixPath

import pytest

from supervised_reptile.fetch import archives
from supervised_reptile.system.errors import UnsoundError

FILES = {"top/b/2.png": b"two", "top/a/1.png": b"one", "list.csv": b"x,y"}
HIDDEN = {"top/.DS_Store": b"", "__MACOSX/top/a/1.png": b"", "top/a/._1.png": b""}


def make_folder(path, files):
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)


def make_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("top/", b"")
        for name, content in files.items():
            archive.writestr(name, content)


def make_tar(path, files):
    with tarfile.open(path, f"w:{path.suffix[1:]}" if path.suffix != ".tar" else "w") as archive:
        folder = tarfile.TarInfo("./top")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


FORMS = {
    "folder": make_folder,
    "archive.zip": make_zip,
    "archive.tar": make_tar,
    "archive.gz": make_tar,
    "archive.bz2": make_tar,
    "archive.xz": make_tar,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_alike(form, tmp_path):
    FORMS[form](tmp_path / form, FILES | HIDDEN)
    with archives.open_archive(tmp_path / form) as archive:
        found = {str(path): archive.read(path) for path in archive.members}
    assert found == FILES


ESCAPES = ["../evil", "top/../../evil", "/etc/evil", "top\\..\\evil", "a/..", ".."]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("form", ["archive.zip", "archive.tar"])
def test_names_that_escape_are_refused(name, form, tmp_path):
    FORMS[form](tmp_path / form, FILES)
    if form.endswith("zip"):
        with zipfile.ZipFile(tmp_path / form, "a") as archive:
            archive.writestr(name, b"evil")
    else:
        with tarfile.open(tmp_path / form, "a") as archive:
            archive.addfile(tarfile.TarInfo(name))
    with (
        pytest.raises(UnsoundError, match=f"{form}: unsafe path or link"),
        archives.open_archive(tmp_path / form),
    ):
        pass


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
)
def test_links_and_devices_in_a_tar_file_are_refused(kind, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("top/a/1.png")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)
    with pytest.raises(UnsoundError, match="unsafe"), archives.open_archive(tmp_path / "a.tar"):
        pass


def test_links_in_a_zip_file_are_refused(tmp_path):
    member = zipfile.ZipInfo("top/a/1.png")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(UnsoundError, match="unsafe"), archives.open_archive(tmp_path / "a.zip"):
        pass


def cut_short(data):
    return data[: len(data) // 2]


def flip_a_byte(data):
    place = data.index(b"one" * 1000) + 1500
    return data[:place] + b"\x01" + data[place + 1 :]


def nothing(data):
    return b""


def a_page(data):
    return b"<html>Please log in</html>"


DAMAGES = [(damage, form) for damage in (cut_short, nothing, a_page) for form in list(FORMS)[1:]]


# Tar files have no checksums of contents: what is in them is checked later.
@pytest.mark.parametrize("damage, form", [*DAMAGES, (flip_a_byte, "archive.zip")])
def test_damaged_archives_are_refused(form, damage, tmp_path):
    path = tmp_path / form
    FORMS[form](path, {"a/1.png": b"one" * 1000, "a/2.png": b"two" * 1000})
    path.write_bytes(damage(path.read_bytes()))
    with (
        pytest.raises(UnsoundError, match=f"{form}: not a sound archive"),
        archives.open_archive(path) as archive,
    ):
        for member in archive.members:
            archive.read(member)


def test_an_encrypted_zip_file_is_refused(tmp_path):
    """Made so by its flag: the standard library writes none."""
    make_zip(tmp_path / "a.zip", {"a.png": b"one"})
    data = bytearray((tmp_path / "a.zip").read_bytes())
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        start = -1
        while (start := data.find(mark, start + 1)) >= 0:
            data[start + offset] |= 1
    (tmp_path / "a.zip").write_bytes(data)
    with (
        pytest.raises(UnsoundError, match="encrypted"),
        archives.open_archive(tmp_path / "a.zip") as archive,
    ):
        archive.read(PurePosixPath("a.png"))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UnsoundError), archives.open_archive(tmp_path / "missing.tar"):
        pass
