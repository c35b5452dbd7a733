"""miniImageNet from byte ranges of ImageNet's archive, by the authors' lists."""

import hashlib
import json
import tarfile

import pytest
import servers
from packaged import SHARED, SMALL, files_in, jpeg, needs_real, write_tree

from supervised_reptile.fetch import download, imagenet, miniimagenet
from supervised_reptile.system.errors import FailedError


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir(exist_ok=True)
    with servers.serving(tmp_path / "served") as server:
        yield server


# The stand-in for ImageNet's archive: images of a few kilobytes at the bytes that the authors'
# lists give, with zeros behind them up to the last. Where nothing was written takes no space.


def write_stand_in(path, lists):
    ranges = sorted(line for lines in lists.values() for line in lines)
    with path.open("wb") as file:
        for number, (name, first, last) in enumerate(ranges):
            content = jpeg(number % 256)
            assert len(content) <= last - first + 1, name
            file.seek(first)
            file.write(content)
            file.truncate(max(last + 1, file.seek(0, 2)))
    return path


def read_real_lists(number):
    """The first lines of each of the authors' lists."""
    with tarfile.open(SHARED / "authors_metadata.tar.gz") as archive:
        texts = {
            "/".join(member.name.split("/")[-2:]): archive.extractfile(member).read().decode()
            for member in archive.getmembers()
            if member.isfile()
        }
    return {name: "".join(text.splitlines(True)[:number]).encode() for name, text in texts.items()}


def parse(lists):
    result = {}
    for path, content in lists.items():
        lines = []
        for line in content.decode().splitlines():
            name, _, place = line.partition(",")
            first, _, last = place.partition("-")
            lines.append((name, int(first), int(last)))
        result[path[:-4]] = lines
    return result


@pytest.fixture
def ranges(tmp_path, monkeypatch):
    """Two images of each class: their lists, and the stand-in, as files to serve."""
    if not SHARED.is_dir():
        pytest.skip("no lists in ../shared/data/miniimagenet")
    lists = read_real_lists(2)
    write_tree(tmp_path / "served" / "lists", lists)
    write_stand_in(tmp_path / "served" / "training.tar", parse(lists))
    lines = [f"{hashlib.sha256(lists[name]).hexdigest()}  {name}\n" for name in sorted(lists)]
    digest = hashlib.sha256("".join(lines).encode()).hexdigest()
    monkeypatch.setattr(imagenet, "LISTS_DIGEST", digest)
    monkeypatch.setattr(miniimagenet, "IMAGES", 2)
    return parse(lists)


def expected_files(stand_in, ranges):
    result = {}
    with stand_in.open("rb") as file:
        for folder, lines in ranges.items():
            for name, first, last in lines:
                file.seek(first)
                result[f"{folder}/{name}"] = file.read(last - first + 1)
    return result


def test_byte_ranges_of_a_local_archive(ranges, fetch_mini, tmp_path, capsys):
    served = tmp_path / "served"
    found = fetch_mini(
        IMAGENET_TRAIN_TAR=str(served / "training.tar"), MINIIMAGENET_LISTS=str(served / "lists")
    )
    assert files_in(found) == expected_files(served / "training.tar", ranges)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "Fetching wnid: n01532829" and len(out) == 101


@pytest.fixture
def unpacked(tmp_path, ranges):
    """The files of the stand-in, by class, as its class archives unpack, and the settings."""
    files = expected_files(tmp_path / "served" / "training.tar", ranges)
    by_class = {path.partition("/")[2]: content for path, content in files.items()}
    settings = {
        "IMAGENET_TRAIN_TAR": str(tmp_path / "ILSVRC"),
        "MINIIMAGENET_LISTS": str(tmp_path / "served" / "lists"),
    }
    return by_class, settings


@pytest.mark.parametrize("top", ["", "train", "ILSVRC/Data/CLS-LOC/train"])
def test_an_unpacked_archive(ranges, unpacked, fetch_mini, tmp_path, top):
    """Only the authors' images are taken, and none of the validation images."""
    by_class, settings = unpacked
    folder = write_tree(tmp_path / "ILSVRC" / top, by_class)
    write_tree(folder, {"n01532829/n01532829_0.JPEG": jpeg(1), "n01440764/n01440764_1.JPEG": b""})
    if top:
        write_tree(folder.parent / "a_val", {"n01532829/ILSVRC2012_val_00000001.JPEG": jpeg(1)})
    found = fetch_mini(**settings)
    assert files_in(found) == expected_files(tmp_path / "served" / "training.tar", ranges)
    record = json.loads((found / "origin.json").read_text())
    assert record["packaging"] == "ILSVRC2012_img_train, unpacked"


UNPACKED = {
    "another size": (lambda content: content + b"x", r"bytes, not \d+\)"),
    "another image": (lambda content: bytes(len(content)), "JPEG cannot be decoded"),
    "no image": (lambda content: None, r"lacks images of the authors: \S+ \(missing\)"),
}


