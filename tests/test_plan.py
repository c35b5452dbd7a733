"""What a command means, and what may differ from the run that it names."""

import dataclasses
import json
import pathlib
import types

import pytest

from supervised_reptile import args, plan
from supervised_reptile.args import Config
from supervised_reptile.devices.choice import Devices
from supervised_reptile.runs import record
from supervised_reptile.system.errors import RefusedError

DATA = {"origin": {"source": "https://example.org"}, "digest": "12ab"}
SPLIT = {"train": ["b/2", "a/1"], "test": ["c/3"]}
# What changes a run, but for what its checkpoints show: their classes and their optimizer.
RUN_FLAGS = {
    *("seed", "shots", "train_shots", "inner_batch", "inner_iters", "replacement"),
    *("learning_rate", "weight_decay", "meta_step", "meta_step_final", "meta_batch", "meta_iters"),
    *("foml", "foml_tail", "parallel_tasks", "eval_batch", "eval_iters", "transductive"),
}
OMNIGLOT_FLAGS = {"train_classes", "rotations", "clean"}


def configure(line, recorded=None):
    given = args.parse("run_omniglot.py", "omniglot", line.split())
    return plan.resolve("omniglot", given, recorded)


def decide(line):
    return plan.decide("omniglot", args.parse("run_omniglot.py", "omniglot", line.split()))


@pytest.fixture
def written(tmp_path):
    """The Record of a run that is to be written into the folder of a test."""
    flags = {"shots": 1, "train_shots": 9, "foml": True, "seed": 9, "checkpoint": str(tmp_path)}
    config = Config.of("omniglot", flags)
    return record.Record(config, SPLIT, DATA, **record.part({}))


def put_checkpoint(directory, number):
    (directory / f"model.ckpt-{number}.index").touch()


def test_a_command_means_one_of_four_things(tmp_path, written):
    where = f"--checkpoint {tmp_path}"
    for line in (f"{where} --shots 1", f"{where} --resume --shots 1"):
        new = decide(line)
        assert isinstance(new, plan.TrainingRun) and not new.recorded
    record.begin(written)
    resumed = decide(f"{where} --resume")
    assert isinstance(resumed, plan.TrainingRun) and resumed.recorded == written
    put_checkpoint(tmp_path, 5)
    saved = decide(f"{where} --pretrained")
    assert isinstance(saved, plan.SavedModel) and saved.recorded == written
    assert saved.prefix == tmp_path / "model.ckpt-5" and not saved.own_images
    assert decide(f"{where} --pretrained --data-dir mine").own_images
    last = written.config.outer.last
    numbers = dict.fromkeys(("train", "test"), 0.5)
    line = {"iteration": last, "accuracy": numbers, "confidence_95": numbers}
    line["config"] = written.config.flags()
    pathlib.Path(tmp_path, "results.jsonl").write_text(json.dumps(line) + "\n")
    finished = decide(f"{where} --resume")
    assert isinstance(finished, plan.FinishedRun) and finished.found["test"].reported.mean == 0.5


@pytest.fixture
def recorded():
    return configure("--shots 1 --transductive --classes 20 --seed 3 --checkpoint ckpt --synthetic")


@pytest.mark.parametrize("flags", ["", "--shots 5 --no-transductive --seed 4 --data-dir mine"])
def test_an_evaluation_takes_the_recorded_flags_but_for_those_that_are_given(recorded, flags):
    line = f"--pretrained --checkpoint elsewhere {flags}"
    given = args.parse("run", "omniglot", line.split())
    expected = {**recorded.flags(), **given, "synthetic": "data_dir" not in given}
    assert configure(line, recorded).flags() == expected


def test_what_contradicts_the_recorded_model_is_refused(recorded):
    with pytest.raises(RefusedError, match=r"--classes is 5 here but 20 there"):
        configure("--pretrained --checkpoint ckpt --classes 5", recorded)
    configure("--pretrained --checkpoint ckpt --classes 20", recorded)
    with pytest.raises(RefusedError, match=r"--train-classes is 9 here but 1200"):
        configure("--pretrained --checkpoint ckpt --train-classes 9", recorded)
    configure("--pretrained --checkpoint ckpt --train-classes 1200", recorded)
    with pytest.raises(RefusedError, match=r"--rotations is False here but True"):
        configure("--pretrained --checkpoint ckpt --no-rotations", recorded)
    with pytest.raises(RefusedError, match=r"run_omniglot\.py"):
        plan.resolve("miniimagenet", {"checkpoint": "ckpt"}, recorded)


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--sgd --seed 4 --no-transductive --eval-samples 7 --eval-interval 3 --data-dir elsewhere",
    ],
)
def test_a_run_is_resumed_with_flags_that_do_not_change_it(flags):
    recorded = configure("--sgd --seed 4 --shots 1")
    config = configure(f"--resume --checkpoint runs/a {flags}", recorded)
    given = args.parse("run", "omniglot", flags.split())
    assert config.flags() == {**recorded.flags(), **given, "checkpoint": "runs/a"}
    assert "resume" not in config.flags()


