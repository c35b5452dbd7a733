"""A Python that cannot run the program is told so in one line."""

import ast
import functools
import os
import pathlib
import signal
import subprocess
import sys

import pytest

import supervised_reptile
from supervised_reptile.system import requirements

TOP = pathlib.Path(__file__).parents[2]


PROGRAMS = (
    ["run_omniglot.py"],
    ["-m", "supervised_reptile.fetch"],
    ["-m", "supervised_reptile.report"],
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_python_without_the_packages_is_told_which_and_what_to_do(program):
    """-S leaves out the folders where packages are installed."""
    command = [sys.executable, "-S", *program, "--help"]
    found = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert found.returncode == 2 and found.stdout == "" and found.stderr.count("\n") == 1
    assert "lacks the packages numpy, PIL" in found.stderr and "make venv" in found.stderr


def test_an_old_python_is_told_which_is_needed(monkeypatch, capsys):
    monkeypatch.setattr(requirements.sys, "version_info", (3, 9, 1, "final", 0))
    with pytest.raises(SystemExit) as caught:
        requirements.check("run_omniglot.py")
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "needs Python 3.10 to 3.13, but this is 3.9: run 'make venv'" in said


@pytest.mark.parametrize("program", PROGRAMS)
def test_nothing_else_is_imported_before_the_check(program):
    """Other modules need not be readable for an old Python."""
    old = "import runpy, sys; sys.version_info = (3, 9, 1); sys.path.insert(0, '')\n"
    start = f"run_path({program[-1]!r}, run_name='__main__')"
    if "-m" in program:
        start = f"run_module({program[-1]!r}, run_name='__main__', alter_sys=True)"
    after = (
        "\nfinally: print(*sorted(m for m in sys.modules if m.startswith('supervised_reptile.')))"
    )
    command = [sys.executable, "-c", f"{old}try: runpy.{start}{after}"]
    found = subprocess.run(command, cwd=TOP, capture_output=True, text=True)
    assert found.returncode == 2 and "but this is 3.9" in found.stderr
    system = ["supervised_reptile.system", "supervised_reptile.system.requirements"]
    assert found.stdout.split() == [*program[1:], *system]


@pytest.mark.parametrize("closed", [0, 1, 2])
@pytest.mark.parametrize("script", [[sys.executable, "run_omniglot.py"], ["./fetch_data.sh"]])
def test_a_closed_standard_stream_is_refused(script, closed):
    """The next file that is opened would take its place, and receive what is printed."""
    command = [*script, "--help"]
    close = functools.partial(os.close, closed)
    found = subprocess.run(command, preexec_fn=close, cwd=TOP, capture_output=True, text=True)
    assert found.returncode == 2 and "usage" not in found.stdout + found.stderr
    assert closed == 2 or "standard input, output or error is closed: open it" in found.stderr


@pytest.mark.parametrize(
    "file", ["run_omniglot.py", "supervised_reptile/__init__.py", requirements.__file__]
)
def test_an_old_python_can_read_what_comes_before_the_check(file):
    ast.parse((TOP / file).read_text(), feature_version=(3, 6))


def test_an_old_python_does_not_look_into_annotations():
    kinds = supervised_reptile.load.__annotations__.values()
    assert len(kinds) == 4 and all(isinstance(kind, str) for kind in kinds)


def test_ctrl_c_before_there_is_an_answer_leaves_no_traceback():
    wait = (
        "from supervised_reptile.system import requirements as r; r.check('x'); print(flush=True)"
    )
    command = [sys.executable, "-c", f"{wait}; import time; time.sleep(60)"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=TOP)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[1] == b"" and process.returncode == -signal.SIGINT
