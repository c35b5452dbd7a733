"""Random command lines: refused in one line before any work, or taken as they say."""

import contextlib
import dataclasses
import functools
import json
import re

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from supervised_reptile import args, main, plan
from supervised_reptile.data import miniimagenet, omniglot
from supervised_reptile.system.errors import RefusedError

DATASETS = {"omniglot": omniglot.OMNIGLOT, "miniimagenet": miniimagenet.MINIIMAGENET}
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
    *("\ud800", "\udce9", "x" * 5000, "all", "test", "val", "train,test"),
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


def parse(dataset, words):
    return args.parse(f"run_{dataset}.py", dataset, words)


@functools.cache
def sound_words(dataset):
    """Strategy: a flag with a value that it allows, as (word, what it means by name)."""

    def spellings(field):
        name = args.flag_name(field.name)
        if field.metadata["convert"] is bool:
            yield name, {field.name: True}
            if field.name not in args.OWN:
                yield "--no-" + name[2:], {field.name: False}
            return
        for text in NUMBERS + TEXTS:
            with contextlib.suppress(Exception):
                meaning = {field.name: field.metadata["convert"](text)}
                if text[:2] != "--":
                    yield f"{name}={text}", meaning

    # Small numbers come first in NUMBERS: the half of the choices that suits most datasets.
    by_flag = [list(spellings(field)) for field in declared(dataset)]
    return st.sampled_from(by_flag).flatmap(
        lambda choices: st.sampled_from(choices[:4]) | st.sampled_from(choices)
    )


@functools.cache
def odd_words(dataset):
    """Strategy: words that are hardly ever what a script takes."""
    names = [args.flag_name(field.name) for field in declared(dataset)]
    known = st.sampled_from([*names, *("--no-" + name[2:] for name in names), "--help", "-h"])
    cut_short = st.builds(lambda name, n: name[:-n], known, st.integers(1, 6))
    anything = st.builds(str.__add__, st.sampled_from(["", "-", "--", "--no-"]), ANYTHING)
    return known | st.builds("{}={}".format, known, ANYTHING) | cut_short | anything


@st.composite
def command_lines(draw, dataset):
    """Strategy: words, and what they mean by name, or None where odd words are among them."""
    sound = draw(st.lists(sound_words(dataset), max_size=8))
    odd = draw(st.just([]) | st.lists(odd_words(dataset), max_size=2))
    parts = draw(st.permutations(sound + [(word, {}) for word in odd]))
    meaning = {name: value for _, part in parts for name, value in part.items()}
    return [word for word, _ in parts], None if odd else meaning


def check_refusal(message, dataset):
    """One line, that names a flag or what is none."""
    assert message.isprintable()
    names = [args.flag_name(field.name) for field in declared(dataset)]
    cause = message.removesuffix(f" (see run_{dataset}.py --help)")
    assert any(name in cause for name in (*names, "--help", "unrecognized arguments: "))


def written_out(config):
    """A command line that gives all switches of a configuration that are not as usual, and all
    flags that have a value."""
    flags = {**config.flags(), "resume": config.run.resume}
    for field in declared(config.dataset):
        value = flags[field.name]
        if field.name == "data_dir" and config.run.synthetic:
            continue  # the two exclude each other
        if value is not field.default and isinstance(value, bool):
            yield args.flag_name(field.name if value else f"no_{field.name}")
        elif not isinstance(value, bool) and value is not None:
            yield f"{args.flag_name(field.name)}={value}"


@pytest.mark.parametrize("dataset", DATASETS)
def test_any_command_line_is_refused_in_one_line_or_means_what_it_says(dataset, image_set):
    images = image_set({"train": 9, "val": 7, "test": 8}, shots=9, size=1)
    images.counts[3] = 6
    seen = {"accepted": 0, "refused": 0}

    @settings(repeatable, max_examples=300)
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
    assert min(seen.values()) > 60, seen


@pytest.mark.parametrize("dataset", DATASETS)
def test_any_command_line_without_data_exits_with_2_and_leaves_nothing(
    dataset, capsys, handlers, tmp_path, monkeypatch
):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")

    @settings(repeatable, max_examples=100)
    @given(command_lines(dataset))
    def check(line):
        words, _ = line
        assume("--synthetic" not in words)
        with pytest.raises(SystemExit) as caught:
            main.main(DATASETS[dataset], words)
        out, err = capsys.readouterr()
        if caught.value.code == 0:
            assert {"-h", "--help"} & set(words) and out.startswith("usage: ")
        else:
            assert (caught.value.code, out, err.count("\n")) == (2, "", 1)
            assert re.fullmatch(rf"run_{dataset}\.py: error: .+\n", err)
            assert err[:-1].isprintable()
        assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a" / "b"]

    check()
