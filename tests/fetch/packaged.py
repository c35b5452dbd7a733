"""miniImageNet in every packaging that people share."""

import csv
import hashlib
import io
import pickle
import tarfile
import zipfile

import numpy as np
from PIL import Image

SMALL = {"train": ["n00000001", "n00000002"], "val": ["n00000003"], "test": ["n00000004"]}


def jpeg(value):
    file = io.BytesIO()
    Image.fromarray(np.full((84, 84, 3), value, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def pixels(files, paths):
    """Those of the images with these paths."""
    return np.stack([np.asarray(Image.open(io.BytesIO(files[path]))) for path in paths])


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


def digest_of(files):
    """As `sha256sum | sha256sum` gives it."""
    lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


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


def write_tar(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
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
    result, rows = {}, {split: [] for split in SMALL}
    for path, content in files.items():
        split, name, file = path.split("/")
        result[f"mini/images/{file}"] = content
        rows[split].append((file, name))
    for split, lines in rows.items():
        text = io.StringIO()
        order = slice(None, None, -1 if header[0] == "class_name" else 1)
        csv.writer(text).writerows([header, *(line[order] for line in lines)])
        mark = "-sig" if order.step == -1 else ""  # a byte order mark
        result[f"mini/{split}.csv"] = text.getvalue().encode(f"utf-8{mark}")
    return result


def pickled(files, names=("train", "val", "test")):
    """The three pickles, of decoded images."""
    result = {}
    for split, name in zip(SMALL, names):
        paths = [path for path in files if path.startswith(f"{split}/")]
        classes = {}
        for index, path in enumerate(paths):
            classes.setdefault(path.split("/")[1], []).append(index)
        content = {"image_data": pixels(files, paths), "class_dict": classes}
        result[f"mini-imagenet-cache-{name}.pkl"] = pickle.dumps(content, 2)
    return result


def of_zenodo(files):
    return pickled(files, ("train", "validation", "test"))


def labelled(files):
    """The three pickles of FewShotWithoutForgetting, with their images in no order of classes, next
    to one that is to be left aside."""
    result = {"miniImageNet_category_split_train_phase_val.pickle": b"other images"}
    classes = [name for names in SMALL.values() for name in names]
    for split, part in zip(SMALL, ("train_phase_train", "val", "test")):
        paths = [path for path in files if path.startswith(f"{split}/")]
        paths.sort(key=lambda path: path[-5:])  # by number
        content = {
            "data": pixels(files, paths),
            "labels": [classes.index(path.split("/")[1]) for path in paths],
            "catname2label": {name: classes.index(name) for name in SMALL[split]},
        }
        result[f"miniImageNet_category_split_{part}.pickle"] = pickle.dumps(content, 2)
    return result
