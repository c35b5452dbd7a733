"""Saving and restoring, the authors' TensorFlow 1 checkpoints included."""

import errno
import os
import pathlib
import random
import shutil
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.data import omniglot
from supervised_reptile.learning import models, reptile, sampling
from supervised_reptile.learning.state import State
from supervised_reptile.runs import checkpoints, final_evaluation, record
from supervised_reptile.system.errors import EXHAUSTED, DamagedError, RefusedError

ENDS = (".index", ".data-00000-of-00001")
SHARED = pathlib.Path(__file__).parents[3] / "shared"


def config(model=models.OMNIGLOT, **flags):
    return Config.of(model.name, {"classes": 3, **flags})


def restore(prefix, model=models.OMNIGLOT, **flags):
    return checkpoints.restore(prefix, model, config(model, **flags))


def random_state(model=models.OMNIGLOT, sgd=False):
    generator = np.random.default_rng(0)

    def values():
        return {
            name: tf.constant(generator.random(shape), tf.float32)
            for name, shape in model.shapes(3).items()
        }

    return State(values(), {} if sgd else values(), tf.constant(0.0 if sgd else 0.25))


def assert_same(first, second):
    for one, other in zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True):
        np.testing.assert_array_equal(one, other)


def write_as_the_authors_program(prefix, model, state, **changed):
    """Write every variable that its saver wrote, name by name; some of them changed."""
    tensors = {**state.parameters}
    for name, value in state.second_moments.items():
        tensors |= {f"{name}/Adam": tf.zeros_like(value) + 7, f"{name}/Adam_1": value}
        tensors |= {"beta1_power": tf.constant(0), "beta2_power": state.beta2_power}
    for block in range(4):
        norm = models.layer_names(block)[1]
        tensors[f"{norm}/moving_mean"] = tf.fill([model.filters], 3.0)
        tensors[f"{norm}/moving_variance"] = tf.fill([model.filters], 4.0)
    checkpoints.write(prefix, tensors | changed)


@pytest.mark.parametrize("sgd", [True, False])
@pytest.mark.parametrize("kind", ["CPU", "GPU"])
def test_what_is_saved_is_restored_to_the_bit(tmp_path, sgd, kind):
    state = random_state(sgd=sgd)
    checkpoints.save(tmp_path, 12, state, keep=5)
    assert_same(restore(tmp_path / "model.ckpt-12", models.OMNIGLOT.on(kind), sgd=sgd), state)


def test_the_newest_five_are_kept_and_found_by_tensorflow(tmp_path):
    for iteration in (0, 9, 10, 11, 100, 101, 1000):
        checkpoints.save(tmp_path, iteration, random_state(sgd=True), keep=5)
    kept = {f"model.ckpt-{number}{end}" for number in (10, 11, 100, 101, 1000) for end in ENDS}
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", *kept}
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-1000")


@pytest.mark.parametrize("model", models.MODELS.values(), ids=lambda model: model.name)
@pytest.mark.parametrize("sgd", [True, False])
def test_checkpoints_of_the_authors_program_are_read(tmp_path, model, sgd):
    state = random_state(model, sgd)
    write_as_the_authors_program(tmp_path / "model.ckpt-7", model, state)
    assert_same(restore(tmp_path / "model.ckpt-7", model, sgd=sgd), state)


def refusal(*arguments, **flags):
    with pytest.raises(RefusedError) as caught:
        restore(*arguments, **flags)
    return str(caught.value)


def test_what_contradicts_the_checkpoint_is_refused(tmp_path):
    prefix = tmp_path / "model.ckpt-7"
    write_as_the_authors_program(prefix, models.OMNIGLOT, random_state(sgd=True))
    assert "give --classes 3" in refusal(prefix, classes=5, sgd=True)
    assert "run_omniglot.py" in refusal(prefix, models.MINIIMAGENET, sgd=True)
    checkpoints.write(tmp_path / "other", {"x": tf.constant(1.0)})
    missing = refusal(tmp_path / "other")
    assert "holds conv2d/kernel as nothing, but float32 of shape (3, 3, 1, 64) is needed" in missing
    # It may as well have been trained with Adam, and saved without its moments.
    missing = refusal(prefix)
    assert "has no Adam moments" in missing and "if that was SGD, give --sgd; otherwise" in missing


