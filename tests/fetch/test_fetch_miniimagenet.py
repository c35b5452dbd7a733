"""miniImageNet from every packaging people share."""

import hashlib
import io
import json
import pickle
import shutil
import tarfile

import numpy as np
import pytest
import servers
from packaged import (
    SHARED,
    SMALL,
    below,
    files_in,
    jpeg,
    labelled,
    listed,
    needs_real,
    pickled,
    small_files,
    unsplit,
    write_tar,
    write_tree,
    write_zip,
)
from PIL import Image

from supervised_reptile.data import image_set
from supervised_reptile.data.cache import ClassFiles
from supervised_reptile.data.folders import Folder
from supervised_reptile.data.formats import PHOTOGRAPHS
from supervised_reptile.data.miniimagenet import find_classes
from supervised_reptile.fetch import __main__ as command
from supervised_reptile.fetch import checks, download, miniimagenet
from supervised_reptile.system.errors import FailedError, UnsoundError


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir(exist_ok=True)
    with servers.serving(tmp_path / "served") as server:
        yield server


@pytest.fixture
def small(monkeypatch):
    """A miniImageNet of four classes of three images."""
    monkeypatch.setattr(miniimagenet, "CLASSES", SMALL)
    monkeypatch.setattr(miniimagenet, "IMAGES", 3)
    return small_files()


def test_class_folders_in_a_folder_a_zip_and_a_tar(small, fetch_mini, tmp_path):
    for packaged in (
        write_tree(tmp_path / "mine", below("deep/within", small)),
        write_zip(tmp_path / "mine.zip", small),
        write_tar(tmp_path / "mine.tgz", below("./miniimagenet", small)),
    ):
        found = fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))
        assert files_in(found) == small
        record = json.loads((found / "origin.json").read_text())
        assert record["source"] == packaged.as_uri() and record["packaging"] == "class folders"
        lines = [f"{hashlib.sha256(small[name]).hexdigest()}  {name}\n" for name in sorted(small)]
        assert record["digest"] == hashlib.sha256("".join(lines).encode()).hexdigest()
        shutil.rmtree(found)


@pytest.mark.parametrize("top", ["", "archive/", "train_data/images/"])
def test_class_folders_without_a_split(small, fetch_mini, tmp_path, top):
    """As on Kaggle. Their names say to which split they belong."""
    files = {f"{top}{path}": content for path, content in unsplit(small).items()}
    for packaged in (
        write_tree(tmp_path / "mine", files),
        write_zip(tmp_path / "mine.zip", files),
        write_tar(tmp_path / "mine.tgz", files),
    ):
        found = fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))
        assert files_in(found) == small
        shutil.rmtree(found)


def test_a_folder_called_validation(small, fetch_mini, tmp_path):
    packaged = write_tree(tmp_path / "mine", moved("val/", "validation/")(small))
    assert files_in(fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))) == small


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
@pytest.mark.parametrize("header", [("filename", "label"), ("class_name", "image_name")])
def test_lists_of_other_programs(small, fetch_mini, tmp_path, header, start):
    files = listed(small, header, start)
    assert all(files[f"mini/{split}.csv"].startswith(start) for split in SMALL)
    packaged = write_zip(tmp_path / "mine.zip", files)
    assert files_in(fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))) == small


def test_lists_of_images_in_class_folders(small, fetch_mini, tmp_path):
    lists = {path: text for path, text in listed(small).items() if path.endswith(".csv")}
    packaged = write_tree(tmp_path / "mine", lists | below("mini/images", unsplit(small)))
    assert files_in(fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))) == small


def test_lists_with_other_columns_are_refused(small, fetch_mini, tmp_path):
    packaged = write_tree(tmp_path / "mine", listed(small, ("name", "class")))
    with pytest.raises(FailedError, match=r"csv has no rows of filename,label or class_name"):
        fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))


STRAY = {
    "Thumbs.db": b"x",
    "train/desktop.ini": b"x",
    "train/n00000001/Thumbs.db": b"x",
    "val/n00000003/.DS_Store": b"x",
    "val/n00000003/._n0000000300000000.jpg": b"x",
    "__MACOSX/train/n00000001/n0000000100000000.jpg": b"x",
}


