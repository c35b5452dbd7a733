"""The command that fetches data: fetch_data.sh in a checkout, fetch-reptile-data once installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_fetch import REAL_DIGEST, SMALL_COUNTS, is_complete, small_files, write_archives

from supervised_reptile.args import Run
from supervised_reptile.data import folders, omniglot
from supervised_reptile.data.folders import fetch_command
from supervised_reptile.fetch.__main__ import read_command_line
from supervised_reptile.system.errors import RefusedError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tree(tmp_path):
    """A folder with a copy of the package."""
    shutil.copytree(ROOT / "supervised_reptile", tmp_path / "tree" / "supervised_reptile")
    return tmp_path / "tree"


def run(folder, *words, **environment):
    """Run a command in `folder`, with the package there; return its status, stdout and stderr."""
    environment = {**os.environ, "PYTHONPATH": str(folder), **environment}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def run_script(tree, *arguments, flags="", **environment):
    """Run fetch_data.sh from another folder, with this Python in .venv."""
    shutil.copy(ROOT / "fetch_data.sh", tree)
    (tree / ".venv/bin").mkdir(parents=True)
    (tree / ".venv/bin/python").write_text(f'#!/bin/sh\nexec "{sys.executable}" {flags} "$@"\n')
    (tree / ".venv/bin/python").chmod(0o755)
    return run(Path("/"), "sh", str(tree / "fetch_data.sh"), *arguments, **environment)


def test_the_console_command_has_its_own_name_and_works_in_the_current_folder(tree):
    # What the script does that pip writes.
    script = "from supervised_reptile.fetch.__main__ import main; main()"
    command = (sys.executable, "-c", script)
    status, stdout, _ = run(tree, *command, "--help")
    assert status == 0 and stdout.startswith("usage: fetch-reptile-data ")
    status, _, stderr = run(tree, *command, "imagenet")
    assert status == 2 and "fetch-reptile-data: error: " in stderr
    assert "fetch_data.sh" not in stdout + stderr
    assert run(tree, *command, "verify") == (1, "", "data/ holds no dataset.\n")
    assert read_command_line([]) == ["omniglot", "miniimagenet"]
    entry = "fetch-reptile-data = supervised_reptile.fetch.__main__:main"
    assert entry in (ROOT / "setup.py").read_text()


def test_advice_names_a_command_that_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fetch_command() == "./fetch_data.sh"
    monkeypatch.setattr(folders, "PACKAGE", tmp_path / "supervised_reptile")
    assert fetch_command() == "fetch-reptile-data"
    with pytest.raises(RefusedError, match="get the data with fetch-reptile-data"):
        omniglot.load(Run(data_dir="data/omniglot"), seed=0)


def test_the_script_fetches_into_its_own_folder(tree, tmp_path):
    fetching, data = (tree / f"supervised_reptile/{room}/omniglot.py" for room in ("fetch", "data"))
    fetching.write_text(fetching.read_text().replace("= 50, 1623, 20", "= 2, 3, 2"))
    data.write_text(data.read_text().replace(REAL_DIGEST, SMALL_COUNTS["DIGEST"]))
    archives = write_archives(tmp_path / "mirror", small_files())
    status, _, stderr = run_script(tree, "omniglot", OMNIGLOT_URL=str(archives))
    assert (status, stderr) == (0, "")
    assert is_complete(tree / "data/omniglot")


def test_the_script_says_what_to_install(tree):
    """A Python without any packages."""
    status, _, stderr = run_script(tree, "--help", flags="-S -E")
    assert status == 2 and stderr.count("\n") == 1 and "make venv" in stderr
    assert stderr.startswith("fetch_data.sh: error: ") and "lacks the packages numpy" in stderr
