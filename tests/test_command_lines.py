"""Random command lines: refused in one line before any work, or carried out as they say."""

import contextlib
import dataclasses
import functools
import json
import math
import pathlib
import re
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from supervised_reptile import args, main, plan
from supervised_reptile.data import miniimagenet, omniglot
from supervised_reptile.runs import record
from supervised_reptile.system.errors import RefusedError

SPLITS = {"omniglot": ("train", "test"), "miniimagenet": ("train", "val", "test")}
# On standard error.
READ = r"Images \(.*\): train \d+ classes with \d+ images, .*\nComputing on the CPU, \d+ cores?\n"
DATASETS = tuple(SPLITS)
KNOWN = {"omniglot": omniglot.OMNIGLOT, "miniimagenet": miniimagenet.MINIIMAGENET}
# The same examples everywhere, so that a failure is one of the change at hand.
repeatable = settings(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

NUMBERS = (
    *("0", "1", "2", "3", "4", "5", "7", "25", "26", "0.5", "1.0", "1e-3", "-0.0", "-1", "-1e5"),
    *(str(edge + step) for edge in (2**31, 2**63, 2**64) for step in (-1, 0)),
    *("nan", "-nan", "inf", "-inf", "1e38", "1e39", "1e999", "-1e999", "1e-999", "9" * 5000),
    *("0x10", "1_0", "٣", "½", " 3", "3\n", "3.", "1e", "True", "None"),
)
TEXTS = (
    *("", " ", "-", "--", "-x", "~", ".", "..", "ckpt", "deep/er", "名前", "é", "%s", "{0}", "a b"),
    *("*", "a?", "a[1]", "a\\b", "ram://a", "a\0b", "a\nb", "a\r\nb", "\x1b[31m", "\x85", "\u2028"),
    *("\ud800", "\udce9", "x" * 5000),
)
# Not the separator, so that a command line names nothing outside the current folder.
ANYTHING = (
    st.sampled_from(NUMBERS + TEXTS)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.text(st.characters(exclude_characters="/"), max_size=8)
)


def declared(dataset):
    """The declarations of all flags of a script."""
    fields = (field for group in args.GROUPS.values() for field in dataclasses.fields(group))
    return [field for field in fields if field.metadata["only"] in (None, dataset)]


def name_of(field):
    return "--" + field.name.replace("_", "-")


def parse(dataset, words):
    return args.parse(f"run_{dataset}.py", dataset, words)


def accepts(dataset, words):
    with contextlib.suppress(RefusedError):
        return parse(dataset, words)


@functools.cache
def sound_flags(dataset):
    """Strategy: a flag with a value that it allows, as (words, what they mean by name)."""

    def spellings(field):
        name = name_of(field)
        if field.metadata["convert"] is bool:
            for word, value in ((name, True), ("--no-" + name[2:], False)):
                if value or accepts(dataset, [word]):
                    yield [word], {field.name: value}
            return
        for text in NUMBERS + TEXTS:
            with contextlib.suppress(Exception):
                meaning = {field.name: field.metadata["convert"](text)}
                if text[:2] != "--":
                    yield [f"{name}={text}"], meaning
                if text[0] != "-":  # that would be taken for a flag
                    yield [name, text], meaning

    # Small numbers come first in NUMBERS: the half of the choices that suits most datasets.
    by_flag = [list(spellings(field)) for field in declared(dataset)]
    return st.sampled_from(by_flag).flatmap(
        lambda choices: st.sampled_from(choices[:8]) | st.sampled_from(choices)
    )


@functools.cache
def odd_words(dataset):
    """Strategy: words that are hardly ever what a script takes."""
    names = [name_of(field) for field in declared(dataset)]
    known = st.sampled_from([*names, *("--no-" + name[2:] for name in names), "--help", "-h"])
    return st.one_of(
        st.tuples(known, ANYTHING),
        st.builds("{}={}".format, known, ANYTHING).map(lambda word: [word]),
        st.builds(lambda name, n: [name[:-n], "1"], known, st.integers(1, 6)),
        st.builds("{}{}".format, st.sampled_from(["", "-", "--", "--no-"]), ANYTHING).map(
            lambda word: [word]
        ),
        known.map(lambda name: [name]),
    )


@st.composite
def command_lines(draw, dataset):
    """Strategy: words, and what they mean by name, or None where odd words are among them."""
    parts = draw(st.lists(sound_flags(dataset), max_size=8))
    odd = draw(st.just([]) | st.lists(odd_words(dataset), max_size=2))
    parts = draw(st.permutations(parts + [(words, None) for words in odd]))
    meaning = {}
    for _, part in parts:
        meaning |= part or {}
    return [word for words, _ in parts for word in words], None if odd else meaning


def check_refusal(message, dataset):
    """One line, that names a flag or what is none."""
    assert message.isprintable()
    names = [name_of(field) for field in declared(dataset)]
    cause = message.removesuffix(f" (see run_{dataset}.py --help)")
    assert cause.startswith("unrecognized arguments: ") or any(
        name in cause for name in (*names, "--help")
    )


def written_out(config):
    """A command line that gives all flags of a configuration which are on or have a value."""
    flags = {**config.flags(), "resume": config.run.resume}
    for field in declared(config.dataset):
        value = flags[field.name]
        if field.name == "data_dir" and config.run.synthetic:
            continue  # the two exclude each other
        if value is True:
            yield name_of(field)
        elif value is not False and value is not None:
            yield f"{name_of(field)}={value}"


@pytest.mark.parametrize("dataset", DATASETS)
def test_any_command_line_is_refused_in_one_line_or_means_what_it_says(dataset, image_set):
    images = image_set({"train": 9, "val": 7, "test": 8}, shots=9, size=1)
    images.counts[3] = 6
    seen = {"accepted": 0, "refused": 0}

    @settings(repeatable, max_examples=1500)
    @given(command_lines(dataset))
    def check(line):
        words, meaning = line
        try:
            flags = parse(dataset, words)
            assert meaning in (None, flags)
            config = plan.resolve(dataset, flags)
            plan.check_data(config, images)
        except RefusedError as refusal:
            seen["refused"] += 1
            return check_refusal(str(refusal), dataset)
        except SystemExit as end:
            assert end.code == 0 and {"-h", "--help"} & set(words)
            return None
        seen["accepted"] += 1
        recorded = json.loads(json.dumps(config.flags()))
        assert args.Config.of(dataset, {**recorded, "resume": config.run.resume}) == config
        again = list(written_out(config))
        assert plan.resolve(dataset, parse(dataset, again)) == config
        evaluation = {"pretrained": True, "checkpoint": "elsewhere"}
        inherited = plan.resolve(dataset, evaluation, config).flags()
        assert inherited | {key: recorded[key] for key in args.OWN & recorded.keys()} == recorded

    check()
    assert min(seen.values()) > 300, seen


@pytest.fixture
def command(capsys, handlers):
    """A function that runs a command line in this process: exit status, output, messages."""

    def run(dataset, words):
        capsys.readouterr()
        try:
            main.main(KNOWN[dataset], words)
            status = 0
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return run


@pytest.mark.parametrize("dataset", DATASETS)
def test_any_command_line_without_data_exits_with_2_and_leaves_nothing(
    dataset, command, tmp_path, monkeypatch
):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")

    @settings(repeatable, max_examples=500)
    @given(command_lines(dataset))
    def check(line):
        words, _ = line
        assume("--synthetic" not in words)
        status, out, err = command(dataset, words)
        if status == 0:
            assert {"-h", "--help"} & set(words) and out.startswith("usage: ")
        else:
            assert (status, out, err.count("\n")) == (2, "", 1)
            assert re.fullmatch(rf"run_{dataset}\.py: error: .+\n", err)
            assert err[:-1].isprintable()
        assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a" / "b"]

    check()


def small_runs(dataset):
    """Strategy: (flags by name, numbers of images of each class by split)."""
    rare = {
        "weight_decay": st.sampled_from([0.5, 1.0]),
        "train_shots": st.integers(0, 5),
        "meta_step": st.sampled_from([0.0, 0.25, 1.0]),
        "seed": st.integers(0, 2**63 - 1),
    }
    flags = st.fixed_dictionaries(
        {
            "classes": st.integers(2, 4),
            "shots": st.integers(1, 3),
            "inner_batch": st.integers(1, 5),
            "inner_iters": st.integers(1, 3),
            "meta_iters": st.integers(0, 4),
            "meta_batch": st.integers(1, 3),
            "eval_batch": st.integers(1, 5),
            "eval_iters": st.integers(1, 3),
            "eval_samples": st.integers(1, 3),
            "eval_interval": st.integers(1, 3),
            **{name: st.booleans() for name in ("replacement", "sgd", "transductive")},
        },
        optional=rare,
    )
    foml = st.sampled_from([{}, {"foml": True}, {"foml": True, "foml_tail": 1}, {"foml_tail": 1}])
    counts = st.lists(st.integers(4, 7), min_size=3, max_size=6)
    return st.tuples(
        st.builds(dict.__or__, flags, foml),
        st.fixed_dictionaries({split: counts for split in SPLITS[dataset]}),
    )


def write_classes(folder, counts, dataset, generator):
    """Class folders of random images, as the dataset's script reads them."""
    for split, classes in counts.items():
        for label, images in enumerate(classes):
            place = folder / split / f"{split}{label}"
            place.mkdir(parents=True)
            mode, shape = ("L", (9, 7)) if dataset == "omniglot" else ("RGB", (9, 7, 3))
            for index in range(images):
                pixels = generator.integers(0, 256, shape, np.uint8)
                Image.fromarray(pixels, mode).save(place / f"{index}.png")


def check_output(out, config):
    """The lines of the specification, with accuracies that so many tasks can have."""
    task, evaluation = config.task, config.evaluation
    accuracy, lines = r"([01]\.\d+)", ["Training..."]
    for iteration in range(0, config.outer.meta_iters, evaluation.eval_interval):
        lines.append(rf"batch {iteration}: train=([01]\.\d{{6}}) test=([01]\.\d{{6}})")
    intervals = 2 * (len(lines) - 1)
    lines.append(r"Evaluating\.\.\.")
    for split in SPLITS[config.dataset]:
        lines.append({"val": "Validation"}.get(split, split.title()) + f" accuracy: {accuracy}")
        if (tasks := evaluation.eval_samples) > 1:
            lines.append(rf"  \+/- \d\.\d{{5}} \(95% confidence over {tasks} tasks\)")
        if not evaluation.transductive:
            interval = r" \+/- \d\.\d{5}" if tasks > 1 else ""
            lines.append(f"  transductive: {accuracy}{interval}")
    match = re.fullmatch("".join(line + "\n" for line in lines), out)
    assert match, out
    for place, text in enumerate(match.groups()):
        asked = task.classes * (1 if place < intervals else evaluation.eval_samples)
        correct = float(text) * asked
        assert 0 <= correct <= asked and math.isclose(correct, round(correct), abs_tol=1e-4)
    return match.groups()[intervals:]


def means_of(line):
    """The accuracies of a line of results.jsonl, as the final lines say them."""
    content = json.loads(line)
    columns = [content, content["transductive"]] if "transductive" in content else [content]
    return [str(column["accuracy"][s]) for s in content["accuracy"] for column in columns]


def check_run(command, dataset, flags, counts, folder):
    """Carry out a command line and its evaluation. Returns whether it was accepted."""
    checkpoint = folder / "ckpt"
    words = [f"--checkpoint={checkpoint}", f"--data-dir={folder / 'data'}"]
    if dataset == "omniglot":
        words.append(f"--train-classes={len(counts['train'])}")
    for name, value in flags.items():
        name = name.replace("_", "-")
        words.append(f"--{name}={value}" if not isinstance(value, bool) else f"--{name}")
        if value is False:
            words[-1] = f"--no-{name}"
    write_classes(folder / "data", counts, dataset, np.random.default_rng(0))
    status, out, err = command(dataset, words)
    if status:
        assert (status, out, err.count("\n")) == (2, "", 1), err
        check_refusal(err[:-1], dataset)
        assert not checkpoint.exists()
        return False
    assert re.fullmatch(READ, err)
    config = plan.resolve(dataset, parse(dataset, words))
    accuracies = check_output(out, config)
    assert record.read(checkpoint).config == config
    last = config.outer.meta_iters - 1
    assert record.checkpoints(checkpoint) == sorted({0, last} if last >= 0 else ())
    status, again, err = command(dataset, ["--pretrained", f"--checkpoint={checkpoint}"])
    if last < 0:
        assert status == 2 and "there is no checkpoint" in err
        return True
    assert status == 0
    assert re.fullmatch(rf"{READ}Restoring {re.escape(str(checkpoint))}/model\.ckpt-{last}\n", err)
    assert again == "Restoring from checkpoint...\n" + out[out.index("Evaluating...") :]
    results = (checkpoint / "results.jsonl").read_text().splitlines()
    assert list(map(means_of, results)) == [list(accuracies)] * 2
    return True


@pytest.fixture
def eager():
    """A function that decides whether functions run uncompiled; in the end they do not."""
    level = tf.get_logger().level
    tf.get_logger().setLevel("ERROR")  # or it would warn of many runs in one process
    yield tf.config.run_functions_eagerly
    tf.config.run_functions_eagerly(False)
    tf.get_logger().setLevel(level)


@pytest.mark.parametrize(
    ("dataset", "examples", "uncompiled"),
    # Compiling takes nearly all of the time of a short run.
    [("omniglot", 24, True), ("miniimagenet", 8, True), ("omniglot", 4, False)],
)
def test_small_runs_are_refused_at_once_or_whole(
    dataset, examples, uncompiled, eager, command, tmp_path
):
    eager(uncompiled)
    accepted = []

    # Without shrinking, which would take minutes: the runs are small.
    @settings(repeatable, max_examples=examples, phases=[Phase.generate])
    @given(small_runs(dataset))
    def check(run):
        flags, counts = run
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            accepted.append(check_run(command, dataset, flags, counts, pathlib.Path(folder)))

    check()
    assert sum(accepted) >= examples // 3
