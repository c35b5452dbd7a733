"""Ctrl-C and SIGTERM: raised as an exception, or noted until the work at hand is whole.

A second one ends the process at once, even within a compiled call, during which Python's own
handlers have to wait.
"""

import contextlib
import os
import signal
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The process was told to stop: exit status 128 + the signal's number."""

    def __init__(self, number, outcome=""):
        super().__init__(f"stopped by {signal.Signals(number).name}" + (outcome and f"; {outcome}"))
        self.number, self.outcome = number, outcome


class Pending:
    """Whether a signal has arrived, and its number."""

    number = None

    def __bool__(self):
        return self.number is not None


def raise_interrupted():
    """From now on, the first SIGINT or SIGTERM raises Interrupted, and the second ends all."""

    def handler(number, frame):
        raise Interrupted(number)

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # The system's handler writes the number of each signal there, whatever Python is doing.
    signal.set_wakeup_fd(writing)
    threading.Thread(target=_leave_at_the_second, args=(reading,), daemon=True).start()
    for number in SIGNALS:
        signal.signal(number, handler)


def _leave_at_the_second(reading):
    os.read(reading, 1)
    os._exit(128 + os.read(reading, 1)[0])


@contextlib.contextmanager
def deferred():
    """Note the first signal in the Pending that is yielded."""
    pending = Pending()

    def handler(number, frame):
        pending.number = number

    previous = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield pending
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
