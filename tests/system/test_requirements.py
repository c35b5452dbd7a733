"""A Python that cannot run the program is told so in one line."""

import ast
import pathlib
import subprocess
import sys

import pytest

from supervised_reptile.system import requirements

TOP = pathlib.Path(__file__).parents[2]


def test_a_python_without_the_packages_is_told_which_and_what_to_do():
    """-S leaves out the folders where packages are installed."""
    command = [sys.executable, "-S", TOP / "run_omniglot.py", "--help"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 2 and found.stdout == "" and found.stderr.count("\n") == 1
    assert "lacks the packages numpy, pillow" in found.stderr and "make venv" in found.stderr


def test_an_old_python_is_told_which_is_needed(monkeypatch, capsys):
    monkeypatch.setattr(requirements.sys, "version_info", (3, 9, 1, "final", 0))
    with pytest.raises(SystemExit) as caught:
        requirements.check("run_omniglot.py")
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "needs Python 3.10 to 3.13, but this is 3.9: run 'make venv'" in said


@pytest.mark.parametrize(
    "file", ["run_omniglot.py", "supervised_reptile/__init__.py", requirements.__file__]
)
def test_an_old_python_can_read_what_comes_before_the_check(file):
    ast.parse((TOP / file).read_text(), feature_version=(3, 6))
