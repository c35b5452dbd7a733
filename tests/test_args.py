"""The command line: the names and defaults of the specification, and what is refused."""

import dataclasses

import pytest

from supervised_reptile import args, plan
from supervised_reptile.system.errors import RefusedError
from tests.test_plan import configure, decide

DEFAULTS = {"seed": 0, "data_dir": "data/omniglot", "train_classes": 1200, "rotations": True}
DEFAULTS |= {"checkpoint": "model_checkpoint", "checkpoint_interval": 100, "keep_checkpoints": 5}
DEFAULTS |= {"classes": 5, "shots": 5, "train_shots": 0, "foml": False, "foml_tail": None}
DEFAULTS |= {"inner_batch": 5, "inner_iters": 20, "learning_rate": 1e-3, "weight_decay": 1}
DEFAULTS |= {"replacement": False, "sgd": False, "parallel_tasks": False}
DEFAULTS |= {"meta_step": 0.1, "meta_step_final": 0.1, "meta_batch": 1, "meta_iters": 400000}
DEFAULTS |= {"eval_batch": 5, "eval_iters": 50, "eval_samples": 10000, "eval_interval": 10}
DEFAULTS |= {"eval_sets": "all", "transductive": False}
DEFAULTS |= {"pretrained": False, "synthetic": False, "clean": False}


def test_defaults_are_those_of_the_specification():
    assert configure("").flags() == DEFAULTS
    assert plan.resolve("miniimagenet", {}).run.data_dir == "data/miniimagenet"
    for words in (["--train-classes", "10"], ["--no-rotations"]):
        with pytest.raises(RefusedError, match=words[0]):
            args.parse("run_miniimagenet.py", "miniimagenet", words)


@pytest.mark.parametrize("dataset", ["omniglot", "miniimagenet"])
def test_help_names_every_flag_and_its_examples_are_accepted(dataset, capsys):
    script = f"run_{dataset}.py"
    with pytest.raises(SystemExit) as caught:
        args.parse(script, dataset, ["--help"])
    assert caught.value.code == 0
    flags, _, examples = capsys.readouterr().out.partition("examples:")
    for name in plan.resolve(dataset, {}).flags():
        assert f"--{name.replace('_', '-')}" in flags
    before, *others = " ".join(flags.split()).split("(default: on)")
    if dataset == "omniglot":
        assert "--no-rotations " in before[-100:] and others.pop()
    assert not others
    lines = [line.split(script)[1] for line in examples.splitlines() if script in line]
    assert len(lines) == 5
    for line in lines:
        plan.resolve(dataset, args.parse(script, dataset, line.split()))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--pretrained --resume", "--pretrained and --resume: give one"),
        ("--learning-rate 1e-50", "--learning-rate: must be at least 1.2e-38, or 0, not 1e-50"),
        ("--checkpoint-interval 0", "--checkpoint-interval: must be at least 1"),
        ("--classes 1", "--classes: must be at least 2"),
        ("--train-shots -1", "--train-shots: must be at least 0"),
        ("--inner-batch 0", "--inner-batch"),
        ("--meta-iters -1", "--meta-iters"),
        ("--eval-interval 1.5", "--eval-interval: must be a whole number"),
        ("--meta-batch 9999999999", "--meta-batch: must be below"),
        ("--checkpoint ckpt[1]", "--checkpoint: must be UTF-8 without"),
        ("--checkpoint gs://bucket", "--checkpoint: must be UTF-8 without"),
        ("--checkpoint a\0b", "--checkpoint: must be UTF-8 without"),
        ("--checkpoint=--", "--checkpoint: must not be --"),
        ("--seed 99999999999999999999", "--seed: must be below"),
        ("--learning-rate 0", "--learning-rate: must be above 0"),
        ("--learning-rate nan", "--learning-rate: must be at most 3.4028234e+38, not nan"),
        ("--meta-step 1e39", "--meta-step: must be at most"),
        ("--meta-step-final -0.1", "--meta-step-final: must be at least 0"),
        ("--weight-decay 1.01", "--weight-decay: must be at most 1"),
        ("--foml-tail 0 --foml", "--foml-tail"),
        ("--checkpoint=", "--checkpoint: must not be empty"),
        ("--shot 3", "unrecognized arguments: --shot 3; did you mean --shots? (see"),
        ("--learning_rate=1", "did you mean --learning-rate?"),
        ("--no-transductve --shot 1", "did you mean --no-transductive --shots?"),
        ("--lr=1 --xyzzy 2", "did you mean --learning-rate? (see"),
        ("--xyzzy 3", "unrecognized arguments: --xyzzy 3 (see"),
        ("--foml-tail 1", "add --foml"),
        ("--foml --foml-tail 5", "--foml-tail 5 must be smaller than the 5 training shots"),
        ("--replacement --inner-batch 26", "--inner-batch 26 with --replacement"),
        ("--replacement --eval-batch 26", "--eval-batch 26 with --replacement"),
        ("--replacement --shots 1 --train-shots 9 --eval-batch 6", "--eval-batch 6 with --replace"),
        ("--replacement --foml --foml-tail 2 --inner-batch 16", "--inner-batch 16"),
        ("--synthetic --data-dir x", "--synthetic and --data-dir"),
        ("--preset m15", "--preset m15 is a command of the other script: use run_miniimagenet.py"),
        ("--preset o16", "--preset o16 is none of o15, o15t, "),
        ("--classify l q", "--classify needs a saved model"),
        ("--draw", "--draw needs a saved model"),
        ("--pretrained --port 5", "--port is part of --draw"),
        ("--pretrained --draw --repeats 3", "--draw and --repeats: omit one"),
    ],
)
def test_refusals_name_the_flag_in_one_line(line, reason):
    with pytest.raises(RefusedError) as caught:
        decide(line)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refusal_is_one_line_whatever_it_quotes():
    assert str(RefusedError("a\nb\u2028c\udce9 ä")) == r"a\nb\u2028c\udce9 ä"
    with pytest.raises(RefusedError, match=r"^unrecognized arguments: '' 'a\\nb' \(see"):
        args.parse("run", "omniglot", ["", "a\nb"])


