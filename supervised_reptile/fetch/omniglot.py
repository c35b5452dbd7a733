"""Omniglot: fetched from its two official archives, and recognised by its content."""

from collections import Counter
from pathlib import Path

from supervised_reptile.data import decoding, image_set
from supervised_reptile.data.folders import Folder
from supervised_reptile.data.omniglot import ARCHIVES, DIGEST, find_characters
from supervised_reptile.fetch import build, sources
from supervised_reptile.fetch.build import Contents
from supervised_reptile.fetch.sources import Sources
from supervised_reptile.system.errors import FailedError, UnsoundError
from supervised_reptile.system.output import some

SETTINGS = "OMNIGLOT_URL"
OFFICIAL = "https://github.com/brendenlake/omniglot/raw/master/python"
ALPHABETS, CHARACTERS, DRAWINGS = 50, 1623, 20  # in both archives together; drawings per character


def read(settings: Sources, work: Path) -> Contents:
    """The Contents of both archives, which may be unpacked. Raises FailedError without them."""
    source = settings[SETTINGS] or OFFICIAL
    place = sources.locate(source, work, [f"{name}.zip" for name in ARCHIVES])
    zips = [place / f"{name}.zip" for name in ARCHIVES]
    parts = [path if path.is_file() else path.with_suffix("") for path in zips]
    if missing := [f"{part.name}.zip or {part.name}/" for part in parts if not part.exists()]:
        raise FailedError(f"{place} is no folder with {' and '.join(missing)}")
    folders = [sources.unpack(part, work / "unpacked" / part.stem) for part in parts]
    # Some programs unpack an archive into one more folder of its name.
    images = (
        (Path(*path.parts[-3:]), path)
        for folder in folders
        for path in sources.list_files(folder)
        if path.suffix == ".png"
    )
    return Contents(source, "archives" if parts == zips else "archives, unpacked", images)


def check_names(folder: Path) -> None:
    """Raise UnsoundError, naming what is missing, unless all files of Omniglot are there."""
    drawings = Counter(path.parent for path in build.list_images(folder))
    alphabets = {character.parent for character in drawings}
    if (len(alphabets), len(drawings)) != (ALPHABETS, CHARACTERS):
        raise UnsoundError(
            f"{len(alphabets)} alphabets with {len(drawings)} characters instead of "
            f"{ALPHABETS} with {CHARACTERS}"
        )
    if uneven := sorted(f"{path} ({n})" for path, n in drawings.items() if n != DRAWINGS):
        raise UnsoundError(f"not {DRAWINGS} drawings each: {some(uneven)}")


def check(folder: Path) -> str:
    """The digest of a folder that holds Omniglot. Raises UnsoundError for any other."""
    check_names(folder)
    digest = build.check_images(folder)
    if digest != DIGEST:
        raise UnsoundError(
            f"the drawings are not those of Omniglot: their digest is {digest}, not {DIGEST}"
        )
    return digest


def stale_cache(folder: Path) -> Path | None:
    """The cache of decoded images if it holds other pixels than the images of a folder."""
    root = Folder(folder)
    return image_set.stale_cache(root, find_characters(root), decoding.CHARACTERS)
