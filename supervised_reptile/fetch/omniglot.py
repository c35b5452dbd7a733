"""Omniglot: fetched from its two official archives, and recognised by its content."""

import shutil
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from supervised_reptile.data import provenance
from supervised_reptile.fetch import archives, checks
from supervised_reptile.fetch.download import Client
from supervised_reptile.system.errors import UnsoundError

OFFICIAL = "https://github.com/brendenlake/omniglot/raw/master/python"
MD5 = {  # of the official archives
    "images_background": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
}
ALPHABETS, CHARACTERS, DRAWINGS = 50, 1623, 20  # in both archives together; drawings per character
DIGEST = "811c7e9fcc07e5e7f708a9d2dcaf34a1957fb263ed1841b403d5dbf8e9eaf054"  # checks.digest_of


def fetch(client: Client, base: str, work: Path) -> Path:
    """Make the dataset in `work`, from the archives at the address `base`; return its folder."""
    images = work / "images"
    shutil.rmtree(images, ignore_errors=True)
    for name, md5 in MD5.items():
        print(f"Fetching omniglot/{name} ...", flush=True)
        archive = client.fetch(f"{base}/{name}.zip", work)
        if base == OFFICIAL and checks.file_digest(archive, "md5") != md5:
            raise UnsoundError(f"{name}.zip is not the official archive (MD5 {md5})")
        print(f"Extracting omniglot/{name} ...", flush=True)
        with archives.open_archive(archive) as opened:
            _extract(opened, name, images)
    provenance.write(images, base, "archives", check(images))
    return images


def _extract(archive: archives.Archive, name: str, folder: Path) -> None:
    """Write the drawings of an archive to <folder>/<Alphabet>/characterNN/."""
    for path in tqdm(archive.members, unit=" files", disable=None):
        if path.match(f"{name}/*/*/*.png") and len(path.parts) == 4:
            drawing = folder / Path(*path.parts[1:])
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
        raise UnsoundError(f"not {DRAWINGS} drawings each: {checks.some(counts)}")


def check(folder: Path) -> str:
    """The digest of a folder that holds Omniglot. Raises UnsoundError for any other."""
    check_names(folder)
    digest = checks.check_images(folder)
    if digest != DIGEST:
        raise UnsoundError(
            f"the drawings are not those of Omniglot: their digest is {digest}, not {DIGEST}"
        )
    return digest
