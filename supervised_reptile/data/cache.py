"""Decoded images on disk, in one file that later runs map instead of decoding again.

The file holds the pixels, then a footer (JSON), then the footer's length and checksum. It is
written beside its place and renamed, so that there is a whole one or none, and it is checked byte
by byte before it is used.
"""

import concurrent.futures
import dataclasses
import errno
import functools
import hashlib
import json
import math
import os
import shutil
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from supervised_reptile.data.class_files import ClassFiles
from supervised_reptile.data.mapping import map_pixels
from supervised_reptile.system import files, machine
from supervised_reptile.system.errors import RefusedError, is_exhausted

FOLDER = ".cache"  # within the data folder; hidden, so that it is no class
END = struct.Struct("<QI4s")  # the footer's length in bytes, its CRC-32, MARK
MARK = b"RPT1"


@dataclasses.dataclass(frozen=True)
class Cached:
    """pixels: uint8 [images, height, width, channels], class after class. digest: see digest_of."""

    pixels: np.ndarray
    digest: str


def digest_of(names: Iterable[str], counts: Iterable[int], pixels: Iterable[np.ndarray]) -> str:
    """SHA-256, in hexadecimal, of names, counts and pixels of classes, one array each.

    Runs of 0.1.0 know the digest of classes that zeros fill up to the largest; so do those of
    today, unless zeros would be more than half of all.
    """
    counts = [int(number) for number in counts]
    digest = hashlib.sha256(json.dumps([list(names), counts]).encode())
    filled = max(counts) if max(counts) * len(counts) <= 2 * sum(counts) else 0
    for images in pixels:
        digest.update(_bytes(images))
        digest.update(bytes(max(0, filled - len(images)) * images[0].nbytes))
    return digest.hexdigest()


def _bytes(array: np.ndarray) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).data


def load(data_dir: str | Path, listing: ClassFiles) -> Cached:
    """The Cached of a data folder; decodes and writes it where there is none that is sound.

    Raises RefusedError if it can be written nowhere.
    """
    seen = {}
    for place in places(data_dir, listing):
        seen[place] = _identity(place)
        if found := read(place, listing):
            return found
    problems = []
    for place in places(data_dir, listing):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            note = f"Waiting for another run that writes {place}"
            waiting = functools.partial(print, note, file=sys.stderr, flush=True)
            with files.locked(place.with_suffix(".lock"), waiting):
                # Another run may have written it while this one waited.
                if _identity(place) != seen[place] and (found := read(place, listing)):
                    return found
                _write(place, listing)
            if found := read(place, listing):
                return found
            problems.append(f"{place.parent} (what was written cannot be read)")
        except OSError as error:
            if is_exhausted(error):
                raise
            problems.append(f"{place.parent} ({error.strerror or error})")
    raise RefusedError(
        f"the decoded images can be stored neither in {' nor in '.join(problems)}: they need "
        f"{math.prod(_shape(listing)) / 1e6:.0f} MB; make room, or name a folder with "
        "XDG_CACHE_HOME"
    )


def _identity(place: Path) -> tuple[int, int, int] | None:
    """What tells a file from one that has taken its place since, None if there is none."""
    try:
        found = place.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def places(data_dir: str | Path, listing: ClassFiles) -> list[Path]:
    """Where the cache of a data folder may be, the preferred one first."""
    name = f"{listing.format.size}-{listing.format.mode}.pixels"
    return [Path(data_dir) / FOLDER / name, _users_folder(data_dir) / name]


def _shape(listing: ClassFiles) -> tuple[int, ...]:
    """Of the pixels: images, height, width, channels."""
    return int(listing.counts.sum()), *listing.format.shape


def _users_folder(data_dir: str | Path) -> Path:
    """Where the cache lies if the data folder cannot be written."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if base.startswith("~"):  # nobody's home
        base = os.path.join(tempfile.gettempdir(), f"cache-{os.getuid()}")
    key = hashlib.sha256(os.fsencode(os.path.realpath(data_dir))).hexdigest()[:16]
    return Path(base) / "supervised-reptile" / key


def _write(place: Path, listing: ClassFiles) -> None:
    """Decode all images and write the file. Raises OSError where that is not possible."""
    if shutil.disk_usage(place.parent).free < math.prod(_shape(listing)):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    temporary = place.with_suffix(".tmp")  # one of a killed run is overwritten
    checksums: list[int] = []

    def written(arrays: Iterable[np.ndarray], file: BinaryIO) -> Iterator[np.ndarray]:
        for images in arrays:
            # Not through a mapping: on a full disk that would end the process.
            file.write(_bytes(images))
            checksums.append(zlib.crc32(_bytes(images)))
            yield images

    try:
        with open(temporary, "wb") as file, listing.decode() as arrays:
            digest = digest_of(listing.names, listing.counts, written(arrays, file))
            footer = {
                "listing": listing.key,
                "shape": _shape(listing),
                "checksums": checksums,
                "digest": digest,
            }
            text = json.dumps(footer).encode()
            file.write(text + END.pack(len(text), zlib.crc32(text), MARK))
        files.put_in_place({temporary: place})
    finally:
        temporary.unlink(missing_ok=True)


def read(place: Path, listing: ClassFiles) -> Cached | None:
    """The Cached that a file holds, or None if it is missing, of other images, or damaged."""
    if not place.is_file():  # a pipe would never end
        return None
    try:
        with open(place, "rb") as file:
            footer = _read_footer(file)
            size = file.tell()
        shape = _shape(listing)
        if footer["listing"] != listing.key or footer["shape"] != list(shape):
            return None
        if size != math.prod(shape):
            raise ValueError("wrong length")
        pixels = map_pixels(place, shape)
        # CRC-32 leaves Python's lock alone, so that threads compute on all cores.
        with concurrent.futures.ThreadPoolExecutor(machine.cores()) as threads:
            classes = np.split(pixels, np.cumsum(listing.counts)[:-1])
            if list(threads.map(zlib.crc32, classes)) != footer["checksums"]:
                raise ValueError("wrong checksum")
    except OSError:
        return None
    except (ValueError, KeyError, TypeError, struct.error) as error:
        print(f"{place} is damaged ({error}): the images are read anew", file=sys.stderr)
        return None
    return Cached(pixels, footer["digest"])


def _read_footer(file: BinaryIO) -> dict[str, Any]:
    """The footer of an open file, which is left where the pixels end."""
    start = file.seek(0, os.SEEK_END) - END.size
    if start < 0:
        raise ValueError("too short")
    file.seek(start)
    length, checksum, mark = END.unpack(file.read(END.size))
    if mark != MARK or length > start:
        raise ValueError("no end mark")
    file.seek(start - length)
    text = file.read(length)
    if zlib.crc32(text) != checksum:
        raise ValueError("wrong checksum of the footer")
    file.seek(start - length)
    return json.loads(text)