@pytest.mark.parametrize(
    ("name", "value", "found", "shape"),
    [
        ("dense/bias", tf.zeros(3, tf.float64), "float64 of shape (3,)", (3,)),
        ("dense/bias/Adam_1", tf.zeros(3, tf.int32), "int32 of shape (3,)", (3,)),
        ("conv2d/kernel/Adam_1", tf.zeros([2, 2]), "float32 of shape (2, 2)", (3, 3, 1, 64)),
    ],
)
def test_other_types_and_shapes_are_refused_by_tensor(tmp_path, name, value, found, shape):
    prefix = tmp_path / "model.ckpt-7"
    write_as_the_authors_program(prefix, models.OMNIGLOT, random_state(), **{name: value})
    expected = f"holds {name} as {found}, but float32 of shape {shape} is needed"
    assert expected in refusal(prefix)


def damage(path, kind, place, bit):
    """Damage a file: flip a bit, cut it, or overwrite its end with zeros, at a place."""
    content = bytearray(path.read_bytes())
    place %= len(content)
    if kind == "flipped":
        content[place] ^= 1 << bit
    else:
        content[place:] = bytes(len(content) - place if kind == "zeros" else 0)
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["flipped", "cut", "zeros"])
@pytest.mark.parametrize("suffix", ENDS)
def test_whatever_is_damaged_is_noticed_or_does_not_matter(tmp_path, suffix, kind):
    """TensorFlow keeps checksums of every tensor and of the index."""
    state, chance = random_state(), random.Random(f"{suffix} {kind}")
    checkpoints.save(tmp_path, 7, state, keep=5)
    path, noticed = tmp_path / f"model.ckpt-7{suffix}", 0
    whole = path.read_bytes()
    for place in [0, *(chance.randrange(len(whole)) for _ in range(40))]:
        damage(path, kind, place, chance.randrange(8))
        try:
            assert_same(restore(tmp_path / "model.ckpt-7"), state)
        except DamagedError:
            noticed += 1
        path.write_bytes(whole)
    assert noticed > 27
    path.unlink()
    # A run that trains there removes its old ones.
    expected = f"model.ckpt-7 is {'gone' if suffix == '.index' else 'damaged'}: "
    assert expected in refusal(tmp_path / "model.ckpt-7")


