"""Ctrl-C and SIGTERM: raised as an exception, or noted until the work at hand is whole."""

import contextlib
import signal

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The process was told to stop: exit status 128 + the signal's number."""

    def __init__(self, number, outcome=""):
        super().__init__(f"stopped by {signal.Signals(number).name}" + (outcome and f"; {outcome}"))
        self.number = number


class Pending:
    """Whether a signal has arrived, and its number."""

    number = None

    def __bool__(self):
        return self.number is not None


def raise_interrupted():
    """From now on, SIGINT and SIGTERM raise Interrupted."""

    def handler(number, frame):
        raise Interrupted(number)

    for number in SIGNALS:
        signal.signal(number, handler)


@contextlib.contextmanager
def deferred():
    """Note the first signal in the Pending that is yielded; a second one raises Interrupted."""
    pending = Pending()

    def handler(number, frame):
        if pending:
            raise Interrupted(number, "what was not saved yet is lost")
        pending.number = number

    previous = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield pending
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
