"""miniImageNet from ImageNet's archive or what was unpacked from it, by the authors' lists."""

import json
import tarfile
from collections import Counter

import pytest
import servers
from packaged import SHARED, SMALL, files_in, jpeg, needs_real, write_tree
from test_fetch import digest_of

from supervised_reptile.fetch import miniimagenet
from supervised_reptile.system.errors import FailedError


def read_real_lists(number):
    """The first lines of each of the authors' lists, by path."""
    with tarfile.open(SHARED / "authors_metadata.tar.gz") as archive:
        texts = {
            "/".join(member.name.split("/")[-2:]): archive.extractfile(member).read().decode()
            for member in archive.getmembers()
            if member.isfile()
        }
    return {name: "".join(text.splitlines(True)[:number]).encode() for name, text in texts.items()}


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Two images of each class, as ImageNet's archive, and lists that name them: the settings, and
    the files that are to come of it.

    The archive has small images at the bytes that the authors' lists give, and zeros behind them.
    Where nothing was written takes no space.
    """
    if not SHARED.is_dir():
        pytest.skip("no lists in ../shared/data/miniimagenet")
    lists = read_real_lists(2)
    write_tree(tmp_path / "lists", lists)
    monkeypatch.setattr(miniimagenet, "LISTS_DIGEST", digest_of(lists))
    monkeypatch.setattr(miniimagenet, "IMAGES", 2)
    files = {}
    with (tmp_path / "training.tar").open("wb") as archive:
        for path, content in lists.items():
            for line in content.decode().splitlines():
                name, place = line.split(",")
                first, last = map(int, place.split("-"))
                image = jpeg(first % 256)
                files[f"{path[:-4]}/{name}"] = image + bytes(last - first + 1 - len(image))
                archive.seek(first)
                archive.write(image)
                archive.truncate(max(last + 1, archive.seek(0, 2)))
    settings = {
        "IMAGENET_TRAIN_TAR": str(tmp_path / "training.tar"),
        "MINIIMAGENET_LISTS": str(tmp_path / "lists"),
    }
    return settings, files


def test_the_archive_with_lists_from_an_address(stand_in, fetch_mini, tmp_path):
    settings, files = stand_in
    with servers.serving(tmp_path / "lists") as server:
        found = fetch_mini(**settings | {"MINIIMAGENET_LISTS": server.url})
    assert files_in(found) == files and len(server.requests) == 100
    record = json.loads((found / "origin.json").read_text())
    assert record["packaging"] == "ILSVRC2012_img_train.tar"
    assert record["source"] == f"file://{settings['IMAGENET_TRAIN_TAR']}"


def test_another_archive_is_refused_at_once(stand_in, fetch_mini, tmp_path):
    settings, _ = stand_in
    (tmp_path / "other.tar").write_bytes(bytes(10))
    with pytest.raises(FailedError, match=r"other.tar: bytes .* this is not ILSVRC2012_img_train"):
        fetch_mini(**settings | {"IMAGENET_TRAIN_TAR": str(tmp_path / "other.tar")})
    assert not (tmp_path / "data" / "miniimagenet").exists()


def test_other_lists_are_refused(stand_in, fetch_mini, tmp_path):
    settings, _ = stand_in
    (tmp_path / "lists/train/n01532829.csv").write_text("../../../evil.JPEG,0-9\n")
    with pytest.raises(FailedError, match="not those of the authors"):
        fetch_mini(**settings)


@pytest.mark.parametrize("top", ["", "ILSVRC/Data/CLS-LOC/train"])
def test_an_unpacked_archive(stand_in, fetch_mini, tmp_path, top):
    """Only the authors' images are taken, and none of the validation images."""
    settings, files = stand_in
    folder = tmp_path / "ILSVRC" / top
    write_tree(folder, {path.partition("/")[2]: content for path, content in files.items()})
    write_tree(folder, {"n01532829/n01532829_0.JPEG": jpeg(1), "n01440764/n01440764_1.JPEG": b""})
    if top:
        write_tree(folder.parent / "a_val", {"n01532829/ILSVRC2012_val_00000001.JPEG": jpeg(1)})
    found = fetch_mini(**settings | {"IMAGENET_TRAIN_TAR": str(tmp_path / "ILSVRC")})
    assert files_in(found) == files
    record = json.loads((found / "origin.json").read_text())
    assert record["packaging"] == "ILSVRC2012_img_train, unpacked"


UNPACKED = {
    "another image": (lambda content: bytes(len(content)), "JPEG .*cannot identify image"),
    "no image": (lambda content: None, "lacks images of the authors, or has others"),
}


@pytest.mark.parametrize("fault", UNPACKED)
def test_an_unpacked_archive_with_other_images_is_refused(stand_in, fetch_mini, tmp_path, fault):
    settings, files = stand_in
    change, message = UNPACKED[fault]
    by_class = {path.partition("/")[2]: content for path, content in files.items()}
    name = next(path for path in by_class if path.startswith("n13133613/"))
    changed = by_class | {name: change(by_class[name])}
    kept = {path: content for path, content in changed.items() if content is not None}
    settings["IMAGENET_TRAIN_TAR"] = str(write_tree(tmp_path / "ILSVRC", kept))
    with pytest.raises(FailedError, match=message) as caught:
        fetch_mini(**settings)
    assert name in str(caught.value)


@needs_real
def test_the_authors_lists_are_recognised(tmp_path):
    where = (SHARED / "authors_metadata.tar.gz").as_uri()
    lists = miniimagenet.read_lists(where, tmp_path)
    counts = Counter(path.parent for path in lists)
    assert counts.total() == 59_981
    assert [sum(path.parent.name == part for path in counts) for part in SMALL] == [64, 16, 20]
    assert all(n == miniimagenet.AUTHORS_IMAGES.get(path.name, 600) for path, n in counts.items())
    for path, (first, last) in lists.items():
        assert path.name.startswith(f"{path.parent.name}_") and first < last
