"""The first signal is heeded, the second ends the process at once."""

import os
import signal
import subprocess
import sys
import time

import pytest

from supervised_reptile.system import signals

WAIT = """
import hashlib, sys, time
from supervised_reptile.system import signals
signals.raise_interrupted()
def work():
    print("ready", flush=True)
    if "computing" in sys.argv:
        # Seconds in C, during which no Python code of this thread runs.
        hashlib.pbkdf2_hmac("sha256", b"", b"", 8_000_000)
    else:
        time.sleep(60)
try:
    if "deferred" in sys.argv:
        with signals.deferred("one moment", lambda: "all is lost") as pending:
            work()
            sys.exit(100 + pending.number)
    work()
except signals.Interrupted as interruption:
    print(interruption, flush=True)
    if "slow" in sys.argv:
        time.sleep(60)
    sys.exit(128 + interruption.number)
"""


def start(*words, **options):
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT, *words], stdout=subprocess.PIPE, text=True, **options
    )
    assert process.stdout.readline() == "ready\n"
    return process


def stop(process, number, seconds=5):
    """Send a signal; return the exit status, and what was printed until then."""
    process.send_signal(number)
    printed, _ = process.communicate(timeout=seconds)
    return process.returncode, printed


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_interrupts(number):
    assert stop(start(), number) == (128 + number, f"stopped by {number.name}\n")


def test_a_deferred_signal_is_noted():
    status, _ = stop(start("deferred", "computing"), signal.SIGTERM, seconds=20)
    assert status == 100 + signal.SIGTERM


@pytest.mark.parametrize("word", ["slow", "computing"])
def test_a_second_signal_does_not_wait(word):
    process = start(word)
    time.sleep(0.5)  # until it computes
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert stop(process, signal.SIGTERM, seconds=1)[0] == 128 + signal.SIGTERM


def test_a_signal_that_was_ignored_stays_ignored():
    """As Ctrl-C is for what a shell script started in the background."""
    process = start(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert stop(process, signal.SIGTERM) == (128 + signal.SIGTERM, "stopped by SIGTERM\n")


def test_a_second_command_in_a_process_keeps_no_pipe_of_the_first(handlers):
    def count():
        return len(os.listdir("/dev/fd"))

    signals.raise_interrupted()
    time.sleep(0.5)  # until a command of an earlier test has closed its pipe
    before = count()
    for _ in range(20):
        signals.raise_interrupted()
    deadline = time.monotonic() + 5
    while count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert count() == before


# While no Python code can run, and while it can, and could be faster.
@pytest.mark.parametrize("words", [["deferred", "computing"], ["deferred"]])
@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_deferred_signal_is_answered_at_once_and_the_second_says_what_is_lost(number, words):
    process = start(*words, stderr=subprocess.PIPE)
    process.send_signal(number)
    assert process.stderr.readline() == "one moment\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=2)
    assert (process.returncode, err) == (128 + number, "all is lost\n")
