"""What the command that fetches data is called, in a checkout and once installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from supervised_reptile.args import Run
from supervised_reptile.data import omniglot
from supervised_reptile.system import machine
from supervised_reptile.system.errors import RefusedError
from supervised_reptile.system.machine import fetch_command

ROOT = Path(__file__).resolve().parents[2]
# As pip writes it.
CONSOLE_COMMAND = f"""#!{sys.executable}
import sys
from supervised_reptile.fetch.__main__ import main
if __name__ == "__main__":
    sys.exit(main())
"""


@pytest.fixture
def installed(tmp_path):
    """A folder that holds the package and, in bin/, its console command."""
    shutil.copytree(ROOT / "supervised_reptile", tmp_path / "supervised_reptile")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "fetch-reptile-data").write_text(CONSOLE_COMMAND)
    return tmp_path


def run(folder, *words):
    """Run Python in `folder`, with the package there; return its status, stdout and stderr."""
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def test_the_console_command_goes_by_its_own_name(installed):
    status, stdout, _ = run(installed, "bin/fetch-reptile-data", "--help")
    assert status == 0 and stdout.startswith("usage: fetch-reptile-data ")
    status, _, stderr = run(installed, "bin/fetch-reptile-data", "imagenet")
    assert status == 2 and "fetch-reptile-data: error: " in stderr
    assert "fetch_data.sh" not in stdout + stderr


def test_the_console_command_looks_in_the_current_folder_and_passes_its_status_on(installed):
    found = run(installed, "bin/fetch-reptile-data", "verify")
    assert found == (1, "", "data/ holds no dataset.\n")
    (installed / "data" / "omniglot").mkdir(parents=True)
    status, _, stderr = run(installed, "bin/fetch-reptile-data", "verify")
    assert status == 1 and stderr.startswith("data/omniglot: 0 alphabets")


def test_the_module_has_the_scripts_name_only_beside_the_script(installed):
    module = ("-m", "supervised_reptile.fetch", "--help")
    assert run(installed, *module)[1].startswith("usage: fetch-reptile-data ")
    (installed / "fetch_data.sh").touch()
    assert run(installed, *module)[1].startswith("usage: fetch_data.sh ")


def test_advice_names_a_command_that_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fetch_command() == "./fetch_data.sh"
    monkeypatch.setattr(machine, "PACKAGE", tmp_path / "supervised_reptile")
    assert fetch_command() == "fetch-reptile-data"
    with pytest.raises(RefusedError, match="get the data with fetch-reptile-data"):
        omniglot.load(Run(data_dir="data/omniglot"), seed=0)


def test_setup_declares_the_console_command():
    assert (
        "fetch-reptile-data = supervised_reptile.fetch.__main__:main"
        in (ROOT / "setup.py").read_text()
    )
