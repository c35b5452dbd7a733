"""Messages name commands that exist."""

import subprocess
import sys

from supervised_reptile.system import commands

SAY_HELP = """
import sys
from supervised_reptile.system import commands
commands.ROOT = commands.ROOT / "nowhere"
from supervised_reptile.fetch.__main__ import main
sys.argv = ["fetch-reptile-data", "--help"]
main()
"""


def test_a_checkout_is_fetched_by_its_script():
    assert commands.fetch_command() == "./fetch_data.sh"


def test_an_installed_package_is_fetched_by_its_command():
    found = subprocess.run([sys.executable, "-c", SAY_HELP], capture_output=True, text=True)
    assert found.returncode == 0 and found.stdout.startswith("usage: fetch-reptile-data")
    assert "fetch_data.sh" not in found.stdout
