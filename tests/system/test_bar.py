"""The bar, on a terminal that is written to a string, and the lines where there is none."""

import io

from supervised_reptile.system import bar as module


def test_the_time_of_starting_is_no_part_of_the_estimate(monkeypatch):
    terminal, now = io.StringIO(), [1000.0]
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def shown():
        return [part for part in terminal.getvalue().split("\r") if part.strip()][-1]

    monkeypatch.setattr("tqdm.std.time", lambda: -3600 * now[0])  # the clock that people set
    bar = module.Bar(100, 0, "tasks", "Test")
    assert shown().startswith("Test (starting):   0%|")
    now[0] += 50
    bar.advance(1)  # which has compiled
    now[0] += 10
    bar.advance(21)
    assert shown().startswith("Test:  21%|")
    assert shown().endswith("| 21/100 tasks [00:10<00:39,  2.00/s]")


def test_without_a_terminal_there_is_a_line_every_minute(monkeypatch):
    log, now = io.StringIO(), [1000.0]
    monkeypatch.setattr("sys.stderr", log)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    bar = module.Bar(10_000, 0, "tasks", "Test")
    for done in range(100, 1000, 100):  # the first hundred come after 20 s of compiling
        now[0] += 20
        bar.advance(done)
        bar.step_aside()
    lines = ["Test: 400 of 10,000 tasks, 32:00 left", "Test: 700 of 10,000 tasks, 31:00 left"]
    assert log.getvalue().splitlines() == lines
