"""Reading folders, zip files and tar files alike, without unpacking them.

What a dataset needs is read by name and written under a name of our own, so that nothing can be
written elsewhere; an archive that tries is refused as a whole.
"""

import contextlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath, PurePosixPath
from stat import S_ISLNK
from typing import IO, Any

from supervised_reptile.data.folders import SYSTEMS
from supervised_reptile.system.errors import UnsoundError

_UNSOUND = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # of encrypted zip files
    ValueError,
)
OTHERS = {b"Rar!\x1a\x07": "RAR", b"7z\xbc\xaf\x27\x1c": "7z"}  # by how they begin


class Archive:
    """The files of a folder or an archive; hidden ones and those of macOS are passed over.

    members: what to open by path, in the order in which they are stored.
    """

    def __init__(
        self,
        name: str,
        members: Iterable[tuple[PurePosixPath, Any]],
        open_member: Callable[[Any], IO[bytes] | None],
    ) -> None:
        self.name = name
        self.members = {path: member for path, member in members if not is_hidden(path)}
        self._open = open_member

    @contextlib.contextmanager
    def open(self, path: PurePosixPath) -> Iterator[IO[bytes]]:
        """A binary file of the member at a path. Raises UnsoundError where it is damaged."""
        with _reading(self.name):
            file = self._open(self.members[path])
            assert file, "members are files"
            with file:
                yield file

    def read(self, path: PurePosixPath) -> bytes:
        """The bytes of the member at a path."""
        with self.open(path) as file:
            return file.read()


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """The Archive at a path. Raises UnsoundError if it is none, is damaged, or is unsafe."""
    with contextlib.ExitStack() as stack:
        with _reading(path.name):
            if path.is_dir():
                archive = _folder(path)
            elif kind := _other_kind(path):
                raise UnsoundError(
                    f"{path.name} is a {kind} archive, which cannot be read here: unpack it first, "
                    "and name the folder"
                )
            elif zipfile.is_zipfile(path):
                archive = _zip(path.name, stack.enter_context(zipfile.ZipFile(path)))
            else:
                archive = _tar(path.name, stack.enter_context(tarfile.open(path)))
        yield archive


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    try:
        yield
    except _UNSOUND as error:
        reason = (str(error) or repr(error)).splitlines()[0].rstrip(":")  # tarfile has many lines
        raise UnsoundError(f"{name}: not a sound archive ({reason})") from None


def _other_kind(path: Path) -> str:
    """The name of the kind of archive that a file is, "" unless it is one of OTHERS."""
    with path.open("rb") as file:
        start = file.read(max(map(len, OTHERS)))
    return next((kind for mark, kind in OTHERS.items() if start.startswith(mark)), "")


def _folder(folder: Path) -> Archive:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    members = ((PurePosixPath(path.relative_to(folder).as_posix()), path) for path in files)
    return Archive(folder.name, members, lambda path: path.open("rb"))


def _zip(name: str, opened: zipfile.ZipFile) -> Archive:
    for member in opened.infolist():
        _check_safe(name, member.filename, S_ISLNK(member.external_attr >> 16))
    files = (member for member in opened.infolist() if not member.is_dir())
    return Archive(name, ((PurePosixPath(file.filename), file) for file in files), opened.open)


def _tar(name: str, opened: tarfile.TarFile) -> Archive:
    members = opened.getmembers()
    for member in members:
        _check_safe(name, member.name, not (member.isfile() or member.isdir()))
    files = (member for member in members if member.isfile())
    return Archive(name, ((PurePosixPath(file.name), file) for file in files), opened.extractfile)


def _check_safe(name: str, member: str, is_special: bool) -> None:
    path = PurePosixPath(member)
    if is_special or path.is_absolute() or ".." in path.parts or "\\" in member:
        raise UnsoundError(f"{name}: unsafe path or link {member!r}")


def is_hidden(path: PurePath) -> bool:
    """Whether a file, by its relative path, is hidden or one of a system's own."""
    return any(part.startswith(".") or part in SYSTEMS for part in path.parts)