def test_a_first_checkpoint_that_was_cut_short_is_none(tmp_path, monkeypatch):
    """Killed after the data took its place, before the index did."""
    replace = os.replace

    def replace_data(source, target):
        if str(target).endswith(".index"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("os.replace", replace_data)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(tmp_path, 0, random_state(), keep=5)
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt-0.data-00000-of-00001"]
    assert checkpoints.restore_newest(tmp_path, models.OMNIGLOT, config()) is None


def test_a_run_resumes_from_its_newest_sound_checkpoint(tmp_path, capsys):
    """The newest is what the state file says: others are of a longer run, or saved as it was
    killed."""

    def newest():
        found = checkpoints.restore_newest(tmp_path, models.OMNIGLOT, config(sgd=True))
        return found and found[1]

    state = random_state(sgd=True)
    assert newest() is None
    for iteration in (90, 100, 200):
        checkpoints.save(tmp_path, iteration, state, keep=5)
    state_file = (tmp_path / "checkpoint").read_bytes()
    for iteration in (300, 400):
        checkpoints.save(tmp_path, iteration, state, keep=5)
    assert newest() == 400
    (tmp_path / "checkpoint").write_text("nonsense")  # the numbers are left
    assert newest() == 400
    capsys.readouterr()
    (tmp_path / "checkpoint").write_bytes(state_file)
    assert newest() == 200
    (warning,) = capsys.readouterr().err.splitlines()
    assert "names model.ckpt-200 as the newest" in warning and "up to model.ckpt-400" in warning
    damage(tmp_path / "model.ckpt-200.data-00000-of-00001", "flipped", 1000, 3)
    assert newest() == 100
    assert "model.ckpt-200 is damaged" in capsys.readouterr().err
    # The run saves where it is, and never loses that to those that are left aside.
    checkpoints.save(tmp_path, 150, state, keep=1)
    assert newest() == 150 and record.checkpoints(tmp_path) == [150, 200, 300, 400]
    checkpoints.save(tmp_path, 400, state, keep=1)
    assert newest() == 400 and record.checkpoints(tmp_path) == [400]
    damage(tmp_path / "model.ckpt-400.index", "cut", 0, 0)
    with pytest.raises(RefusedError, match=r"no checkpoint in .* is sound"):
        newest()


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_numbers_that_are_not_finite_are_not_gone_on_from(tmp_path, value):
    state = random_state()
    state.second_moments["dense/bias"] = tf.constant([0.0, value, 0.0])
    checkpoints.save(tmp_path, 7, state, keep=5)
    assert "not finite" in refusal(tmp_path / "model.ckpt-7")


@pytest.mark.parametrize("number", [*EXHAUSTED, errno.EACCES, errno.EIO])
def test_a_checkpoint_that_cannot_be_read_is_not_called_damaged(tmp_path, monkeypatch, number):
    failure = tf.errors.UnknownError(None, None, f"model.ckpt-7.index; {os.strerror(number)}")
    monkeypatch.setattr(tf.train, "load_checkpoint", mock.Mock(side_effect=failure))
    with pytest.raises(OSError, match=rf"{os.strerror(number)}: .*/model\.ckpt-7"):
        restore(tmp_path / "model.ckpt-7")


def test_a_checkpoint_that_cannot_be_written_leaves_those_before(tmp_path, monkeypatch):
    checkpoints.save(tmp_path, 7, random_state(), keep=1)
    before = {path.name for path in tmp_path.iterdir()}
    full = OSError(28, "No space left on device")
    monkeypatch.setattr("os.fsync", mock.Mock(side_effect=full))
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(tmp_path, 8, random_state(), keep=1)
    assert {path.name for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_the_authors_checkpoint_gives_the_authors_accuracies(tmp_path):
    """Reported: train 0.8444, test 0.8236 over 1,000 tasks each, to about 1.2 points."""
    source = SHARED / "golden" / "tf1_checkpoints" / "o15t_1500"
    archives = SHARED / "data" / "omniglot"
    if not source.exists() or not archives.exists():
        pytest.skip("the authors' checkpoint is only in ../shared, which is not here")
    for name in ("images_background", "images_evaluation"):
        shutil.unpack_archive(archives / f"{name}.zip", tmp_path)
        shutil.copytree(tmp_path / name, tmp_path / "data", dirs_exist_ok=True)
    settings = Config.of(
        "omniglot",
        {"shots": 1, "transductive": True, "eval_samples": 100, "data_dir": str(tmp_path / "data")},
    )
    images, _ = omniglot.load(settings.run, seed=0)
    algorithm = reptile.Reptile(models.OMNIGLOT, settings)
    state = checkpoints.restore(source / "model.ckpt-1499", models.OMNIGLOT, settings)
    for split, theirs in (("train", 0.8444), ("test", 0.8236)):
        found = final_evaluation.evaluate(
            algorithm,
            state,
            tf.constant(images.pixels),
            sampling.Population.of(images, split),
            sampling.Purpose[f"FINAL_{split.upper()}"],
        )
        # Theirs is over 1,000 tasks with the same spread: its variance is a tenth of ours.
        assert abs(found.reported.mean - theirs) < found.reported.confidence * np.sqrt(1 + 1 / 10)
