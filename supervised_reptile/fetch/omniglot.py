"""Omniglot: fetched from its two official archives, and recognised by its content."""

import shutil
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from supervised_reptile.data import formats, image_set, provenance
from supervised_reptile.data.folders import Folder
from supervised_reptile.data.omniglot import DIGEST, find_characters
from supervised_reptile.fetch import archives, checks
from supervised_reptile.fetch.download import Client, local_path
from supervised_reptile.fetch.sources import Sources
from supervised_reptile.system.errors import FailedError, UnsoundError
from supervised_reptile.system.output import some

OFFICIAL = "https://github.com/brendenlake/omniglot/raw/master/python"
MD5 = {  # of the official archives
    "images_background": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
}
ALPHABETS, CHARACTERS, DRAWINGS = 50, 1623, 20  # in both archives together; drawings per character


def fetch(client: Client, sources: Sources, work: Path) -> Path:
    """Make the dataset in `work` from both archives; return its folder.

    They are below sources.omniglot, or in the local folder that it is, packed or not.
    """
    base, images = sources.omniglot, work / "images"
    shutil.rmtree(images, ignore_errors=True)
    unpacked = _find_unpacked(base)
    for name, md5 in MD5.items():
        print(f"Fetching omniglot/{name} ...", flush=True)
        archive = unpacked.get(name) or client.fetch(f"{base}/{name}.zip", work)
        if base == OFFICIAL and checks.file_digest(archive, "md5") != md5:
            raise UnsoundError(f"{name}.zip is not the official archive (MD5 {md5})")
        print(f"Extracting omniglot/{name} ...", flush=True)
        with archives.open_archive(archive) as opened:
            _extract(opened, name, images)
    packaging = "archives, unpacked" if unpacked else "archives"
    provenance.write(images, base, packaging, check(images))
    return images


def _find_unpacked(base: str) -> dict[str, Path]:
    """The folders, by name, of those archives of which a local folder holds no zip file.

    Raises FailedError if it holds neither of one.
    """
    if not (folder := local_path(base)):
        return {}
    if not folder.is_dir():
        raise FailedError(f"{folder} is no folder: name the one that holds the archives")
    packed = [name for name in MD5 if (folder / f"{name}.zip").is_file()]
    unpacked = {name: folder / name for name in MD5 if name not in packed}
    missing = [f"{name}.zip or {name}/" for name, path in unpacked.items() if not path.is_dir()]
    if missing:
        found = some(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise FailedError(f"{folder}: expected {' and '.join(missing)}, found {found}")
    return unpacked


def _extract(archive: archives.Archive, name: str, folder: Path) -> None:
    """Write the drawings of an archive to <folder>/<Alphabet>/characterNN/."""
    for path in tqdm(archive.members, unit=" files", disable=None):
        # Some programs unpack an archive into a folder of its name, in which that folder is again.
        if path.suffix == ".png" and path.parts[:-3] in ((), (name,)) and len(path.parts) > 2:
            drawing = folder / Path(*path.parts[-3:])
            content = archive.read(path)
            drawing.parent.mkdir(parents=True, exist_ok=True)
            drawing.write_bytes(content)


def check_names(folder: Path) -> None:
    """Raise UnsoundError, naming what is missing, unless all files of Omniglot are there."""
    drawings = Counter(path.parent for path in checks.list_images(folder))
    alphabets = {character.parent for character in drawings}
    if (len(alphabets), len(drawings)) != (ALPHABETS, CHARACTERS):
        raise UnsoundError(
            f"{len(alphabets)} alphabets with {len(drawings)} characters instead of "
            f"{ALPHABETS} with {CHARACTERS}"
        )
    uneven = sorted(character for character, number in drawings.items() if number != DRAWINGS)
    if uneven:
        counts = [f"{path} ({drawings[path]})" for path in uneven]
        raise UnsoundError(f"not {DRAWINGS} drawings each: {some(counts)}")


def check(folder: Path) -> str:
    """The digest of a folder that holds Omniglot. Raises UnsoundError for any other."""
    check_names(folder)
    digest = checks.check_images(folder)
    if digest != DIGEST:
        raise UnsoundError(
            f"the drawings are not those of Omniglot: their digest is {digest}, not {DIGEST}"
        )
    return digest


def stale_caches(folder: Path) -> list[Path]:
    """The caches of decoded images that hold other pixels than the images of a folder."""
    root = Folder(folder)
    return image_set.stale_caches(root, find_characters(root), formats.CHARACTERS)
