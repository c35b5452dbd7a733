"""Classifying people's own files: what is accepted, what is refused, what is written."""

import base64
import datetime
import io
import json
import os
import pathlib
import re
import sys
import threading
import unicodedata
import zlib

import numpy as np
import pytest
from PIL import Image

import supervised_reptile
from supervised_reptile import main
from supervised_reptile.args import Config
from supervised_reptile.classification import answers, examples
from supervised_reptile.classification import command as commands
from supervised_reptile.classification.answers import Answer
from supervised_reptile.classification.command import classify
from supervised_reptile.data import omniglot, synthetic
from supervised_reptile.data.decoding import CHARACTERS
from supervised_reptile.learning import models
from supervised_reptile.learning.reptile import Reptile
from supervised_reptile.runs import checkpoints, record
from supervised_reptile.system.errors import RefusedError

NAMES = ("ka", "ki", "ku")
MODEL = "--pretrained --checkpoint ckpt"


@pytest.fixture
def folders(tmp_path, monkeypatch, save_image):
    """Three characters: two, one and three examples in l/, two of each in q/ and in flat/."""
    monkeypatch.chdir(tmp_path)
    drawings = synthetic.characters(0, 3, 6)[..., 0]
    for name, count, images in zip(NAMES, (2, 1, 3), drawings):
        for number, image in enumerate(images[:count]):
            save_image(tmp_path / "l" / name / f"{number}.png", image)
        for number, image in enumerate(images[4:]):
            save_image(tmp_path / "q" / name / f"{number}.png", image)
            save_image(tmp_path / "flat" / f"{name}{number}.png", image)
    return tmp_path


@pytest.fixture
def model(folders):
    """An untrained network for four classes: it learns characters from six examples well enough."""
    flags = {"classes": 4, "eval_iters": 20, "eval_batch": 6, "synthetic": True}
    config = Config.of("omniglot", {"checkpoint": "ckpt", **flags})
    with record.claim("ckpt", None):
        record.begin(record.Record(config, {"train": [], "test": []}, {}, **record.part({})))
        checkpoints.save("ckpt", 0, Reptile(models.OMNIGLOT, config).new_state(), 1)


@pytest.fixture
def made_up(monkeypatch):
    """Answers without a network."""

    def answer(model, given, repeats):
        first, second, third = given.support
        return [Answer(path, {first: 0.5, second: 0.3, third: 0.2}) for path in given.queries]

    monkeypatch.setattr(commands, "answer", answer)


def command(line):
    """Run Omniglot's script in this process."""
    main.main(omniglot.OMNIGLOT, f"{MODEL} {line}".split())


def test_one_line_for_each_image_and_the_truth_if_it_is_known(folders, model, handlers, capsys):
    command("--classify l q --json a.json --page p.html")
    out, err = capsys.readouterr()
    lines = [line.split("\t") for line in out.splitlines() if line[0] != "#"]
    assert [line[0] for line in lines] == [f"q/{name}/{n}.png" for name in NAMES for n in (0, 1)]
    assert all({line[1], line[3]} < set(NAMES) and float(line[2]) > 1 / 3 for line in lines)
    right = sum(line[0].split("/")[1] == line[1] for line in lines)
    assert f"# accuracy: {right / 6:.4f} ({right} of 6)\n" in out
    kept = json.loads((folders / "a.json").read_text())
    assert [[answer["path"], answer["class"]] for answer in kept] == [line[:2] for line in lines]
    assert all(abs(sum(answer["probabilities"].values()) - 1) < 1e-5 for answer in kept)
    best = [f"{answer['probabilities'][answer['class']]:.4f}" for answer in kept]
    assert best == [line[2] for line in lines]
    assert [answer["truth"] for answer in kept] == [line[0].split("/")[1] for line in lines]
    text = (folders / "p.html").read_text()
    assert text.count("data:image/png;base64,") == 24 and "http" not in text
    marked = re.findall(r'<figure class="wrong"><img src="\S+" alt="(\S+)"', text)
    assert sorted(marked) == [line[0] for line in lines if line[0].split("/")[1] != line[1]]
    device, restoring = err.splitlines()
    assert device.startswith("Computing on the CPU") and restoring == "Restoring ckpt/model.ckpt-0"