@pytest.mark.parametrize("fault", UNPACKED)
def test_an_unpacked_archive_with_other_images_is_refused(unpacked, fetch_mini, tmp_path, fault):
    by_class, settings = unpacked
    change, message = UNPACKED[fault]
    name = next(path for path in by_class if path.startswith("n13133613/"))
    changed = by_class | {name: change(by_class[name])}
    files = {path: content for path, content in changed.items() if content is not None}
    write_tree(tmp_path / "ILSVRC", files)
    with pytest.raises(FailedError, match=message) as caught:
        fetch_mini(**settings)
    assert name.partition("/")[2] in str(caught.value) and "ry again" not in str(caught.value)
    assert not (tmp_path / "data" / "miniimagenet").exists()


def test_another_folder_is_no_unpacked_archive(unpacked, fetch_mini, tmp_path):
    by_class, settings = unpacked
    write_tree(tmp_path / "ILSVRC", {"n01532829/other.JPEG": jpeg(1), "readme.txt": b""})
    with pytest.raises(FailedError) as caught:
        fetch_mini(**settings)
    example = next(path for path in by_class if path.startswith("n01532829/"))
    expected = f"it has none of the authors' images, such as {example}; found n01532829, readme.txt"
    assert f"{expected}. A part of it needs no fetching: name it with --data-dir" in str(
        caught.value
    )


def test_byte_ranges_of_an_address_a_few_at_a_time(ranges, fetch_mini, server, monkeypatch):
    monkeypatch.setattr(imagenet, "LISTS", f"{server.url}/lists")
    # Every kind of fault once, at requests spread over all of them.
    server.faults = [None] * 300
    kinds = [servers.cut_after(3), servers.hang_up, servers.status(500), servers.other_range]
    kinds += [servers.promise_more, servers.status(503, Retry_After="0"), servers.trickle]
    kinds += [servers.status(302, Location="/training.tar")]
    for number, kind in enumerate(kinds):
        server.faults[5 + 35 * number] = kind
    found = fetch_mini(IMAGENET_TRAIN_TAR=f"{server.url}/training.tar")
    assert files_in(found) == expected_files(server.folder / "training.tar", ranges)
    assert 1 < server.busiest <= download.CONNECTIONS


def test_a_server_without_ranges_is_refused_at_once(ranges, fetch_mini, server):
    server.ranges = False
    with pytest.raises(FailedError, match="does not serve byte ranges"):
        fetch_mini(
            IMAGENET_TRAIN_TAR=f"{server.url}/lists/train/n01532829.csv",
            MINIIMAGENET_LISTS=f"{server.url}/lists",
        )
    assert len(server.requests) < 100 + 2 * download.CONNECTIONS + 2


def test_another_archive_is_refused_at_once(ranges, fetch_mini, tmp_path):
    with (tmp_path / "other.tar").open("wb") as file:
        file.truncate((tmp_path / "served" / "training.tar").stat().st_size)
    lists = str(tmp_path / "served" / "lists")
    with pytest.raises(FailedError, match="is not ILSVRC2012_img_train"):
        fetch_mini(IMAGENET_TRAIN_TAR=str(tmp_path / "other.tar"), MINIIMAGENET_LISTS=lists)
    assert not (tmp_path / "data" / "miniimagenet").exists()


def test_images_that_came_before_are_not_fetched_again(ranges, fetch_mini, server):
    settings = {
        "IMAGENET_TRAIN_TAR": f"{server.url}/training.tar",
        "MINIIMAGENET_LISTS": (server.folder / "lists").as_uri(),
    }
    server.faults = [None] * 60 + [servers.status(404)]
    with pytest.raises(FailedError, match="404"):
        fetch_mini(**settings)
    came = len(server.requests) - 1
    server.faults, server.requests = [], []
    fetch_mini(**settings)
    assert came >= 60 and len(server.requests) <= 200 - came + download.CONNECTIONS


def test_other_lists_are_refused(ranges, fetch_mini, tmp_path):
    served = tmp_path / "served"
    (served / "lists/train/n01532829.csv").write_text("../../../evil.JPEG,0-9\n")
    with pytest.raises(FailedError, match="not those of the authors"):
        fetch_mini(
            IMAGENET_TRAIN_TAR=str(served / "training.tar"),
            MINIIMAGENET_LISTS=str(served / "lists"),
        )
    (served / "lists/train/n01532829.csv").unlink()
    with pytest.raises(FailedError, match="lacks the lists train/n01532829"):
        fetch_mini(
            IMAGENET_TRAIN_TAR=str(served / "training.tar"),
            MINIIMAGENET_LISTS=str(served / "lists"),
        )


@needs_real
def test_the_authors_lists_are_recognised():
    with download.Client() as client:
        where = (SHARED / "authors_metadata.tar.gz").as_uri()
        lists = imagenet.fetch_lists(client, where, miniimagenet.CLASSES)
    assert sum(map(len, lists.values())) == 59_981
    assert [sum(split == part for split, _ in lists) for part in SMALL] == [64, 16, 20]
    for (_, name), lines in lists.items():
        assert len(lines) == miniimagenet.AUTHORS_IMAGES.get(name, 600)
        assert all(file.startswith(f"{name}_") and first < last for file, first, last in lines)
