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


def test_only_cores_that_the_process_may_use_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda number: {1, 5, 7}, raising=False)
    assert machine.cores() == 3


def test_what_changes_on_the_disk_meanwhile_does_not_count(tmp_path, monkeypatch):
    machine.versions.cache_clear()
    machine.commit.cache_clear()
    with pytest.raises(RefusedError, match="no checkpoint"):  # which comes first of all
        main.run(OMNIGLOT, "run", ["--pretrained", "--checkpoint", str(tmp_path)])
    monkeypatch.setattr(subprocess, "check_output", None)
    monkeypatch.setattr(importlib.metadata, "version", None)
    assert machine.versions()["numpy"] and (machine.commit() or "").isprintable()


@pytest.mark.skipif(not shutil.which("git"), reason="needs git")
def test_the_commit_is_of_the_program_and_says_if_its_files_were_changed(tmp_path, monkeypatch):
    def git(*words):
        person = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgSign=false")
        return subprocess.check_output(["git", "-C", tmp_path, *person, *words], text=True).strip()

    def commit(name):
        (tmp_path / name).touch()
        git("add", name)
        git("commit", "--quiet", "--message", name)

    monkeypatch.setattr(machine, "PACKAGE", tmp_path)
    git("init", "--quiet")
    commit("another's.txt")
    assert machine.commit.__wrapped__() is None
    commit("main.py")
    (tmp_path / "notes").touch()
    with monkeypatch.context() as within:
        within.setenv("GIT_DIR", "/nowhere")  # as in a hook of another repository
        found = machine.commit.__wrapped__()
    assert found == git("rev-parse", "HEAD")
    (tmp_path / "main.py").write_text("changed")
    assert machine.commit.__wrapped__() == f"{found}-dirty"


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