@pytest.mark.slow
def test_a_model_without_its_record_is_not_trusted_here_either(folders, model, handlers, capsys):
    """What decides how it adapts is named; what would decide an evaluation alone is not."""
    (folders / "ckpt" / "run.json").unlink()
    command("--classes 4 --eval-iters 20 --classify l flat")
    _, warning, assumed, restoring = capsys.readouterr().err.splitlines()
    assert warning == "Warning: ckpt has no run.json: give what is assumed"
    adapting = "--eval-batch 5, --learning-rate 0.001, --weight-decay 1.0"
    assert assumed.startswith(f"assumed: {adapting}, ")
    assert restoring == "Restoring ckpt/model.ckpt-0"


def test_without_the_truth_there_are_only_lines(model, made_up, handlers, capsys):
    command("--classify l flat")
    assert re.fullmatch(r"(flat/k.\d\.png\tk.\t0\.\d{4}\tk.\n){6}", capsys.readouterr().out)
    command("--classify l flat/ka0.png")
    assert re.fullmatch(r"flat/ka0\.png\tk.\t0\.\d{4}\tk.\n", capsys.readouterr().out)


def test_the_function_gives_what_the_command_prints(model, handlers, capsys):
    command("--classify l q --repeats 2 --seed 5 --eval-batch 3")
    lines = [line for line in capsys.readouterr().out.splitlines() if line[0] != "#"]
    flags = {"seed": 5, "eval_batch": 3}
    found = classify("ckpt", "l", "q", repeats=2, **flags)
    assert [answers.line(answer) for answer in found] == lines
    given, loaded = examples.find("l", "q"), supervised_reptile.load("ckpt", **flags)
    pixels, asked = examples.read(given, loaded.format)
    each = [loaded.adapt(pixels, given.labels, n).probabilities(asked) for n in (0, 1)]
    means = [[answer.probabilities[name] for name in NAMES] for answer in found]
    np.testing.assert_allclose(means, np.mean(each, axis=0), rtol=0, atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 1e-3
    support = {name: [f"l/{name}/0.png"] for name in NAMES}
    alone = classify("ckpt", support, ["q/ka/1.png"], eval_batch=3)
    assert alone[0].path == "q/ka/1.png" and alone[0].truth is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--classify l nowhere", "nowhere is neither an image nor a folder of images"),
        ("--classify nowhere q", "nowhere is no folder"),
        ("--classify flat q", "flat holds no folders of images"),
        ("--classify l/ka q", "l/ka holds no folders of images"),
        ("--repeats 3", "--repeats is part of --classify"),
        ("--classify l q --port 80", "--port and --classify: omit one of them"),
        ("--classify l q --data-dir mine", "--classify uses other images: omit --data-dir"),
        ("--classify l q --synthetic", "--classify uses other images: omit --synthetic"),
        ("--draw --eval-sets test", "--draw uses other images: omit --eval-sets"),
        ("--classify l flat --json no/a.json", "--json no/a.json: there is no folder no:"),
        ("--classify l flat --page flat", "--page flat is a folder"),
        ("--classify l flat --json a --page ./a", "--page ./a is an image or the other file"),
        ("--classify l flat --page flat/ka0.png", "--page flat/ka0.png is an image"),
        ("--classify l flat --json l/ka/0.png", "--json l/ka/0.png is an image"),
        ("--classify l flat --json ckpt/run.json", "ckpt/run.json is in the folder of the model"),
        ("--classify l flat --page ./ckpt/new", "--page ./ckpt/new is in the folder of the model"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name_before_any_work(
    folders, model, refusal, line, reason
):
    before = sorted(folders.rglob("*"))
    assert reason in refusal(f"{MODEL} {line}")
    assert sorted(folders.rglob("*")) == before


def test_a_program_that_asks_for_nonsense_is_told_so(model):
    with pytest.raises(RefusedError, match="repeats: must be a whole number of at least 1, not 0"):
        classify("ckpt", "l", "flat", repeats=0)
    for files, shown in (("l/ka/0.png", "'l/ka/0"), ([], r"\[\]")):
        with pytest.raises(RefusedError, match=f"ka: give a list of one path or more, not {shown}"):
            classify("ckpt", {"ka": files, "ki": ["l/ki/0.png"], "ko": ["l/ko/0.png"]}, "flat")
    with pytest.raises(RefusedError, match="dataset='miniimagenet': the model in ckpt was trained"):
        classify("ckpt", "l", "flat", dataset="miniimagenet")


def test_folders_may_be_paths(folders):
    given = examples.find(pathlib.Path("l"), pathlib.Path("flat"))
    assert given == examples.find("l", "flat") and len(given.queries) == 6


def test_files_that_count_as_no_images_are_named_by_kind(folders, capsys):
    examples.find("l", "flat")
    assert capsys.readouterr().err == ""
    for name in ("l/ka/photo.heic", "l/notes", "flat/a.heic", "flat/b.heic", "flat/c.pdf"):
        (folders / name).touch()
    examples.find("l", "flat")
    assert capsys.readouterr().err.splitlines() == [
        "Warning: --classify l: files are passed over: .heic, notes",
        "Warning: --classify flat: files are passed over: .heic, .pdf",
    ]
    (folders / "q" / "notes.txt").touch()
    examples.find("l", "q")
    assert capsys.readouterr().err.count("--classify q: files are passed over: .txt") == 1


def test_a_truth_that_is_no_class_is_refused(folders):
    (folders / "q" / "ku").rename(folders / "q" / "other")
    with pytest.raises(RefusedError, match="q has the class other, which is none of the labelled"):
        examples.find("l", "q")


def test_all_unreadable_images_are_named(folders):
    (folders / "l" / "ka" / "0.png").write_bytes(b"")
    (folders / "flat" / "ku0.png").write_bytes(b"x")
    with pytest.raises(RefusedError, match=r"2 of the .* read: l/ka/0\.png.*flat/ku0\.png"):
        examples.read(examples.find("l", "flat"), CHARACTERS)


def test_pixels_are_those_of_training_turned_and_on_white(folders):
    drawing = np.asarray(Image.open(folders / "l" / "ki" / "0.png"))
    image = Image.new("LA", (28, 28))
    image.putalpha(Image.fromarray(255 - np.rot90(drawing)))
    exif = Image.Exif()
    exif[274] = 6  # to be turned clockwise
    image.save(folders / "l" / "ki" / "0.png", exif=exif)
    support, _ = examples.read(examples.find("l", "flat"), CHARACTERS)
    assert (support[2, ..., 0] == drawing).all()


def inverted(path):
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


def test_images_unlike_omniglots_are_named_by_kind(folders, capsys):
    given = examples.find("l", "flat")
    examples.read(given, CHARACTERS)
    assert capsys.readouterr().err == ""
    inverted("flat/ka0.png")
    inverted("l/ku/2.png")
    Image.new("L", (50, 50), 240).save("flat/ki1.png")
    examples.read(given, CHARACTERS)
    assert capsys.readouterr().err.splitlines() == [
        "Warning: blank, unlike Omniglot: flat/ki1.png",
        "Warning: light on dark, unlike Omniglot: l/ku/2.png, flat/ka0.png (try --clean)",
    ]


def test_cleaned_examples_and_questions_may_be_light_on_dark(folders, model, capsys):
    expected = classify("ckpt", "l", "flat", clean=True)
    for path in ("flat/ka0.png", "l/ku/2.png"):
        inverted(path)
    found = classify("ckpt", "l", "flat", clean=True)
    assert found == expected and "Omniglot" not in capsys.readouterr().err
    Image.new("L", (50, 50), 240).save("flat/ki1.png")
    with pytest.raises(RefusedError, match=r"1 of the .* read: flat/ki1\.png \(blank: "):
        classify("ckpt", "l", "flat", clean=True)


def test_accuracy_by_class_and_the_confusion_matrix():
    def answer(truth, best):
        return Answer("x", {best: 0.9, **{name: 0.05 for name in "abc" if name != best}}, truth)

    found = [answer(*pair) for pair in ("aa", "aa", "ab", "bb", "ba", "ba")]
    assert answers.summary(found) == [
        "# accuracy: 0.5000 (3 of 6)",
        "#   a: 0.6667 (2 of 3)",
        "#   b: 0.3333 (1 of 3)",
        "# rows: what it is; columns: what it was taken for",
        "#   a b c",
        "# a 2 1 0",
        "# b 2 1 0",
        "# c 0 0 0",
    ]


def seen(files):
    """Other pixels for each file."""
    values = [zlib.crc32(file.encode()) % 251 for file in files]
    return np.uint8(values).repeat(16).reshape(-1, 4, 4, 1)


def test_names_that_would_break_a_line_or_a_page_do_not(folders):
    name = "a\tb\n<b>.png"
    (folders / "flat" / name).write_bytes((folders / "flat" / "ka0.png").read_bytes())
    answer = Answer(f"flat/{name}", {"<i>": 0.7, "x": 0.2, "y": 0.1})
    assert answers.line(answer) == "flat/a\\tb\\n<b>.png\t<i>\t0.7000\tx"
    text = answers.page(examples.find("l", "flat"), [answer], "<i>", seen)
    assert "<b>.png" not in text and "<i>" not in text


def test_the_least_certain_come_first_on_the_page(folders):
    likely = {"a": 0.9, "i": 0.6, "u": 0.8}
    found = [Answer(f"flat/k{v}0.png", {"x": p, "y": 1 - p}) for v, p in likely.items()]
    text = answers.page(examples.find("l", "flat"), found, "o15/model.ckpt-9", seen)
    places = [text.index(f'alt="flat/k{v}0.png"') for v in "iua"]
    assert places == sorted(places) and f"o15/model.ckpt-9, {datetime.date.today()}" in text
    # Next to each picture is what the network saw of it.
    pictures = re.findall(r'alt="([^"]+)" title[^>]+><img class="seen" src="[^,]+,([^"]+)"', text)
    assert len(pictures) > len(found)
    for file, content in pictures:
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        np.testing.assert_array_equal(shown, seen([file])[0, :, :, 0])


def test_no_file_of_the_users_is_lost(folders, model, made_up, handlers, capsys):
    (folders / "a.json.tmp").write_text("mine")
    (folders / "real").write_text("old")
    (folders / "link").symlink_to("real")
    os.mkfifo(folders / "pipe")
    reader = threading.Thread(target=lambda: seen.append((folders / "pipe").read_text()))
    seen = []
    reader.start()
    command("--classify l flat --json a.json --page link")
    command("--classify l flat --json pipe")
    reader.join(20)
    assert (folders / "a.json.tmp").read_text() == "mine"
    assert (folders / "link").is_symlink() and "<html" in (folders / "real").read_text()
    assert seen == [(folders / "a.json").read_text()]


def test_names_that_cannot_be_printed_are_escaped(
    folders, model, made_up, handlers, capsys, monkeypatch
):
    (folders / "flat" / "ka0.png").rename(os.fsdecode(bytes(folders / "flat") + b"/\xe9.png"))
    (folders / "l" / "ka").rename(folders / "l" / "fîsch")
    printed = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", printed)
    command("--classify l flat --page page.html")
    printed.seek(0)
    text = printed.read()
    assert "flat/\\udce9.png\t" in text and "f\\xeesch" in text
    page = (folders / "page.html").read_text("utf-8")
    assert "fîsch" in page and "\\udce9.png" in page


def test_a_class_whose_images_cannot_be_read_is_not_left_out(folders):
    for path in (folders / "l" / "ki").iterdir():
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(RefusedError, match=r"l/ki holds no images: .* convert what is there"):
        examples.find("l", "flat")


def test_images_beside_folders_of_images_are_not_left_out(folders):
    (folders / "q" / "ka" / "0.png").rename(folders / "q" / "0.png")
    with pytest.raises(RefusedError, match="q holds images, and folders of images"):
        examples.find("l", "q")


@pytest.mark.slow
def test_no_class_is_named_where_numbers_are_no_longer_finite(folders, model, handlers, capsys):
    with pytest.raises(SystemExit) as caught:
        command("--classify l flat --learning-rate 1e38")
    out, err = capsys.readouterr()
    assert caught.value.code == 1 and out == ""
    assert "no longer finite: classify with a smaller --learning-rate" in err


def test_examples_among_the_images_to_classify_are_counted_whatever_their_names(folders, capsys):
    (folders / "flat" / "copy.png").write_bytes(next((folders / "l" / "ka").iterdir()).read_bytes())
    given = examples.find("l", "flat")
    examples.read(given, CHARACTERS)
    said = capsys.readouterr().err
    assert f"Warning: 1 of {len(given.queries)} images to classify look the same as an " in said
    assert said.endswith("new images: flat/copy.png\n")


def test_two_class_folders_of_one_name_in_two_unicode_forms_are_refused(folders):
    for form in ("NFC", "NFD"):
        (folders / "l" / "ka").rename(folders / "l" / unicodedata.normalize(form, "k\u00e1"))
        (folders / "l" / "ka").mkdir()
    with pytest.raises(RefusedError, match="are one class by their names"):
        examples.find("l", "flat")


def test_an_example_of_two_classes_is_named(folders, capsys):
    (folders / "l" / "ki" / "copy.png").write_bytes(
        next((folders / "l" / "ka").iterdir()).read_bytes()
    )
    examples.read(examples.find("l", "flat"), CHARACTERS)
    said = capsys.readouterr().err
    assert "Warning: examples look the same as one of another class: l/ki/copy.png\n" in said
