"""Curves are read alike from event files and from their compact form, and smoothed as defined."""

import contextlib

import made_up
import numpy as np
import pytest

from supervised_reptile.report import curves
from supervised_reptile.runs.tensorboard import Curve


@pytest.fixture
def folder(tmp_path):
    made_up.events(tmp_path, range(0, 1000, 10))
    return tmp_path


def test_the_points_of_both_sets_are_read(folder):
    curve = curves.read(folder)
    assert list(curve.iterations) == list(range(0, 1000, 10))
    assert set(curve.accuracy) == {"train", "test"}
    drawn = np.random.default_rng([0, 500]).random(5)
    assert curve.accuracy["test"][50] == pytest.approx(np.mean(drawn < 500 / 990))


def test_the_compact_form_is_the_same_curve_in_less_room(folder, tmp_path):
    curve = curves.read(folder)
    compact = tmp_path / "compact"
    compact.mkdir()
    curves.write_compact(curve, compact / curves.COMPACT)
    again = curves.read(compact)
    assert np.array_equal(again.iterations, curve.iterations)
    for split in curve.accuracy:
        assert np.array_equal(again.accuracy[split], curve.accuracy[split])
    assert (compact / curves.COMPACT).stat().st_size < 2000


def test_points_before_the_damage_are_used(folder, capsys):
    path = next((folder / "test").iterdir())
    path.write_bytes(path.read_bytes()[:-5])
    assert curves.read(folder).iterations[-1] == 980
    assert str(path) in capsys.readouterr().err


def test_a_damaged_compact_curve_is_named(tmp_path, capsys):
    for content in (b"", b"PK\3\4 nonsense"):
        (tmp_path / curves.COMPACT).write_bytes(content)
        assert curves.read(tmp_path) is None
        assert str(tmp_path / curves.COMPACT) in capsys.readouterr().err


def test_any_damage_to_a_compact_curve_is_said(tmp_path, capsys):
    """Zip files, NumPy's headers and compressed numbers fail in many ways."""
    path, generator = tmp_path / curves.COMPACT, np.random.default_rng(0)
    curves.write_compact(curves.Curve(np.arange(0, 90, 10), {"test": np.arange(9) / 9}), path)
    whole = path.read_bytes()
    for _ in range(1000):
        content = bytearray(whole[: generator.integers(1, len(whole) + 1)])
        for index in generator.integers(0, len(content), 3):
            content[index] = generator.integers(256)
        path.write_bytes(content)
        found, said = curves.read(tmp_path), capsys.readouterr().err
        assert (found is None) == said.startswith(f"report: {path} is damaged")
        assert said.count("\n") <= 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.1, 1.1])
def test_what_is_no_accuracy_is_no_curve(tmp_path, wrong, capsys):
    curve = curves.Curve(np.arange(3), {"test": np.array([0, wrong, 0.5])})
    curves.write_compact(curve, tmp_path / curves.COMPACT)
    assert curves.read(tmp_path) is None
    assert "is damaged" in capsys.readouterr().err
    (tmp_path / "run").mkdir()
    with contextlib.closing(Curve(tmp_path / "run" / "test", -1)) as events:
        for iteration, accuracy in enumerate([0.25, wrong, 0.5]):
            events.add(iteration, accuracy)
    assert curves.read(tmp_path / "run").iterations.tolist() == [0]


def bare_array(path):
    with open(path, "wb") as file:
        np.save(file, np.arange(3))


def text_steps(path):
    np.savez_compressed(path, steps=np.array(["a", "b"]), test=np.zeros(2))


def unknown_compression(path):
    np.savez(path, steps=np.arange(2), test=np.zeros(2))
    content = path.read_bytes()
    for header, offset in ((b"PK\1\2", 10), (b"PK\3\4", 8)):
        at = content.index(header) + offset
        content = content[:at] + b"\x63\0" + content[at + 2 :]
    path.write_bytes(content)


@pytest.mark.parametrize("write", [bare_array, text_steps, unknown_compression])
def test_a_compact_curve_of_another_kind_is_named(tmp_path, write, capsys):
    write(tmp_path / curves.COMPACT)
    assert curves.read(tmp_path) is None
    assert str(tmp_path / curves.COMPACT) in capsys.readouterr().err


def test_a_folder_without_points_has_no_curve(tmp_path):
    assert curves.read(tmp_path) is None


def test_a_moving_average_by_hand():
    values = np.array([0.0, 1.0, 0.5, 1.0])
    curve = curves.Curve(np.array([0, 10, 20, 100]), {"test": values})
    found = curves.smooth(curve, "test", width=20)
    assert found.mean == pytest.approx([0.5, 0.5, 0.75, 1.0])
    assert found.interval[1] == pytest.approx(1.96 * np.std(values[:3], ddof=1) / np.sqrt(3))
    assert np.isnan(found.interval[3])  # nothing is known from one point


def test_the_difference_of_two_curves():
    one = curves.Curve(np.arange(6), {"test": np.full(6, 0.5)})
    other = curves.Curve(np.arange(0, 6, 2), {"test": np.array([0.5, 0.5, 0.8])})
    largest, common, apart = curves.difference(one, other, width=1)
    assert (largest, common, apart) == (pytest.approx(0.3), 3, 1)
    assert curves.difference(one, one, width=3) == (0, 6, 0)
