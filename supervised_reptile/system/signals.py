"""Ctrl-C, SIGTERM and their like: raised as an exception, or noted until the work at hand is whole.

The first one is answered and a second one ends the process at once, even within a compiled call,
during which Python's own handlers have to wait.
"""

import contextlib
import dataclasses
import faulthandler
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SIGNALS += (signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)  # of clusters, before a limit
_heard: list[int] = []  # the first signal


class Interrupted(BaseException):
    """The process was told to stop: exit status 128 + the signal's number."""

    def __init__(self, number: int, outcome: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}" + (outcome and f"; {outcome}"))
        self.number, self.outcome = number, outcome


@dataclasses.dataclass
class Pending:
    """Whether a signal has arrived, and its number.

    answer: what is then said at once. lost: what is said if a second one ends the process.
    """

    answer: str = ""
    lost: Callable[[], str] = str
    number: int | None = None


def _hear(answer: Callable[[int], None]) -> dict[signal.Signals, Any]:
    """From now on, call `answer` with the first signal. Returns the handlers that were there."""

    def handler(number: int, frame: FrameType | None) -> None:
        if not _heard:
            _heard.append(number)
            answer(number)

    _heard.clear()
    # The others are ignored, as by a job in the background.
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heeded}


def raise_interrupted() -> None:
    """From now on, the first of SIGNALS raises Interrupted, and the second ends all."""

    def interrupt(number: int) -> None:
        raise Interrupted(number)

    # Gives this thread a stack for handlers. While oneDNN multiplies with AVX-512, the usual one is
    # in the heap, which a signal would destroy.
    faulthandler.enable(2)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    # The system's handler writes the number of each signal there, whatever Python is doing.
    if (earlier := signal.set_wakeup_fd(writing)) != -1:
        os.close(earlier)
    threading.Thread(target=_leave_at_the_second, args=(reading,), daemon=True).start()
    _hear(interrupt)


def are_heard() -> bool:
    """Whether there was a first signal, so that another one would end the process at once."""
    return bool(_heard)


def _leave_at_the_second(reading: int) -> None:
    with open(reading, "rb", buffering=0) as pipe:
        if pipe.read(1):
            _say(_deferred[-1].answer)
        second = pipe.read(1)
    if second:  # The pipe was not just closed.
        _say(_deferred[-1].lost())
        os._exit(128 + second[0])


def _say(text: str) -> None:
    """Print a line on standard error, below a bar if one is there; the terminal may be gone."""
    with contextlib.suppress(OSError):
        if text:
            os.write(2, f"{os.linesep * os.isatty(2)}{text}{os.linesep}".encode())


_deferred = [Pending()]  # which says nothing, and stays


@contextlib.contextmanager
def deferred(answer: str = "", lost: Callable[[], str] = str) -> Iterator[Pending]:
    """Note the first signal in the Pending that is yielded. answer, lost: see there."""
    if threading.current_thread() is not threading.main_thread():
        yield Pending()  # signals are the main thread's
        return
    pending = Pending(answer, lost)
    previous = _hear(lambda number: setattr(pending, "number", number))
    _deferred.append(pending)
    try:
        yield pending
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
        _deferred.pop()
