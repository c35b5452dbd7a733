"""The commands that messages name."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def fetch_command() -> str:
    """What fetches the data: the script of a checkout, or the command of an installed package."""
    return "./fetch_data.sh" if (ROOT / "fetch_data.sh").exists() else "fetch-reptile-data"
