"""miniImageNet in every packaging that people share, and where the real one lies."""

import csv
import io
import pathlib
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

SHARED = pathlib.Path(__file__).parents[3] / "shared" / "data" / "miniimagenet"
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


def unsplit(files):
    """Class folders side by side."""
    return {path.partition("/")[2]: content for path, content in files.items()}


def listed(files, header=("filename", "label")):
    """The packaging with images/ and lists, the lists last."""
    result, rows = {}, {"train": [], "val": [], "test": []}
    for path, content in files.items():
        split, name, file = path.split("/")
        result[f"mini/images/{file}"] = content
        rows[split].append((file, name))
    for split, lines in rows.items():
        text = io.StringIO()
        order = slice(None, None, -1 if header[0] == "class_name" else 1)
        csv.writer(text).writerows([header, *(line[order] for line in lines)])
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


def labelled(files):
    """The three pickles of FewShotWithoutForgetting, with their images in no order of classes."""
    result, label = {}, 0
    for split, name in (("train", "train_phase_train"), ("val", "val"), ("test", "test")):
        paths = sorted((path for path in files if path.startswith(f"{split}/")), key=by_number)
        classes = sorted({path.split("/")[1] for path in paths})
        names = {label + index: name for index, name in enumerate(classes)}
        label += len(classes)
        labels = {name: number for number, name in names.items()}
        content = {
            "data": np.stack([np.asarray(Image.open(io.BytesIO(files[path]))) for path in paths]),
            "labels": [labels[path.split("/")[1]] for path in paths],
            "catname2label": labels,
        }
        result[f"miniImageNet_category_split_{name}.pickle"] = pickle.dumps(content, 2)
    return result


def by_number(path):
    return path[-5:], path