def test_none_is_refused_where_there_has_to_be_one():
    """Task, step, image or class."""
    allowed = {"train_shots", "seed", "meta_iters", "port"}
    for group in (*args.GROUPS.values(), args.Classifying):
        for field in dataclasses.fields(group):
            flag = args.flag_name(field.name)
            if field.type is int and field.name not in allowed:
                with pytest.raises(RefusedError, match=f"{flag}: must be at least [12]"):
                    args.parse("run", "omniglot", [flag, "0"])


@pytest.mark.parametrize(
    "line",
    [
        "--meta-iters 0",
        "--train-shots 0",
        "--meta-step 0 --meta-step-final 0",
        "--foml --foml-tail 4",
        "--replacement --inner-batch 25 --eval-batch 25",
        "--replacement --foml --foml-tail 2 --inner-batch 15",
        "--inner-batch 1000",
        "--meta-step 1e38",
    ],
)
def test_the_limits_themselves_are_accepted(line):
    configure(line)


def test_the_home_folder_that_a_shell_leaves_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    given = args.parse("x", "omniglot", ["--checkpoint=~/x", "--data-dir=~/y"])
    assert given == {"checkpoint": "/home/somebody/x", "data_dir": "/home/somebody/y"}


def test_sets_of_the_final_evaluation_are_named_in_any_order():
    for line, sets in (("", "train test"), ("test", "test"), ("test,train", "train test")):
        assert configure(line and f"--eval-sets {line}").final_sets == sets.split()
    assert plan.resolve("miniimagenet", {"eval_sets": "test,val"}).final_sets == ["val", "test"]
    for line, reason in (("validation", "must be all, or names"), ("val", "has no val set")):
        with pytest.raises(RefusedError, match=f"--eval-sets.*{reason}"):
            configure(f"--eval-sets {line}")
