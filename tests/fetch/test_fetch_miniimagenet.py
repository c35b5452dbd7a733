"""miniImageNet from every packaging people share."""

import hashlib
import io
import json
import pickle
import shutil

import numpy as np
import pytest
import servers
from packaged import (
    SMALL,
    below,
    files_in,
    jpeg,
    labelled,
    listed,
    pickled,
    small_files,
    unsplit,
    write_tar,
    write_tree,
    write_zip,
)
from PIL import Image

from supervised_reptile.fetch import __main__ as command
from supervised_reptile.fetch import miniimagenet
from supervised_reptile.system.errors import FailedError


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir()
    with servers.serving(tmp_path / "served") as server:
        yield server


@pytest.fixture
def small(monkeypatch):
    """A miniImageNet of four classes of three images."""
    monkeypatch.setattr(miniimagenet, "CLASSES", SMALL)
    monkeypatch.setattr(miniimagenet, "IMAGES", 3)
    return small_files()


def without(name):
    return lambda files: {path: c for path, c in files.items() if name not in path}


def changed(name, content):
    return lambda files: {path: content(c) if name in path else c for path, c in files.items()}


def moved(old, new):
    return lambda files: {path.replace(old, new): c for path, c in files.items()}


STRAY = {
    "Thumbs.db": b"x",
    "train/n00000001/desktop.ini": b"x",
    "val/n00000003/._n0000000300000000.jpg": b"x",
    "__MACOSX/train/n00000001/n0000000100000000.jpg": b"x",
}


def lists_of_class_folders(files):
    lists = {path: text for path, text in listed(files).items() if path.endswith(".csv")}
    return lists | below("mini/images", unsplit(files))


# What each packaging makes of the files, and the name by which origin.json knows it.
PACKAGINGS = {
    "class folders": (lambda files: files | STRAY, "class folders"),
    "a folder called validation": (moved("val/", "validation/"), "class folders"),
    "without a split": (unsplit, "class folders"),
    "lists": (listed, "images/ with lists"),
    "lists of easy-few-shot-learning": (
        lambda files: listed(files, ("class_name", "image_name")),
        "images/ with lists",
    ),
    "lists of class folders": (lists_of_class_folders, "images/ with lists"),
}


@pytest.mark.parametrize("form", PACKAGINGS)
def test_packagings(small, fetch_mini, tmp_path, form):
    """As a folder, a zip and a tar file in turn."""
    change, name = PACKAGINGS[form]
    write = (write_tree, write_zip, write_tar)[list(PACKAGINGS).index(form) % 3]
    packaged = write(tmp_path / "mine", change(small))
    found = fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))
    assert files_in(found) == small
    record = json.loads((found / "origin.json").read_text())
    assert record["source"] == packaged.as_uri() and record["packaging"] == name
    lines = [f"{hashlib.sha256(small[name]).hexdigest()}  {name}\n" for name in sorted(small)]
    assert record["digest"] == hashlib.sha256("".join(lines).encode()).hexdigest()


def pixels_by_class(files):
    """The pixels of each class's images, in the order of their names."""
    result = {}
    for path in sorted(files):
        pixels = np.asarray(Image.open(io.BytesIO(files[path])))
        result.setdefault(path.rpartition("/")[0], []).append(pixels)
    return {name: np.stack(pixels) for name, pixels in result.items()}


@pytest.mark.parametrize(
    "packaging",
    [pickled, lambda files: pickled(files, ("train", "validation", "test")), labelled],
)
def test_pickles(small, fetch_mini, tmp_path, packaging):
    found = fetch_mini(MINIIMAGENET_ARCHIVE=str(write_tar(tmp_path / "mine", packaging(small))))
    files = files_in(found)
    assert {path[-18:] for path in files if "n00000003" in path} == {
        f"/n00000003_00{number}.png" for number in range(3)
    }
    expected, pixels = pixels_by_class(small), pixels_by_class(files)
    assert pixels.keys() == expected.keys()
    assert all((pixels[name] == expected[name]).all() for name in expected)


class Executes:
    def __reduce__(self):
        return exec, ("open('executed', 'w')",)


IMAGES = np.zeros((3, 84, 84, 3), np.uint8)
CONTENTS = {
    "code": (Executes(), "cache-val.pkl: .*it wants to call builtins.exec"),
    "no classes": ({"image_data": IMAGES}, "neither image_data"),
    "floats": ({"image_data": IMAGES / 1, "class_dict": {}}, "no array of uint8"),
    "other sizes": ({"image_data": IMAGES[:, :80], "class_dict": {}}, "have the shape"),
    "an index twice": (
        {"image_data": IMAGES, "class_dict": {"n00000003": [0, 1, 1]}},
        "each image once",
    ),
    "a class that leads elsewhere": (
        {"image_data": IMAGES, "class_dict": {"../n": [0, 1, 2]}},
        "is not a class",
    ),
}


