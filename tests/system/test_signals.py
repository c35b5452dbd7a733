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


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_interrupts(number):
    process = start()
    process.send_signal(number)
    assert process.communicate(timeout=5)[0] == f"stopped by {number.name}\n"
    assert process.returncode == 128 + number


def test_a_deferred_signal_is_noted():
    process = start("deferred", "computing")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 100 + signal.SIGTERM


@pytest.mark.parametrize("word", ["slow", "computing"])
def test_a_second_signal_does_not_wait(word):
    process = start(word)
    time.sleep(0.5)  # until it computes
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    begin = time.monotonic()
    process.communicate(timeout=5)
    assert time.monotonic() - begin < 1
    assert process.returncode == 128 + signal.SIGTERM


def test_a_signal_that_was_ignored_stays_ignored():
    """As Ctrl-C is for what a shell script started in the background."""
    process = start(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=5)[0] == "stopped by SIGTERM\n"
    assert process.returncode == 128 + signal.SIGTERM


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


@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_deferred_signal_is_answered_at_once_and_the_second_says_what_is_lost(number):
    """Even while no Python code can run."""
    process = start("deferred", "computing", stderr=subprocess.PIPE)
    process.send_signal(number)
    assert process.stderr.readline() == "one moment\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=2)
    assert (process.returncode, err) == (128 + number, "all is lost\n")


@pytest.mark.parametrize("attempt", range(5))
def test_the_second_says_what_is_lost_though_python_could_answer(attempt):
    process = start("deferred", stderr=subprocess.PIPE)
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline() == "one moment\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=5)[1] == "all is lost\n"
