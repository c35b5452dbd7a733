"""miniImageNet from every packaging people share."""

import pickle
import shutil

import numpy as np
import packaged
import pytest
import servers
from packaged import files_in, listed, pickled, write_tar, write_tree, write_zip
from test_pickles import Calls

from supervised_reptile.data import provenance
from supervised_reptile.fetch import __main__ as command
from supervised_reptile.fetch import miniimagenet
from supervised_reptile.system.errors import FailedError


@pytest.fixture
def small(monkeypatch):
    """A miniImageNet of four classes of three images."""
    monkeypatch.setattr(miniimagenet, "CLASSES", packaged.SMALL)
    monkeypatch.setattr(miniimagenet, "IMAGES", 3)
    return packaged.small_files()


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


def listed_otherwise(files):
    return listed(files, ("class_name", "image_name"))


def lists_of_class_folders(files):
    lists = {path: text for path, text in listed(files).items() if path.endswith(".csv")}
    return lists | packaged.below("mini/images", packaged.unsplit(files))


# What each packaging makes of the files, and the name by which origin.json knows it.
PACKAGINGS = {
    "class folders": (lambda files: files | STRAY, "class folders"),
    "a folder called validation": (moved("val/", "validation/"), "class folders"),
    "without a split": (packaged.unsplit, "class folders"),
    "lists": (listed, "images/ with lists"),
    "lists of easy-few-shot-learning": (listed_otherwise, "images/ with lists"),
    "lists of class folders": (lists_of_class_folders, "images/ with lists"),
}


@pytest.mark.parametrize("form", PACKAGINGS)
def test_packagings(small, fetch_mini, tmp_path, form):
    """As a folder, a zip and a tar file in turn."""
    change, name = PACKAGINGS[form]
    write = (write_tree, write_zip, write_tar)[list(PACKAGINGS).index(form) % 3]
    source = write(tmp_path / "mine", change(small))
    found = fetch_mini(MINIIMAGENET_ARCHIVE=str(source))
    assert files_in(found) == small
    record = provenance.read(found)
    assert record["source"] == source.as_uri() and record["packaging"] == name
    assert record["digest"] == packaged.digest_of(small)


@pytest.mark.parametrize("packaging", [pickled, packaged.of_zenodo, packaged.labelled])
def test_pickles(small, fetch_mini, tmp_path, packaging):
    found = fetch_mini(MINIIMAGENET_ARCHIVE=str(write_tar(tmp_path / "mine", packaging(small))))
    files, paths = files_in(found), sorted(small)
    # val/n3/n3_002.png is what val/n3/n300000002.jpg was.
    names = [f"{path[:-12]}_{path[-7:-4]}.png" for path in paths]
    assert sorted(files) == names
    np.testing.assert_array_equal(packaged.pixels(files, names), packaged.pixels(small, paths))


def of_ren(images, classes):
    """The content of a pickle of Ren et al."""
    return {"image_data": images, "class_dict": classes}


IMAGES = np.zeros((3, 84, 84, 3), np.uint8)
CONTENTS = {
    "code": (Calls(exec, "open('executed', 'w')"), "val.pkl: .*it wants to call builtins.exec"),
    "no classes": ({"image_data": IMAGES}, "neither image_data"),
    "floats": (of_ren(IMAGES / 1, {}), "no array of uint8"),
    "other sizes": (of_ren(IMAGES[:, :80], {}), "have the shape"),
    "an index twice": (of_ren(IMAGES, {"n00000003": [0, 1, 1]}), "each image once"),
    "a class that leads elsewhere": (of_ren(IMAGES, {"../n": [0, 1, 2]}), "is not a class"),
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
    files = packaged.of_zenodo(small)
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
    "a class is missing": (without("n00000002"), r"or too many: train/n00000002\. Set IMAG"),
    "an image is missing": (without("n0000000200000001"), r"not 3 images each: train/n00000002 \("),
    "a truncated image": (
        changed(N302, lambda c: c[: len(c) // 2]),
        rf"cannot be decoded: val/n00000003/{N302}.jpg \(.*runcated",
    ),
    "nothing": (lambda files: {"readme.txt": b""}, "holds no folders .* found nothing"),
    "twice": (lambda files: files | packaged.below("again", files), "is there twice"),
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


def test_a_class_may_have_as_few_images_as_the_authors(small, fetch_mini, tmp_path, monkeypatch):
    monkeypatch.setitem(miniimagenet.AUTHORS_IMAGES, "n00000002", 2)
    files = without("n0000000200000001")(small)
    source = write_zip(tmp_path / "mine.zip", files)
    assert files_in(fetch_mini(MINIIMAGENET_ARCHIVE=str(source))) == files


def test_verify_names_what_is_broken(small, fetch_mini, tmp_path):
    found = fetch_mini(MINIIMAGENET_ARCHIVE=str(write_zip(tmp_path / "mine.zip", small)))
    command.verify()
    path = found / "train/n00000001/n0000000100000001.jpg"
    path.write_bytes(packaged.jpeg(7))
    with pytest.raises(FailedError, match=r"changed since .*: remove data/mini.* and fetch it"):
        command.verify()
    path.unlink()
    with pytest.raises(FailedError, match=r"not 3 images each: train/n00000001 \(2\)"):
        command.verify()
