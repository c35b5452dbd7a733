"""The bar, on a terminal that is written to a string."""

import io

import pytest

from supervised_reptile.runs import progress
from supervised_reptile.runs.progress import Bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def show(monkeypatch):
    """A terminal as standard error; within a test, since pytest sets it anew between phases."""
    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    return screen


@pytest.fixture
def clock(monkeypatch):
    """Seconds that a test sets."""
    now = [1000.0]
    monkeypatch.setattr(progress.time, "time", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def last(screen):
    return [part for part in screen.getvalue().split("\r") if part.strip()][-1]


def test_the_time_of_compiling_is_no_part_of_the_estimate(monkeypatch, clock):
    terminal = show(monkeypatch)
    bar = Bar(100, 0, "tasks", "Test")
    assert last(terminal).startswith("Test (compiling):   0%|")
    clock[0] += 50
    bar.advance(1)  # which has compiled
    clock[0] += 10
    bar.advance(21)
    assert last(terminal).startswith("Test:  21%|")
    assert last(terminal).endswith("| 21/100 tasks [00:10<00:39,  2.00/s]")


def test_without_a_terminal_nothing_is_shown(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    bar = Bar(10, 0, "tasks")
    bar.advance(1)
    bar.step_aside()
    assert screen.getvalue() == ""
