"""Progress of a run: printed lines, a bar on the terminal, TensorBoard's curves."""

import contextlib
import os
import time
from collections.abc import Mapping

from tqdm import tqdm

from supervised_reptile.args import Config
from supervised_reptile.data.image_set import ImageSet
from supervised_reptile.runs.tensorboard import Events, Overview, scalar
from supervised_reptile.system import output


class Bar(tqdm):
    """A progress bar on standard error, if that is a terminal."""

    def __init__(self, total: int, done: int, unit: str, name: str = "") -> None:
        """done: how many of the total were done before. name: of what is done."""
        counts = f"{{n_fmt}}/{{total_fmt}} {unit} [{{elapsed}}<{{remaining}}, {{rate_noinv_fmt}}]"
        super().__init__(
            total=total,
            initial=done,
            desc=f"{name} (compiling)".strip(),
            bar_format=f"{{l_bar}}{{bar}}| {counts}",
            unit="",
            smoothing=0,  # the rate of all, since lines are printed between the updates
            miniters=1,
            disable=None,
            dynamic_ncols=True,
            leave=False,
        )
        self._name, self._compiling = name, True

    def advance(self, done: int) -> None:
        """Show how many are done. The first call has compiled, which is no part of the rate."""
        self.update(done - self.n)
        if self._compiling and not self.disable:
            self._compiling = False
            self.initial, self.start_t = self.n, time.time()
            self.set_description_str(self._name)

    def step_aside(self) -> None:
        """Leave the line to what is printed; a pipe to tee brings it a moment later."""
        if not self.disable:
            self.clear()
            self.last_print_t = time.time()


class Progress(contextlib.ExitStack):
    """Printed lines, TensorBoard's curves, a progress bar.

    closed: whether nobody reads the printed lines any more.
    """

    closed = False

    def __init__(self, config: Config, images: ImageSet, done: int, folder: os.PathLike) -> None:
        """done: meta-iterations that were done before. folder: of the run."""
        super().__init__()
        self._overview = Overview(config, images, done - 1, folder)
        self._curves = {split: Events(folder, done - 1, split) for split in images.splits}
        for events in (self._overview, *self._curves.values()):
            self.callback(events.close)
        self._bar = self.enter_context(Bar(config.outer.meta_iters, done, "meta-iterations"))

    def advance(self, done: int) -> None:
        """Show how many meta-iterations are done."""
        self._bar.advance(done)

    def report(
        self, iteration: int, accuracy: Mapping[str, float], step_size: float, loss: float
    ) -> None:
        """Print and log the accuracy by split after a meta-iteration; log the others."""
        line = f"batch {iteration}: train={accuracy['train']:f} test={accuracy['test']:f}"
        self._bar.step_aside()
        try:
            output.say(line)
        except BrokenPipeError:
            self.closed = True
        for split, curve in self._curves.items():
            curve.write(iteration, scalar("accuracy", accuracy[split]))
        self._overview.add(iteration, accuracy, step_size, loss)

    def sync(self) -> None:
        """Wait until all points are on the disk."""
        for events in (self._overview, *self._curves.values()):
            events.sync()
