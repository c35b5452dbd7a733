"""The command line of fetch_data.sh."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from supervised_reptile.system import requirements

if __name__ == "__main__":  # before imports that fail in another Python
    requirements.check("fetch_data.sh", ("numpy", "PIL", "requests", "tqdm"))

from supervised_reptile.data import provenance
from supervised_reptile.data.folders import fetch_command
from supervised_reptile.fetch import build, miniimagenet, omniglot
from supervised_reptile.fetch.sources import Sources, read_sources
from supervised_reptile.system import signals
from supervised_reptile.system.errors import FailedError, RefusedError, UnsoundError, explain
from supervised_reptile.system.output import note

PROGRAM = fetch_command().removeprefix("./")
FOLDER = Path("data")
PART = "a part of it needs no fetching: name its folder with --data-dir"
EPILOG = """\
environment variables:
  OMNIGLOT_URL          an address or folder with images_background.zip and
                        images_evaluation.zip, or a folder in which they were unpacked,
                        instead of GitHub
  IMAGENET_TRAIN_TAR    your ILSVRC2012_img_train.tar: a file, or a folder into which it was
                        unpacked (train/n01532829/n01532829_33.JPEG); the authors' 59,981
                        images are read from it
  MINIIMAGENET_LISTS    the authors' lists for that: an address, a folder or a tar file,
                        instead of GitHub
  MINIIMAGENET_ARCHIVE  miniImageNet ready-made: a folder, a zip or tar file, or the address
                        of one, that holds one of
                          the 100 class folders, side by side or in train/, val/ and test/
                          images/ with train.csv, val.csv and test.csv
                          mini-imagenet-cache-*.pkl
                          miniImageNet_category_split_*.pickle
                        an address that ends in / is where mini-imagenet-cache-*.pkl are
Without IMAGENET_TRAIN_TAR and MINIIMAGENET_ARCHIVE, the pickles are fetched from Zenodo
(record 7978538).
"""
# The module that reads each dataset from its sources, and checks it.
DATASETS: dict[str, ModuleType] = {"omniglot": omniglot, "miniimagenet": miniimagenet}


def fetch(name: str, sources: Sources) -> None:
    """Fetch a dataset unless it is there. Raises FailedError, saying what to do, or RefusedError
    if another fetch is making it."""
    module, place = DATASETS[name], FOLDER / name
    target = place.resolve()  # a link may lead to where there is room
    if target.is_dir() and any(target.iterdir()):
        try:
            module.check_names(target)
        except UnsoundError as error:
            raise FailedError(
                f"{place} exists but is incomplete ({error}): {PART}; or remove it to fetch it "
                "again"
            ) from None
        # A fetch that was killed after its rename leaves this folder.
        shutil.rmtree(build.work_folder(target), ignore_errors=True)
        print(f"{place} is complete. ('{fetch_command()} verify' checks every image.)", flush=True)
        return
    try:
        build.make(target, lambda work: module.read(sources, work), module.check)
    except FailedError as error:
        raise FailedError(
            f"Cannot fetch {name}: {error}. Set {module.SETTINGS} to another source (--help says "
            f"which there are); {PART}."
        ) from None
    except (OSError, MemoryError) as error:
        raise FailedError(f"Cannot make {place}: {explain(error)}") from None
    print(f"{place} is complete.", flush=True)


def verify() -> None:
    """Check the datasets that are there. Raises FailedError, naming what is broken."""
    if not (found := [name for name in DATASETS if (FOLDER / name).exists()]):
        raise FailedError(f"{FOLDER}/ holds no dataset.")
    problems = []
    for name in found:
        folder = FOLDER / name
        try:
            print(f"{folder} is intact. {_verify(folder, DATASETS[name])}", flush=True)
        except UnsoundError as error:
            problems.append(f"{folder}: {error}: remove {folder} and fetch it again")
        except RefusedError as error:
            problems.append(f"{folder}: {error}")
    if problems:
        raise FailedError("\n".join(problems))


def _verify(folder: Path, module: ModuleType) -> str:
    """The line about a dataset that is intact. Raises UnsoundError or RefusedError."""
    digest = module.check(folder)
    origin = provenance.read(folder)
    recorded = origin.get("digest", digest)
    if digest != recorded:
        raise UnsoundError(f"changed since it was fetched: digest {digest}, not {recorded}")
    if stale := module.stale_cache(folder):
        raise RefusedError(f"the cache {stale} holds other pixels than the images: remove it")
    unknown = "" if "digest" in origin else f" (Source: {origin['source']}.)"
    return f"Digest of all images: {digest}{unknown}"


def read_command_line(arguments: Sequence[str]) -> list[str]:
    """The names of the datasets to fetch, or ["verify"]. Exits if the arguments are unclear."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=f"Fetch Omniglot and miniImageNet into {FOLDER}/, completely or not at all.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what",
        nargs="?",
        choices=[*DATASETS, "verify"],
        help="the dataset to fetch (default: both), or verify: check those that are there",
    )
    what = parser.parse_args(arguments).what
    return [what] if what else list(DATASETS)


def run(arguments: Sequence[str]) -> int:
    """Do what the command line asks for; return the exit status, after one line of explanation."""
    todo, status = read_command_line(arguments), 0
    try:
        signals.raise_interrupted()
        sources = read_sources(os.environ)
        for name in todo:
            try:
                verify() if name == "verify" else fetch(name, sources)
            except FailedError as error:
                note(str(error))
                status = 1
    except (RefusedError, OSError) as error:
        note(f"{PROGRAM}: error: {error}")
        status = 2 if isinstance(error, RefusedError) else 1
    except signals.Interrupted as interruption:
        note(f"{PROGRAM}: {interruption}")
        status = 128 + interruption.number
    return status


def main() -> NoReturn:
    """Run the command line, and exit."""
    requirements.check(PROGRAM, packages=())
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
