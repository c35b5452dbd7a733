"""miniImageNet from every packaging people share, and from byte ranges of ImageNet's archive."""

import csv
import hashlib
import io
import json
import pathlib
import pickle
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import servers
from PIL import Image

from supervised_reptile.errors import FailedError, UnsoundError
from supervised_reptile.fetch import __main__ as command
from supervised_reptile.fetch import checks, download, imagenet, miniimagenet

SHARED = pathlib.Path(__file__).parents[2] / "shared" / "data" / "miniimagenet"
needs_real = pytest.mark.skipif(
    not SHARED.is_dir(), reason="no miniImageNet in ../shared/data/miniimagenet"
)
SMALL = {"train": ["n00000001", "n00000002"], "val": ["n00000003"], "test": ["n00000004"]}


def jpeg(value):
    file = io.BytesIO()
    Image.fromarray(np.full((84, 84, 3), value, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def small_files():
    """Three images of each class, by path."""
    paths = [
        f"{split}/{name}/{name}0000000{number}.jpg"
        for split, names in SMALL.items()
        for name in names
        for number in range(3)
    ]
    return {path: jpeg(10 * index) for index, path in enumerate(paths)}


@pytest.fixture
def small(monkeypatch):
    """A miniImageNet of four classes of three images."""
    monkeypatch.setattr(miniimagenet, "CLASSES", SMALL)
    monkeypatch.setattr(miniimagenet, "IMAGES", 3)
    return small_files()


@pytest.fixture
def fetch(tmp_path, monkeypatch):
    """A function that fetches with the given settings and returns what is there afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "BACK_OFF", 0.001)

    def fetch(**settings):
        command.fetch("miniimagenet", command.read_sources(settings))
        return tmp_path / "data" / "miniimagenet"

    yield fetch
    shutil.rmtree(tmp_path, ignore_errors=True)


def files_in(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "origin.json"
    }


def write_tree(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def below(top, files):
    return {f"{top}/{name}": content for name, content in files.items()}


def listed(files):
    """The packaging with images/ and lists, the lists last."""
    result, rows = {}, {"train": [], "val": [], "test": []}
    for path, content in files.items():
        split, name, file = path.split("/")
        result[f"mini/images/{file}"] = content
        rows[split].append((file, name))
    for split, lines in rows.items():
        text = io.StringIO()
        csv.writer(text).writerows([("filename", "label"), *lines])
        result[f"mini/{split}.csv"] = text.getvalue().encode()
    return result


def pickled(files, names=("train", "val", "test"), protocol=2):
    """The three pickles, of decoded images."""
    result = {}
    for split, name in zip(("train", "val", "test"), names):
        paths = [path for path in files if path.startswith(f"{split}/")]
        pixels = [np.asarray(Image.open(io.BytesIO(files[path]))) for path in paths]
        classes = {}
        for index, path in enumerate(paths):
            classes.setdefault(path.split("/")[1], []).append(index)
        content = {"image_data": np.stack(pixels), "class_dict": classes}
        result[f"mini-imagenet-cache-{name}.pkl"] = pickle.dumps(content, protocol)
    return result


def test_class_folders_in_a_folder_a_zip_and_a_tar(small, fetch, tmp_path):
    for packaged in (
        write_tree(tmp_path / "mine", below("deep/within", small)),
        write_zip(tmp_path / "mine.zip", small),
        write_tar(tmp_path / "mine.tgz", below("./miniimagenet", small)),
    ):
        found = fetch(MINIIMAGENET_ARCHIVE=str(packaged))
        assert files_in(found) == small
        record = json.loads((found / "origin.json").read_text())
        assert record["source"] == packaged.as_uri() and record["packaging"] == "class folders"
        lines = [f"{hashlib.sha256(small[name]).hexdigest()}  {name}\n" for name in sorted(small)]
        assert record["digest"] == hashlib.sha256("".join(lines).encode()).hexdigest()
        shutil.rmtree(found)


def test_images_with_lists(small, fetch, tmp_path):
    for packaged in (
        write_tree(tmp_path / "mine", listed(small)),
        write_tar(tmp_path / "mine.tar.gz", listed(small)),
        write_zip(tmp_path / "mine.zip", listed(small)),
    ):
        found = fetch(MINIIMAGENET_ARCHIVE=packaged.as_uri())
        assert files_in(found) == small
        shutil.rmtree(found)


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_pickles(small, fetch, tmp_path, validation):
    files = pickled(small, ("train", validation, "test"))
    for packaged in (
        write_tree(tmp_path / "mine", files),
        write_zip(tmp_path / "mine.zip", files),
        write_tar(tmp_path / "mine.tar", files),
    ):
        found = fetch(MINIIMAGENET_ARCHIVE=str(packaged))
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


@pytest.fixture
def server(tmp_path):
    (tmp_path / "served").mkdir(exist_ok=True)
    with servers.serving(tmp_path / "served") as server:
        yield server


def test_addresses_of_an_archive_and_of_pickles(small, fetch, server):
    write_zip(server.folder / "mini.zip", small)
    found = fetch(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")
    assert files_in(found) == small
    shutil.rmtree(found)
    write_tree(server.folder / "p", pickled(small, ("train", "validation", "test")))
    found = fetch(MINIIMAGENET_ARCHIVE=f"{server.url}/p/")
    assert len(files_in(found)) == 12


def test_without_a_setting_the_pickles_of_zenodo_are_tried(small, fetch, server, monkeypatch):
    assert miniimagenet.ZENODO == "https://zenodo.org/records/7978538/files/{}?download=1"
    write_tree(server.folder / "files", pickled(small, ("train", "validation", "test")))
    monkeypatch.setattr(miniimagenet, "ZENODO", server.url + "/files/{}?download=1")
    found = fetch()
    assert len(files_in(found)) == 12
    assert [path for path, _ in server.requests] == [
        f"/files/mini-imagenet-cache-{split}.pkl?download=1"
        for split in ("train", "validation", "test")
    ]


def test_if_zenodo_fails_the_other_ways_are_explained(small, fetch, server, monkeypatch):
    monkeypatch.setattr(miniimagenet, "ZENODO", server.url + "/files/{}?download=1")
    with pytest.raises(FailedError, match=r"404.*IMAGENET_TRAIN_TAR.*MINIIMAGENET_ARCHIVE"):
        fetch()


def test_a_cut_download_is_continued_by_the_next_run(small, fetch, server, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    write_zip(server.folder / "mini.zip", small)
    server.faults = [servers.cut_after(5000)]
    with pytest.raises(FailedError, match="ended after 5000 of"):
        fetch(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")
    found = fetch(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")
    assert files_in(found) == small
    assert server.requests[-1] == ("/mini.zip", "bytes=5000-")


@pytest.mark.parametrize("fault", [servers.corrupt, servers.promise_less])
def test_what_came_damaged_is_refused_and_not_used_again(small, fetch, server, tmp_path, fault):
    write_zip(server.folder / "mini.zip", small)
    server.faults = [fault]
    with pytest.raises(FailedError, match="not a sound archive"):
        fetch(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")
    assert list((tmp_path / "data").iterdir()) == []
    assert files_in(fetch(MINIIMAGENET_ARCHIVE=f"{server.url}/mini.zip")) == small


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


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_not_whole_is_refused_by_name(small, fetch, tmp_path, fault):
    change, message = REFUSED[fault]
    packaged = write_zip(tmp_path / "mine.zip", change(small))
    with pytest.raises(FailedError, match=message):
        fetch(MINIIMAGENET_ARCHIVE=str(packaged))
    assert list((tmp_path / "data").iterdir()) == []


def test_lists_that_name_missing_images_are_refused(small, fetch, tmp_path):
    packaged = write_zip(tmp_path / "a.zip", without("images/n0000000300000002")(listed(small)))
    with pytest.raises(FailedError, match=r"val.csv lists what images/ lacks: n0000000300000002"):
        fetch(MINIIMAGENET_ARCHIVE=str(packaged))


def evil_name(files):
    return changed("val.csv", lambda c: c.replace(b",n00000003", b",../../n00000003"))(
        listed(files)
    )


def test_lists_that_lead_elsewhere_are_refused(small, fetch, tmp_path):
    with pytest.raises(FailedError, match="is not a class of miniImageNet's val set"):
        fetch(MINIIMAGENET_ARCHIVE=str(write_zip(tmp_path / "a.zip", evil_name(small))))


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
def test_pickles_of_something_else_are_refused(small, fetch, tmp_path, fault):
    content, message = CONTENTS[fault]
    files = pickled(small) | {"mini-imagenet-cache-val.pkl": pickle.dumps(content)}
    with pytest.raises(FailedError, match=message):
        fetch(MINIIMAGENET_ARCHIVE=str(write_tree(tmp_path / "mine", files)))
    assert list((tmp_path / "data").iterdir()) == []


class Executes:
    def __reduce__(self):
        return exec, ("open('executed', 'w')",)


def test_pickles_that_run_code_are_refused(small, fetch, tmp_path):
    files = pickled(small) | {"mini-imagenet-cache-val.pkl": pickle.dumps(Executes())}
    packaged = write_tree(tmp_path / "mine", files)
    with pytest.raises(FailedError, match=r"cache-val.pkl: .*it wants to call builtins.exec"):
        fetch(MINIIMAGENET_ARCHIVE=str(packaged))
    assert not (tmp_path / "executed").exists()


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
    write_stand_in(tmp_path / "served" / "train.tar", parse(lists))
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


def test_byte_ranges_of_a_local_archive(ranges, fetch, tmp_path, capsys):
    served = tmp_path / "served"
    found = fetch(
        IMAGENET_TRAIN_TAR=str(served / "train.tar"), MINIIMAGENET_LISTS=str(served / "lists")
    )
    assert files_in(found) == expected_files(served / "train.tar", ranges)
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "Fetching wnid: n01532829" and len(out) == 101


def test_byte_ranges_of_an_address_a_few_at_a_time(ranges, fetch, server, monkeypatch):
    monkeypatch.setattr(imagenet, "LISTS", f"{server.url}/lists")
    # Every kind of fault once, at requests spread over all of them.
    server.faults = [None] * 300
    kinds = [servers.cut_after(3), servers.hang_up, servers.status(500), servers.other_range]
    kinds += [servers.promise_more, servers.status(503, Retry_After="0"), servers.trickle]
    kinds += [servers.status(302, Location="/train.tar")]
    for number, kind in enumerate(kinds):
        server.faults[5 + 35 * number] = kind
    found = fetch(IMAGENET_TRAIN_TAR=f"{server.url}/train.tar")
    assert files_in(found) == expected_files(server.folder / "train.tar", ranges)
    assert 1 < server.busiest <= download.CONNECTIONS


def test_a_server_without_ranges_is_refused_at_once(ranges, fetch, server):
    server.ranges = False
    with pytest.raises(FailedError, match="does not serve byte ranges"):
        fetch(
            IMAGENET_TRAIN_TAR=f"{server.url}/lists/train/n01532829.csv",
            MINIIMAGENET_LISTS=f"{server.url}/lists",
        )
    assert len(server.requests) < 100 + 2 * download.CONNECTIONS + 2


def test_another_archive_is_refused_at_once(ranges, fetch, tmp_path):
    with (tmp_path / "other.tar").open("wb") as file:
        file.truncate((tmp_path / "served" / "train.tar").stat().st_size)
    lists = str(tmp_path / "served" / "lists")
    with pytest.raises(FailedError, match="is not ILSVRC2012_img_train"):
        fetch(IMAGENET_TRAIN_TAR=str(tmp_path / "other.tar"), MINIIMAGENET_LISTS=lists)
    assert not (tmp_path / "data" / "miniimagenet").exists()


def test_images_that_came_before_are_not_fetched_again(ranges, fetch, server):
    settings = {
        "IMAGENET_TRAIN_TAR": f"{server.url}/train.tar",
        "MINIIMAGENET_LISTS": (server.folder / "lists").as_uri(),
    }
    server.faults = [None] * 60 + [servers.status(404)]
    with pytest.raises(FailedError, match="404"):
        fetch(**settings)
    came = len(server.requests) - 1
    server.faults, server.requests = [], []
    fetch(**settings)
    assert came >= 60 and len(server.requests) <= 200 - came + download.CONNECTIONS


def test_other_lists_are_refused(ranges, fetch, tmp_path):
    served = tmp_path / "served"
    (served / "lists/train/n01532829.csv").write_text("../../../evil.JPEG,0-9\n")
    with pytest.raises(FailedError, match="not those of the authors"):
        fetch(
            IMAGENET_TRAIN_TAR=str(served / "train.tar"), MINIIMAGENET_LISTS=str(served / "lists")
        )
    (served / "lists/train/n01532829.csv").unlink()
    with pytest.raises(FailedError, match="lacks the lists train/n01532829"):
        fetch(
            IMAGENET_TRAIN_TAR=str(served / "train.tar"), MINIIMAGENET_LISTS=str(served / "lists")
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


def test_real_images_by_class_folders(real, sixty, fetch):
    assert files_in(fetch(MINIIMAGENET_ARCHIVE=str(SHARED / "miniimagenet-60.tar"))) == real


def test_real_images_by_http(real, sixty, fetch):
    with servers.serving(SHARED) as server:
        server.faults = [servers.cut_after(10_000_000), servers.status(500)]
        found = fetch(MINIIMAGENET_ARCHIVE=f"{server.url}/miniimagenet-60.tar")
        assert files_in(found) == real


def test_real_images_with_their_lists(real, sixty, fetch, tmp_path):
    """The lists of Ravi and Larochelle, the rows of the sixty images of each class."""
    names = {path.rpartition("/")[2] for path in real}
    files = {f"images/{path.rpartition('/')[2]}": content for path, content in real.items()}
    with tarfile.open(SHARED / "ravi_splits.tar.gz") as archive:
        for member in archive.getmembers():
            if member.isfile():
                header, *rows = archive.extractfile(member).read().decode().splitlines()
                kept = [header, *(row for row in rows if row.partition(",")[0] in names)]
                files[member.name.rpartition("/")[2]] = "\n".join(kept).encode()
    assert files_in(fetch(MINIIMAGENET_ARCHIVE=str(write_tar(tmp_path / "a.tgz", files)))) == real


def test_real_images_by_pickles(real, sixty, fetch, tmp_path):
    packaged = write_tree(tmp_path / "mine", pickled(real, ("train", "validation", "test"), 4))
    found = files_in(fetch(MINIIMAGENET_ARCHIVE=str(packaged)))
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


@needs_real
def test_a_part_of_it_is_refused_and_says_what_to_do(fetch):
    with pytest.raises(FailedError, match=r"not 600 images each: .*\(60\).*--data-dir"):
        fetch(MINIIMAGENET_ARCHIVE=str(SHARED / "miniimagenet-60.tar"))


def test_verify_names_what_is_broken(small, fetch, tmp_path, capsys):
    found = fetch(MINIIMAGENET_ARCHIVE=str(write_zip(tmp_path / "mine.zip", small)))
    command.verify()
    assert "data/miniimagenet is whole. Digest of all images: " in capsys.readouterr().out
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