@pytest.mark.parametrize("write", [write_tree, write_zip, write_tar])
def test_stray_files_of_systems_are_passed_over(small, fetch_mini, tmp_path, write):
    side_by_side = unsplit(small) | {"Thumbs.db": b"x", "n00000001/desktop.ini": b"x"}
    for number, files in enumerate((small | STRAY, side_by_side)):
        found = fetch_mini(MINIIMAGENET_ARCHIVE=str(write(tmp_path / f"mine{number}", files)))
        assert files_in(found) == small
        shutil.rmtree(found)


@pytest.mark.parametrize(
    ("kind", "start"), [("RAR", b"Rar!\x1a\x07\x01"), ("7z", b"7z\xbc\xaf\x27\x1c")]
)
def test_archives_that_cannot_be_read_are_to_be_unpacked(fetch_mini, tmp_path, kind, start):
    (tmp_path / "mini").write_bytes(start + bytes(100))
    with pytest.raises(FailedError, match=f"mini is a {kind} archive.*: unpack it first") as caught:
        fetch_mini(MINIIMAGENET_ARCHIVE=str(tmp_path / "mini"))
    assert "\n" not in str(caught.value) and "ry again" not in str(caught.value)


def test_images_with_lists(small, fetch_mini, tmp_path):
    for packaged in (
        write_tree(tmp_path / "mine", listed(small)),
        write_tar(tmp_path / "mine.tar.gz", listed(small)),
        write_zip(tmp_path / "mine.zip", listed(small)),
    ):
        found = fetch_mini(MINIIMAGENET_ARCHIVE=packaged.as_uri())
        assert files_in(found) == small
        shutil.rmtree(found)


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_pickles(small, fetch_mini, tmp_path, validation):
    files = pickled(small, ("train", validation, "test"))
    for packaged in (
        write_tree(tmp_path / "mine", files),
        write_zip(tmp_path / "mine.zip", files),
        write_tar(tmp_path / "mine.tar", files),
    ):
        found = fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))
        pixels = {
            path.replace(".jpg", ""): np.asarray(Image.open(io.BytesIO(content)))
            for path, content in small.items()
        }
        again = {
            f"{path[:-8]}0000000{int(path[-7:-4])}": np.asarray(Image.open(io.BytesIO(content)))
            for path, content in files_in(found).items()
        }
        assert pixels.keys() == again.keys()
        assert all((pixels[name] == again[name]).all() for name in pixels)
        shutil.rmtree(found)


def pixels_by_class(files):
    """The pixels of each class's images, in the order of their names."""
    result = {}
    for path in sorted(files):
        pixels = np.asarray(Image.open(io.BytesIO(files[path])))
        result.setdefault(path.rpartition("/")[0], []).append(pixels)
    return {name: np.stack(pixels) for name, pixels in result.items()}


@pytest.mark.parametrize("write", [write_tree, write_zip, write_tar])
def test_pickles_with_labels(small, fetch_mini, tmp_path, write):
    """Without the other images of the training classes."""
    files = labelled(small)
    for split in ("val", "test"):
        other = files["miniImageNet_category_split_train_phase_train.pickle"]
        files[f"miniImageNet_category_split_train_phase_{split}.pickle"] = other
    found = fetch_mini(MINIIMAGENET_ARCHIVE=str(write(tmp_path / "mine", files)))
    expected, pixels = pixels_by_class(small), pixels_by_class(files_in(found))
    assert pixels.keys() == expected.keys()
    assert all((pixels[name] == expected[name]).all() for name in expected)
    record = json.loads((found / "origin.json").read_text())
    assert record["packaging"] == "pickles with labels"


def test_pickles_with_labels_need_all_three_sets(small, fetch_mini, tmp_path):
    files = moved("split_val", "split_train_phase_val")(labelled(small))
    with pytest.raises(FailedError, match="nor the pickles of all three sets; found mini"):
        fetch_mini(MINIIMAGENET_ARCHIVE=str(write_tree(tmp_path / "mine", files)))