@pytest.mark.parametrize("fault", CONTENTS)
def test_pickles_of_something_else_are_refused(small, fetch_mini, tmp_path, fault):
    content, message = CONTENTS[fault]
    files = pickled(small) | {"mini-imagenet-cache-val.pkl": pickle.dumps(content)}
    with pytest.raises(FailedError, match=message):
        fetch_mini(MINIIMAGENET_ARCHIVE=str(write_tree(tmp_path / "mine", files)))
    assert list((tmp_path / "data").iterdir()) == [] and not (tmp_path / "executed").exists()


def test_the_address_of_an_archive(small, fetch_mini, server, tmp_path):
    """One that came damaged is not used again."""
    write_zip(server.folder / "mini.zip", small)
    server.faults = [servers.corrupt]
    with pytest.raises(FailedError, match="not a sound zip or tar archive"):
        fetch_mini(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")
    assert list((tmp_path / "data").iterdir()) == []
    assert files_in(fetch_mini(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")) == small


@pytest.mark.parametrize("is_set", [True, False])
def test_an_address_of_pickles(small, fetch_mini, server, monkeypatch, is_set):
    """That of Zenodo, unless another is set."""
    assert miniimagenet.ZENODO == "https://zenodo.org/records/7978538/files/"
    files = pickled(small, ("train", "validation", "test"))
    write_tree(server.folder / "files", files)
    monkeypatch.setattr(miniimagenet, "ZENODO", f"{server.url}/files/")
    found = fetch_mini(MINIIMAGENET_ARCHIVE=f"{server.url}/files/" if is_set else "")
    assert len(files_in(found)) == 12
    assert [path for path, _ in server.requests] == [f"/files/{name}" for name in files]
    shutil.rmtree(found)
    server.always = servers.status(404)
    with pytest.raises(FailedError, match=r"404.*Set IMAGENET_TRAIN_TAR, MINIIMAGENET_LISTS or"):
        fetch_mini()


N302 = "n0000000300000002"
REFUSED = {
    "a class is missing": (
        without("n00000002"),
        r"or too many: train/n00000002\. Set IMAG",
    ),
    "an image is missing": (without("n0000000200000001"), r"not 3 images each: train/n00000002 \("),
    "a truncated image": (
        changed(N302, lambda c: c[: len(c) // 2]),
        rf"cannot be decoded: val/n00000003/{N302}.jpg \(.*runcated",
    ),
    "nothing": (lambda files: {"readme.txt": b""}, "holds no folders .* found nothing"),
    "twice": (lambda files: files | below("again", files), "is there twice"),
    "other columns": (
        lambda files: listed(files, ("name", "class")),
        r"csv has no columns filename,label or class_name",
    ),
    "a list with an open quote": (
        lambda files: listed(files) | {"mini/train.csv": b'filename,label\n"' + b"x" * 200_000},
        r"train\.csv is no list \(field larger than field limit",
    ),
    "lists that lead elsewhere": (
        lambda files: changed("val.csv", lambda c: c.replace(b",n000", b",../n000"))(listed(files)),
        "n00000003 is not a class of miniImageNet",
    ),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_not_whole_is_refused_by_name(small, fetch_mini, tmp_path, fault):
    change, message = REFUSED[fault]
    with pytest.raises(FailedError, match=message) as caught:
        fetch_mini(MINIIMAGENET_ARCHIVE=str(write_zip(tmp_path / "mine.zip", change(small))))
    assert "with --data-dir." in str(caught.value) and "\n" not in str(caught.value)
    assert list((tmp_path / "data").iterdir()) == []


def test_verify_names_what_is_broken(small, fetch_mini, tmp_path, capsys):
    found = fetch_mini(MINIIMAGENET_ARCHIVE=str(write_zip(tmp_path / "mine.zip", small)))
    command.verify()
    assert "data/miniimagenet is intact. Digest of all images: " in capsys.readouterr().out
    path = found / "train/n00000001/n0000000100000001.jpg"
    path.write_bytes(jpeg(7))
    with pytest.raises(FailedError, match="changed since it was fetched"):
        command.verify()
    path.unlink()
    with pytest.raises(FailedError, match=r"not 3 images each: train/n00000001 \(2\)"):
        command.verify()