def test_nothing_is_begun_where_only_something_there_could_be_resumed(tmp_path):
    """A run that was stopped before it saved anything leaves nothing to take its flags from."""
    given = {"resume": True, "checkpoint": str(tmp_path / "a"), "eval_samples": 7}
    with pytest.raises(RefusedError, match=r"a holds no run: .* the flags that the run was"):
        plan.decide("omniglot", given)
    assert plan.decide("omniglot", {**given, "shots": 1}).config.task.shots == 1


def test_a_model_evaluated_with_drawings_cleaned_otherwise_has_other_images(tmp_path, written):
    record.begin(written)
    put_checkpoint(tmp_path, 7)
    for clean in (False, True):
        saved = plan.saved_model("omniglot", {"checkpoint": str(tmp_path), "clean": clean})
        assert saved.own_images == clean


def test_flags_that_would_change_a_resumed_run_are_refused_with_both_values():
    recorded = configure("--shots 1 --seed 4 --foml")
    with pytest.raises(RefusedError) as caught:
        configure("--resume --checkpoint a --shots 2 --seed 4 --no-foml", recorded)
    assert "--shots is 2 here but 1 there, --foml is False here but True there" in str(caught.value)
    assert "--seed" not in str(caught.value)


def test_every_flag_either_changes_a_run_or_is_known_not_to():
    """Whoever adds a flag has to think of it."""
    changes = {*RUN_FLAGS, *OMNIGLOT_FLAGS, "classes", "sgd"}
    assert set(configure("").flags()) == changes | plan.HARMLESS - {"resume"}


def test_an_evaluation_is_not_refused_for_flags_of_training():
    for line in ("--foml --foml-tail 3", "--replacement --inner-batch 25"):
        recorded = configure(line)
        configure("--pretrained --checkpoint ckpt --shots 1", recorded)
        configure("--pretrained --checkpoint ckpt --no-foml", recorded)
    with pytest.raises(RefusedError, match="--eval-batch 6 with --replacement"):
        configure("--pretrained --checkpoint ckpt --shots 1 --eval-batch 6", recorded)


FILES = "run.json model.ckpt-0.index results.jsonl checkpoint seconds.json evaluation.json train"


@pytest.mark.parametrize("name", FILES.split())
def test_training_refuses_a_directory_that_holds_a_run_or_files_of_others(tmp_path, name):
    plan.check_free(tmp_path)
    plan.check_free(tmp_path / "new")
    (tmp_path / name).write_text("mine")
    refusal = f"already holds {name.removesuffix('.index')}: name another directory; .*--resume"
    with pytest.raises(RefusedError, match=refusal):
        decide(f"--checkpoint {tmp_path}")


def test_without_a_record_what_is_not_given_is_assumed(tmp_path, written):
    put_checkpoint(tmp_path, 5)
    line, flags = f"--pretrained --checkpoint {tmp_path}", RUN_FLAGS | OMNIGLOT_FLAGS
    assert set(decide(line).assumed) == flags
    given = decide(f"{line} --shots 1 --no-transductive --seed 0")
    assert set(given.assumed) == flags - {"shots", "transductive", "seed"}
    other = plan.decide("miniimagenet", {"pretrained": True, "checkpoint": tmp_path})
    assert set(other.assumed) == RUN_FLAGS
    record.begin(written)
    assert decide(line).assumed == ()


