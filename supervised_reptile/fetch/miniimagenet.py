"""miniImageNet: fetched from wherever it can be had, and checked."""

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tqdm import tqdm

from supervised_reptile.data import formats, image_set, provenance
from supervised_reptile.data.folders import Folder
from supervised_reptile.data.miniimagenet import CLASSES, find_classes
from supervised_reptile.fetch import archives, checks, download, imagenet, packagings
from supervised_reptile.fetch.download import Client
from supervised_reptile.fetch.sources import Sources
from supervised_reptile.system.errors import UnsoundError
from supervised_reptile.system.output import some

ZENODO = "https://zenodo.org/records/7978538/files/{}?download=1"
PICKLES = [f"mini-imagenet-cache-{split}.pkl" for split in ("train", "validation", "test")]
IMAGES = 600  # of each class
# The authors' lists have fewer of these.
ONE_LESS = """
    n02099601 n02108551 n02138441 n03075370 n03220513 n03337140 n03527444 n03544143 n03854065
    n04522168 n07584110 n07613480 n07747607 n13133613
"""
AUTHORS_IMAGES = {"n02174001": 598, "n03535780": 597, **dict.fromkeys(ONE_LESS.split(), 599)}


def fetch(client: Client, sources: Sources, work: Path) -> Path:
    """Make the dataset in `work` from the Sources; return its folder."""
    if sources.imagenet:
        images = work / "ranges"
        lists = imagenet.fetch_lists(client, sources.lists, CLASSES)
        packaging = imagenet.fetch(client, sources.imagenet, lists, work, images)
        check_names(images)
        # Each was decoded when it came.
        digest = checks.digest_of_files(images)
        provenance.write(images, sources.imagenet, packaging, digest)
        return images
    images = work / "images"
    shutil.rmtree(images, ignore_errors=True)
    source = sources.miniimagenet or ZENODO
    with archives.open_archive(_locate(client, source, work)) as archive:
        packaging, content = packagings.read(archive)
        _extract(content, images)
    provenance.write(images, source, packaging, check(images))
    return images


def _locate(client: Client, source: str, work: Path) -> Path:
    """The local file or folder that a source is; what is not local is fetched."""
    path = download.local_path(source)
    if path and path.is_dir():
        return path
    pattern = source + "{}" if source.endswith("/") else source
    if "{}" not in pattern:
        print(f"Fetching {download.file_name(source)} ...", flush=True)
        return client.fetch(source, work)
    folder = work / f"pickles-{hashlib.sha256(source.encode()).hexdigest()[:12]}"
    folder.mkdir(exist_ok=True)
    for name in PICKLES:
        print(f"Fetching {name} ...", flush=True)
        client.fetch(pattern.replace("{}", name), folder)
    return folder


def _extract(content: Iterable[packagings.Picture], folder: Path) -> None:
    """Write images, (split, class, file name, bytes) each, as folders of classes."""
    print("Extracting miniimagenet ...", flush=True)
    total = sum(IMAGES * len(names) for names in CLASSES.values())
    split_of = {name: split for split, names in CLASSES.items() for name in names}
    for split, name, file, image in tqdm(content, total=total, unit=" images", disable=None):
        if name not in split_of:
            raise UnsoundError(f"{name} is not a class of miniImageNet")
        split = split or split_of[name]
        if split != split_of[name]:
            raise UnsoundError(f"{name} is not a class of miniImageNet's {split} set")
        path = folder / split / name / Path(file).name
        if path.exists():
            raise UnsoundError(f"{split}/{name}/{path.name} is there twice")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image)


def check_names(folder: Path) -> None:
    """Raise UnsoundError, naming what is missing, unless all files of miniImageNet are there."""
    found = Counter(path.parent.as_posix() for path in checks.list_images(folder))
    expected = {f"{split}/{name}": name for split, names in CLASSES.items() for name in names}
    for problem, classes in (
        ("lacks the classes", expected.keys() - found.keys()),
        ("has classes that are not miniImageNet's", found.keys() - expected.keys()),
    ):
        if classes:
            raise UnsoundError(f"it {problem} {some(sorted(classes))}")
    wrong = [
        f"{path} ({found[path]})"
        for path, name in expected.items()
        if found[path] not in (IMAGES, AUTHORS_IMAGES.get(name))
    ]
    if wrong:
        raise UnsoundError(f"not {IMAGES} images each: {some(wrong)}")


def check(folder: Path) -> str:
    """The digest of a folder that holds all of miniImageNet. Raises UnsoundError for others."""
    check_names(folder)
    return checks.check_images(folder)


def stale_caches(folder: Path) -> list[Path]:
    """The caches of decoded images that hold other pixels than the images of a folder."""
    root = Folder(folder)
    return image_set.stale_caches(root, find_classes(root)[0], formats.PHOTOGRAPHS)
