"""The commit and the versions are those that a process has started with."""

import importlib.metadata
import os
import shutil
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


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_commit_is_known_in_a_checkout_of_another_user(tmp_path, monkeypatch):
    """As in a container. Git itself has a variable that pretends it."""
    own = machine.commit.__wrapped__()
    script = tmp_path / "git"
    pretends = "GIT_TEST_ASSUME_DIFFERENT_OWNER=1"
    script.write_text(f'#!/bin/sh\n{pretends} exec {shutil.which("git")} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert machine.commit.__wrapped__() == own