IMAGES = np.zeros((3, 84, 84, 3), np.uint8)
NAMES = {"n00000003": 7}
LABELS = {
    "a list": ([1], "no dictionary with data and labels"),
    "no names": ({"data": IMAGES, "labels": [7] * 3}, "catname2label.*names.*cannot be known"),
    "floats": (
        {"data": IMAGES / 1, "labels": [7] * 3, "catname2label": NAMES},
        "no array of uint8",
    ),
    "too few": ({"data": IMAGES, "labels": [7] * 2, "catname2label": NAMES}, "for each image"),
    "no numbers": ({"data": IMAGES, "labels": ["7"] * 3, "catname2label": NAMES}, "whole number"),
    "one unnamed": ({"data": IMAGES, "labels": [7, 7, 8], "catname2label": NAMES}, "the label 8"),
    "two names": (
        {"data": IMAGES, "labels": [7] * 3, "catname2label": NAMES | {"n00000004": 7}},
        "a label of its own",
    ),
    "a label that is none": (
        {"data": IMAGES, "labels": [7] * 3, "catname2label": {"n00000003": [7]}},
        "a label of its own",
    ),
    "a class of another split": (
        {"data": IMAGES, "labels": [7] * 3, "catname2label": {"n00000004": 7}},
        "n00000004 is not a class of miniImageNet's val set",
    ),
}


@pytest.mark.parametrize("fault", LABELS)
def test_pickles_with_other_labels_are_refused(small, fetch_mini, tmp_path, fault):
    content, message = LABELS[fault]
    name = "miniImageNet_category_split_val.pickle"
    files = labelled(small) | {name: pickle.dumps(content)}
    with pytest.raises(FailedError, match=message):
        fetch_mini(MINIIMAGENET_ARCHIVE=str(write_tree(tmp_path / "mine", files)))
    assert list((tmp_path / "data").iterdir()) == []


