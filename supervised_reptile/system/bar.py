"""How far something is: a bar on a terminal, elsewhere a line now and then."""

import time

from tqdm import tqdm

from supervised_reptile.system.output import note

SECONDS = 60  # between two lines in a log


class Bar(tqdm):
    """A progress bar on standard error; where that is no terminal, a line every minute."""

    def __init__(self, total: int, done: int, unit: str, name: str = "") -> None:
        """done: how many of the total were done before. name: of what is done."""
        counts = f"{{n_fmt}}/{{total_fmt}} {unit} [{{elapsed}}<{{remaining}}, {{rate_noinv_fmt}}]"
        super().__init__(
            total=total,
            initial=done,
            desc=f"{name} (starting)".strip(),
            bar_format=f"{{l_bar}}{{bar}}| {counts}",
            unit="",
            smoothing=0,  # the rate of all, since lines are printed between the updates
            miniters=1,
            disable=None,
            dynamic_ncols=True,
            leave=False,
        )
        self._time = time.monotonic  # tqdm's clock can be set, and the bar would stand still
        self.start_t = self.last_print_t = self._time()
        self._name, self._unit, self._total = name, unit, total
        self._told: float | None = None  # when, for the last time; None before the first call

    def advance(self, done: int) -> None:
        """Show how many are done. What the first call brings has taken as long as the start, which
        says nothing of the rest: it is no part of the rate."""
        now = self._time()
        self.update(done - self.n)  # of a terminal; elsewhere tqdm does nothing
        if self._told is None:
            self.initial, self.start_t, self._told = done, now, now
            self.set_description_str(self._name)
        elif self.disable and now - self._told >= SECONDS:
            seconds, total = now - self.start_t, self._total
            left = self.format_interval((total - done) * seconds / max(1, done - self.initial))
            line = f"{done:,} of {total:,} {self._unit}, {left} left"
            note(f"{self._name}: {line}".lstrip(": "))
            self._told = now

    def step_aside(self) -> None:
        """Leave the line to what is printed; a pipe to tee brings it a moment later."""
        self.clear()
        self.last_print_t = self._time()
