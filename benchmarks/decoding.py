"""How long images take to become pixels: decoded on one core and on all, and from the cache.

    python benchmarks/decoding.py FOLDER [--images 60000]

FOLDER holds miniImageNet, or a part of it, as run_miniimagenet.py reads it. Its images are copied
as often as it takes to make up that number, below a temporary folder that is removed at the end.
"""

import argparse
import functools
import itertools
import os
import pathlib
import shutil
import tempfile
import time

from supervised_reptile.args import Run
from supervised_reptile.data import cache, decoding, miniimagenet
from supervised_reptile.data.decoding import PHOTOGRAPHS
from supervised_reptile.data.folders import Folder


def main():
    """Print a table of seconds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="train/, val/ and test/ of class folders")
    parser.add_argument("--images", type=int, default=60000, help="images in all (default: 60000)")
    arguments = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="decoding-"))
    try:
        fill(folder, arguments.folder, arguments.images)
        classes, _ = miniimagenet.find_classes(Folder(folder))
        files = cache.list_files(classes, PHOTOGRAPHS, {}).files
        print(f"{sum(map(len, files))} images of {len(files)} classes, {os.cpu_count()} cores")
        for cores in sorted({1, 2, os.cpu_count()}):
            report(f"decoding on {cores}", lambda cores=cores: decode(files, cores))
        report("cold start (decodes, writes the cache)", lambda: load(folder))
        report("warm start (maps the cache)", lambda: load(folder))
    finally:
        shutil.rmtree(folder)


def fill(folder, source, number):
    """Copy the images of a source, over and over, until each class has its share of a number."""
    folders, _ = miniimagenet.find_classes(Folder(source))
    for place in folders.values():
        target = folder / place.path.relative_to(source)
        target.mkdir(parents=True)
        entries = itertools.cycle(place.images)
        for index in range(number // len(folders)):
            entry = next(entries)
            shutil.copyfile(entry.path, target / f"{index:04}{pathlib.Path(entry.name).suffix}")


def decode(files, cores):
    """Decode all images on so many cores."""
    read = functools.partial(decoding.read_class, format=PHOTOGRAPHS)
    with decoding.on_all_cores(read, files, cores) as classes:
        for _ in classes:
            pass


def load(folder):
    """Read the images, as a run does at its start."""
    miniimagenet.load(Run(data_dir=str(folder)), seed=0)


def report(what, work):
    """Do it, and print how long it took."""
    start = time.perf_counter()
    work()
    print(f"{what:40} {time.perf_counter() - start:7.2f} s", flush=True)


if __name__ == "__main__":
    main()