def test_what_is_assumed_and_decides_an_evaluation_is_named_as_it_would_be_given(tmp_path, capsys):
    put_checkpoint(tmp_path, 5)
    line = f"--pretrained --checkpoint {tmp_path}"
    plan.announce(decide(line))
    first, *lines, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"Warning: {tmp_path} has no run.json")
    assert last.startswith(f"Restoring {tmp_path}")
    assert lines[0].startswith("assumed: --seed 0, --train-classes 1200: decides which characters")
    assert "has seen some of them" in lines[0]
    said = " ".join(word.split(": ")[1].replace(",", "") for word in lines)
    decisive = "seed train_classes shots transductive eval_batch eval_iters learning_rate"
    decisive = {*decisive.split(), "weight_decay", "replacement", "rotations"}
    assert set(args.parse("run", "omniglot", said.split())) == decisive
    # Whoever gives all of that is told nothing.
    plan.announce(decide(f"{line} {said}"))
    assert capsys.readouterr().err == f"{last}\n"
    # Where folders are the split, none is assumed.
    plan.announce(plan.decide("miniimagenet", {"pretrained": True, "checkpoint": tmp_path}))
    err = capsys.readouterr().err
    assert "--shots 5" in err and "--seed" not in err and "characters" not in err


@pytest.mark.parametrize("name", ["file", "file/below", "file/below/it"])
def test_a_directory_that_is_a_file_or_below_one_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match=rf"{name}: .*/file is no directory"):
        plan.check_free(tmp_path / name)
    with (
        pytest.raises(RefusedError, match="cannot be written"),
        record.claim(tmp_path / "file" / "below", None),
    ):
        pass


def test_other_versions_of_what_computes_are_refused_with_both(written):
    line = f"--checkpoint {written.config.run.checkpoint} --resume"
    for package in ("tensorflow", "numpy"):
        versions = {**written.versions, package: "1.20.0"}
        record.begin(dataclasses.replace(written, versions=versions))
        with pytest.raises(RefusedError, match=rf"{package} 1\.20\.0, but this .*==1\.20\.0"):
            decide(line)
    record.begin(dataclasses.replace(written, versions={**written.versions, "pillow": "9"}))
    decide(line)


def test_other_images_are_refused_with_both_digests(written):
    resumed, other = plan.TrainingRun(written.config, written), types.SimpleNamespace(digest="34cd")
    saved = plan.SavedModel(written.config, None, written, own_images=False)
    for command in (resumed, saved):
        plan.check_images(command, types.SimpleNamespace(digest="12ab"))
        with pytest.raises(RefusedError, match=r"--data-dir data/omniglot: .*34cd.*12ab"):
            plan.check_images(command, other)
    named = dataclasses.replace(saved, own_images=True)
    for command in (named, plan.TrainingRun(written.config, None)):
        plan.check_images(command, other)
    unknown = dataclasses.replace(written, data={})
    plan.check_images(dataclasses.replace(saved, recorded=unknown), other)
    config = Config.of("omniglot", {"resume": True})
    with pytest.raises(RefusedError, match=r"34cd.*not recorded"):
        plan.check_images(plan.TrainingRun(config, unknown), other)


def test_another_machine_is_a_warning(written, capsys, monkeypatch):
    here = Devices().describe()
    assert here["device"] == "CPU" and here["cpu"] and here["cores"] >= 1
    plan.warn_of_machine(dataclasses.replace(written, machine=here), here)
    assert capsys.readouterr().err == ""
    plan.warn_of_machine(dataclasses.replace(written, machine={**here, "cores": 77}), here)
    err = capsys.readouterr().err
    assert f"cores: {here['cores']} instead of 77" in err and err.count("\n") == 1
    shared = dataclasses.replace(Devices(), processes=2).describe()
    plan.warn_of_machine(dataclasses.replace(written, machine=here), shared)
    assert "processes: 2 instead of 1)" in capsys.readouterr().err
    # Flags of the compiler change how sums are rounded, too.
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    plan.warn_of_machine(dataclasses.replace(written, machine=here), Devices().describe())
    assert "xla_flags: --xla_cpu_enable_fast_math=true instead of " in capsys.readouterr().err


@pytest.mark.parametrize("inside", ["", "/run", "/a/run"])
def test_a_run_among_the_images_is_refused(tmp_path, inside):
    with pytest.raises(RefusedError, match="lies in the data folder"):
        decide(f"--checkpoint {tmp_path}{inside} --data-dir {tmp_path}")


def test_no_run_lies_where_another_keeps_its_curves(written, tmp_path):
    record.begin(written)
    with pytest.raises(RefusedError, match="keeps its curves there"):
        decide(f"--checkpoint {tmp_path}/test")
    decide(f"--checkpoint {tmp_path}/tests")
    (tmp_path / "test").mkdir()
    (tmp_path / "run.json").rename(tmp_path / "test" / "run.json")
    with pytest.raises(RefusedError, match="already holds the run test: name another"):
        decide(f"--checkpoint {tmp_path}")
