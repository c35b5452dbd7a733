"""The commit and the versions are those that a process has started with."""

import importlib.metadata
import subprocess

import pytest

from supervised_reptile import main
from supervised_reptile.data.omniglot import OMNIGLOT
from supervised_reptile.system import machine
from supervised_reptile.system.errors import RefusedError


def test_what_changes_on_the_disk_meanwhile_does_not_count(tmp_path, monkeypatch):
    machine.versions.cache_clear()
    machine.commit.cache_clear()
    with pytest.raises(RefusedError, match="no checkpoint"):  # which comes first of all
        main.run(OMNIGLOT, "run", ["--pretrained", "--checkpoint", str(tmp_path)])
    monkeypatch.setattr(subprocess, "check_output", None)
    monkeypatch.setattr(importlib.metadata, "version", None)
    assert machine.versions()["numpy"] and (machine.commit() or "").isprintable()