def test_addresses_of_an_archive_and_of_pickles(small, fetch_mini, server):
    write_zip(server.folder / "mini.zip", small)
    found = fetch_mini(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")
    assert files_in(found) == small
    shutil.rmtree(found)
    write_tree(server.folder / "p", pickled(small, ("train", "validation", "test")))
    found = fetch_mini(MINIIMAGENET_ARCHIVE=f"{server.url}/p/")
    assert len(files_in(found)) == 12


def test_without_a_setting_the_pickles_of_zenodo_are_tried(small, fetch_mini, server, monkeypatch):
    assert miniimagenet.ZENODO == "https://zenodo.org/records/7978538/files/{}?download=1"
    write_tree(server.folder / "files", pickled(small, ("train", "validation", "test")))
    monkeypatch.setattr(miniimagenet, "ZENODO", server.url + "/files/{}?download=1")
    found = fetch_mini()
    assert len(files_in(found)) == 12
    assert [path for path, _ in server.requests] == [
        f"/files/mini-imagenet-cache-{split}.pkl?download=1"
        for split in ("train", "validation", "test")
    ]


def test_if_zenodo_fails_the_other_ways_are_explained(small, fetch_mini, server, monkeypatch):
    monkeypatch.setattr(miniimagenet, "ZENODO", server.url + "/files/{}?download=1")
    with pytest.raises(FailedError, match=r"404.*IMAGENET_TRAIN_TAR.*MINIIMAGENET_ARCHIVE"):
        fetch_mini()


def test_a_cut_download_is_continued_by_the_next_run(small, fetch_mini, server, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    write_zip(server.folder / "mini.zip", small)
    server.faults = [servers.cut_after(5000)]
    with pytest.raises(FailedError, match="ended after 5000 of"):
        fetch_mini(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")
    found = fetch_mini(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")
    assert files_in(found) == small
    assert server.requests[-1] == ("/mini.zip", "bytes=5000-")


@pytest.mark.parametrize("fault", [servers.corrupt, servers.promise_less])
def test_what_came_damaged_is_refused_and_not_used_again(
    small, fetch_mini, server, tmp_path, fault
):
    write_zip(server.folder / "mini.zip", small)
    server.faults = [fault]
    with pytest.raises(FailedError, match="not a sound archive"):
        fetch_mini(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")
    assert list((tmp_path / "data").iterdir()) == []
    assert files_in(fetch_mini(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")) == small


def without(name):
    return lambda files: {path: c for path, c in files.items() if name not in path}


def changed(name, content):
    return lambda files: {path: content(c) if name in path else c for path, c in files.items()}


def moved(old, new):
    return lambda files: {path.replace(old, new): c for path, c in files.items()}


REFUSED = {
    "a class is missing": (without("n00000002"), r"lacks the classes train/n00000002"),
    "a split is missing": (without("val/"), "neither train/, val/"),
    "an image is missing": (
        without("n0000000200000001"),
        r"not 3 images each: train/n00000002 \(2",
    ),
    "a class too many": (moved("n00000002", "n00000009"), "n00000009 is not a class"),
    "a class of another split": (moved("val/n00000003", "val/n00000004"), "n00000004 is not"),
    "an empty image": (
        changed("n0000000300000002", lambda c: b""),
        r"1 images cannot be decoded: val/n00000003/n0000000300000002.jpg \(empty\)",
    ),
    "a truncated image": (
        changed("n0000000300000002", lambda c: c[: len(c) // 2]),
        r"cannot be decoded: val/n00000003/n0000000300000002.jpg \(.*runcated",
    ),
    "a page instead of an image": (
        changed("n0000000300000002", lambda c: b"<html>"),
        r"cannot be decoded: val/n00000003/n0000000300000002.jpg \(cannot identify",
    ),
    "all empty": (changed("n", lambda c: b""), "12 images cannot be decoded.* and 7 more"),
    "nothing": (lambda files: {"readme.txt": b""}, "holds neither"),
    "twice": (lambda files: files | below("again", files), "is there twice"),
}


UNSPLIT = {
    "a class is missing": (without("n00000002"), "lacks the classes train/n00000002"),
    "an image is missing": (without("n0000000200000001"), r"train/n00000002 \(2\)"),
    "a class too many": (
        lambda files: files | {"n00000009/1.jpg": jpeg(1)},
        "n00000009 is not a class of miniImageNet\\.",
    ),
    "twice": (lambda files: files | below("again", files), "is there twice"),
}


@pytest.mark.parametrize("fault", UNSPLIT)
def test_unsplit_folders_that_are_not_whole_are_refused_by_name(small, fetch_mini, tmp_path, fault):
    change, message = UNSPLIT[fault]
    packaged = write_zip(tmp_path / "mine.zip", change(unsplit(small)))
    with pytest.raises(FailedError, match=message):
        fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))
    assert list((tmp_path / "data").iterdir()) == []


def test_only_failures_of_the_network_are_worth_another_try(
    small, fetch_mini, server, tmp_path, monkeypatch
):
    """For a part of it, the first advice is not to fetch it at all."""
    packaged = write_zip(tmp_path / "mine.zip", without("n00000002")(small))
    with pytest.raises(FailedError) as caught:
        fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))
    message = str(caught.value)
    assert "train/n00000002. A part of it needs no fetching: name it with --data-dir;" in message
    assert "ry again" not in message
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    write_zip(server.folder / "mini.zip", small)
    server.always = servers.status(503)
    with pytest.raises(FailedError, match=r"503.*\. Try again, or set IMAGENET_TRAIN_TAR"):
        fetch_mini(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")
    server.always = servers.status(404)
    with pytest.raises(FailedError, match=r"404 Not Found\. Set IMAGENET_TRAIN_TAR"):
        fetch_mini(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_not_whole_is_refused_by_name(small, fetch_mini, tmp_path, fault):
    change, message = REFUSED[fault]
    packaged = write_zip(tmp_path / "mine.zip", change(small))
    with pytest.raises(FailedError, match=message):
        fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))
    assert list((tmp_path / "data").iterdir()) == []


def test_lists_that_name_missing_images_are_refused(small, fetch_mini, tmp_path):
    packaged = write_zip(tmp_path / "a.zip", without("images/n0000000300000002")(listed(small)))
    with pytest.raises(FailedError, match=r"val.csv lists what images/ lacks: n0000000300000002"):
        fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))


def evil_name(files):
    return changed("val.csv", lambda c: c.replace(b",n00000003", b",../../n00000003"))(
        listed(files)
    )


def test_lists_that_lead_elsewhere_are_refused(small, fetch_mini, tmp_path):
    with pytest.raises(FailedError, match="n00000003 is not a class of miniImageNet"):
        fetch_mini(MINIIMAGENET_ARCHIVE=str(write_zip(tmp_path / "a.zip", evil_name(small))))


CONTENTS = {
    "a list": ([1], "no dictionary with image_data"),
    "no classes": ({"image_data": np.zeros((3, 84, 84, 3), np.uint8)}, "no dictionary with"),
    "floats": ({"image_data": np.zeros((3, 84, 84, 3)), "class_dict": {}}, "no array of uint8"),
    "other sizes": (
        {"image_data": np.zeros((3, 80, 80, 3), np.uint8), "class_dict": {}},
        "has the shape",
    ),
    "an index twice": (
        {"image_data": np.zeros((3, 84, 84, 3), np.uint8), "class_dict": {"n00000003": [0, 1, 1]}},
        "indices of class_dict",
    ),
    "an index too large": (
        {"image_data": np.zeros((3, 84, 84, 3), np.uint8), "class_dict": {"n00000003": [0, 1, 3]}},
        "indices of class_dict",
    ),
    "an index that is none": (
        {"image_data": np.zeros((3, 84, 84, 3), np.uint8), "class_dict": {"n00000003": ["0"]}},
        "indices of class_dict",
    ),
    "a class that leads elsewhere": (
        {"image_data": np.zeros((3, 84, 84, 3), np.uint8), "class_dict": {"../n": [0, 1, 2]}},
        "is not a class",
    ),
}


@pytest.mark.parametrize("fault", CONTENTS)
def test_pickles_of_something_else_are_refused(small, fetch_mini, tmp_path, fault):
    content, message = CONTENTS[fault]
    files = pickled(small) | {"mini-imagenet-cache-val.pkl": pickle.dumps(content)}
    with pytest.raises(FailedError, match=message):
        fetch_mini(MINIIMAGENET_ARCHIVE=str(write_tree(tmp_path / "mine", files)))
    assert list((tmp_path / "data").iterdir()) == []


class Executes:
    def __reduce__(self):
        return exec, ("open('executed', 'w')",)


def test_pickles_that_run_code_are_refused(small, fetch_mini, tmp_path):
    files = pickled(small) | {"mini-imagenet-cache-val.pkl": pickle.dumps(Executes())}
    packaged = write_tree(tmp_path / "mine", files)
    with pytest.raises(FailedError, match=r"cache-val.pkl: .*it wants to call builtins.exec"):
        fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))
    assert not (tmp_path / "executed").exists()


@pytest.fixture(scope="module")
def real():
    """The real images, sixty of each class, by path."""
    if not SHARED.is_dir():
        pytest.skip("no miniImageNet in ../shared/data/miniimagenet")
    with tarfile.open(SHARED / "miniimagenet-60.tar") as archive:
        return {
            member.name.partition("/")[2]: archive.extractfile(member).read()
            for member in archive.getmembers()
            if member.isfile()
        }


@pytest.fixture
def sixty(monkeypatch):
    monkeypatch.setattr(miniimagenet, "IMAGES", 60)


def test_real_images_by_class_folders(real, sixty, fetch_mini):
    assert files_in(fetch_mini(MINIIMAGENET_ARCHIVE=str(SHARED / "miniimagenet-60.tar"))) == real


def test_real_images_by_http(real, sixty, fetch_mini):
    with servers.serving(SHARED) as server:
        server.faults = [servers.cut_after(10_000_000), servers.status(500)]
        found = fetch_mini(MINIIMAGENET_ARCHIVE=f"{server.url}/miniimagenet-60.tar")
        assert files_in(found) == real


def test_real_images_with_their_lists(real, sixty, fetch_mini, tmp_path):
    """The lists of Ravi and Larochelle, the rows of the sixty images of each class."""
    names = {path.rpartition("/")[2] for path in real}
    files = {f"images/{path.rpartition('/')[2]}": content for path, content in real.items()}
    with tarfile.open(SHARED / "ravi_splits.tar.gz") as archive:
        for member in archive.getmembers():
            if member.isfile():
                header, *rows = archive.extractfile(member).read().decode().splitlines()
                kept = [header, *(row for row in rows if row.partition(",")[0] in names)]
                files[member.name.rpartition("/")[2]] = "\n".join(kept).encode()
    assert (
        files_in(fetch_mini(MINIIMAGENET_ARCHIVE=str(write_tar(tmp_path / "a.tgz", files)))) == real
    )


def test_real_images_by_pickles(real, sixty, fetch_mini, tmp_path):
    packaged = write_tree(tmp_path / "mine", pickled(real, ("train", "validation", "test"), 4))
    found = files_in(fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged)))
    by_class = {}
    for path in real:
        by_class.setdefault(path.rpartition("/")[0], []).append(path)
    assert len(found) == len(real) == 6000
    for folder, paths in by_class.items():
        for number, path in enumerate(paths):
            again = found[f"{folder}/{folder[-9:]}_{number:03}.png"]
            expected, pixels = (
                np.asarray(Image.open(io.BytesIO(content))) for content in (real[path], again)
            )
            assert (pixels == expected).all()


