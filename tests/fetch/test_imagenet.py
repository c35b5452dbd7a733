"""miniImageNet from ImageNet's archive or what was unpacked from it, by the authors' lists."""

import pathlib
from collections import Counter

import pytest
from packaged import SMALL, digest_of, files_in, jpeg, unsplit, write_tree

from supervised_reptile.data import provenance
from supervised_reptile.fetch import miniimagenet
from supervised_reptile.system.errors import FailedError

REAL = pathlib.Path(__file__).parents[3] / "shared/data/miniimagenet/authors_metadata.tar.gz"


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Two images of each class, as ImageNet's archive, and lists that name them: the settings, and
    the files that are to come of it.

    The archive is as long as ImageNet's. Where nothing was written takes no space.
    """
    classes = [(split, name) for split, names in miniimagenet.CLASSES.items() for name in names]
    files, lists = {}, {f"{split}/{name}.csv": b"" for split, name in classes}
    with (tmp_path / "training.tar").open("wb") as archive:
        for split, name in classes * 2:
            file, first = f"{name}_{len(files)}.JPEG", archive.seek(690_000_000, 1)
            image = files[f"{split}/{name}/{file}"] = jpeg(len(files)) + bytes(9)
            archive.write(image)
            lists[f"{split}/{name}.csv"] += f"{file},{first}-{archive.tell() - 1}\n".encode()
    write_tree(tmp_path / "lists", lists)
    monkeypatch.setattr(miniimagenet, "LISTS_DIGEST", digest_of(lists))
    monkeypatch.setattr(miniimagenet, "IMAGES", 2)
    settings = {
        "IMAGENET_TRAIN_TAR": str(tmp_path / "training.tar"),
        "MINIIMAGENET_LISTS": str(tmp_path / "lists"),
    }
    return settings, files


def test_the_archive_with_lists_from_an_address(stand_in, fetch_mini, server, tmp_path):
    settings, files = stand_in
    server.folder = tmp_path / "lists"
    found = fetch_mini(**settings | {"MINIIMAGENET_LISTS": server.url})
    assert files_in(found) == files and len(server.requests) == 100
    record = provenance.read(found)
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


def test_wrong_lists_from_an_address_are_fetched_again(stand_in, fetch_mini, server, tmp_path):
    settings, files = stand_in
    server.folder, path = tmp_path / "lists", tmp_path / "lists/train/n01532829.csv"
    right = path.read_bytes()
    path.write_text("<html>a sign-in page</html>")
    with pytest.raises(FailedError, match="not those of the authors"):
        fetch_mini(**settings | {"MINIIMAGENET_LISTS": server.url})
    path.write_bytes(right)
    assert files_in(fetch_mini(**settings | {"MINIIMAGENET_LISTS": server.url})) == files


@pytest.mark.parametrize("top", ["", "train", "Data/CLS-LOC/train", "ILSVRC/Data/CLS-LOC/train"])
def test_an_unpacked_archive(stand_in, fetch_mini, tmp_path, top):
    """Only the authors' images are taken, and none of the validation images."""
    settings, files = stand_in
    folder = tmp_path / "ILSVRC" / top
    others = {"n01532829/n01532829_9999.JPEG": jpeg(1), "n01440764/n01440764_1.JPEG": b""}
    write_tree(folder, unsplit(files) | others)
    if top:
        write_tree(folder.parent / "a_val", {"n01532829/ILSVRC2012_val_00000001.JPEG": jpeg(1)})
    found = fetch_mini(**settings | {"IMAGENET_TRAIN_TAR": str(tmp_path / "ILSVRC")})
    assert files_in(found) == files
    assert provenance.read(found)["packaging"] == "ILSVRC2012_img_train, unpacked"


def spoil(path):
    path.write_bytes(bytes(path.stat().st_size))


UNPACKED = {
    "another image": (spoil, "JPEG .*cannot identify image"),
    "no image": (pathlib.Path.unlink, "lacks images of the authors"),
    "another size": (lambda path: path.write_bytes(jpeg(7)), "of the authors, or has others"),
}


@pytest.mark.parametrize("fault", UNPACKED)
def test_an_unpacked_archive_with_other_images_is_refused(stand_in, fetch_mini, tmp_path, fault):
    settings, files = stand_in
    change, message = UNPACKED[fault]
    folder = write_tree(tmp_path / "ILSVRC", unsplit(files))
    path = next(folder.glob("n13133613/*"))
    change(path)
    with pytest.raises(FailedError, match=message) as caught:
        fetch_mini(**settings | {"IMAGENET_TRAIN_TAR": str(folder)})
    assert f"n13133613/{path.name}" in str(caught.value)


@pytest.mark.skipif(not REAL.exists(), reason="no lists in ../shared/data/miniimagenet")
def test_the_authors_lists_are_recognised(tmp_path):
    lists = miniimagenet.read_lists(REAL.as_uri(), tmp_path)
    counts = Counter(path.parent for path in lists)
    assert counts.total() == 59_981
    assert [sum(path.parent.name == part for path in counts) for part in SMALL] == [64, 16, 20]
    assert all(n == miniimagenet.AUTHORS_IMAGES.get(path.name, 600) for path, n in counts.items())
    for path, (first, last) in lists.items():
        assert path.name.startswith(f"{path.parent.name}_") and first < last
