"""The bar, on a terminal that is written to a string."""

import io

from supervised_reptile.runs import progress


def test_the_time_of_compiling_is_no_part_of_the_estimate(monkeypatch):
    terminal, now = io.StringIO(), [1000.0]
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(progress.time, "time", lambda: now[0])
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])

    def shown():
        return [part for part in terminal.getvalue().split("\r") if part.strip()][-1]

    bar = progress.Bar(100, 0, "tasks", "Test")
    assert shown().startswith("Test (compiling):   0%|")
    now[0] += 50
    bar.advance(1)  # which has compiled
    now[0] += 10
    bar.advance(21)
    assert shown().startswith("Test:  21%|")
    assert shown().endswith("| 21/100 tasks [00:10<00:39,  2.00/s]")


def test_without_a_terminal_nothing_is_shown(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr", screen)
    bar = progress.Bar(10, 0, "tasks")
    bar.advance(1)
    bar.step_aside()
    assert screen.getvalue() == ""