def test_real_images_without_a_split(real, sixty, fetch_mini, tmp_path):
    packaged = write_tree(tmp_path / "mine", unsplit(real))
    assert files_in(fetch_mini(MINIIMAGENET_ARCHIVE=str(packaged))) == real


@needs_real
def test_a_part_of_it_is_refused_and_says_what_to_do(fetch_mini):
    with pytest.raises(FailedError, match=r"not 600 images each: .*\(60\).*--data-dir"):
        fetch_mini(MINIIMAGENET_ARCHIVE=str(SHARED / "miniimagenet-60.tar"))


def test_verify_compares_the_cache(small, fetch_mini, tmp_path, monkeypatch):
    def noise(listing):
        shape = (listing.counts.sum(), 84, 84, 3)
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    found = fetch_mini(MINIIMAGENET_ARCHIVE=str(write_zip(tmp_path / "mine.zip", small)))
    classes, split = find_classes(root := Folder(found))
    with monkeypatch.context() as patched:
        patched.setattr(ClassFiles, "decode", noise)
        image_set.read_folders(root, classes, split, PHOTOGRAPHS)
    expected = "the cache data/miniimagenet/.cache/84-RGB.npy holds other pixels than the images"
    with pytest.raises(FailedError, match=f"^data/miniimagenet: {expected}: remove it$"):
        command.verify()


def test_verify_names_what_is_broken(small, fetch_mini, tmp_path, capsys):
    found = fetch_mini(MINIIMAGENET_ARCHIVE=str(write_zip(tmp_path / "mine.zip", small)))
    command.verify()
    assert "data/miniimagenet is intact. Digest of all images: " in capsys.readouterr().out
    path = found / "train/n00000001/n0000000100000001.jpg"
    path.write_bytes(jpeg(7))
    with pytest.raises(FailedError, match="changed since it was fetched"):
        command.verify()
    path.write_bytes(b"")
    with pytest.raises(FailedError, match=r"n0000000100000001.jpg \(empty\)"):
        command.verify()
    path.unlink()
    with pytest.raises(FailedError, match=r"not 3 images each: train/n00000001 \(2\)"):
        command.verify()
    with pytest.raises(UnsoundError):
        checks.check_images(write_tree(tmp_path / "x", {"a/b/c.png": b""}))
