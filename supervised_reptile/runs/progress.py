"""Progress of a run: printed lines, a bar on the terminal, TensorBoard's curves."""

import contextlib
import os
from collections.abc import Mapping

from supervised_reptile.args import Config
from supervised_reptile.data.image_set import ImageSet
from supervised_reptile.runs.tensorboard import Events, Overview, scalar
from supervised_reptile.system import output
from supervised_reptile.system.bar import Bar


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
