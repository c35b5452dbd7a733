"""What a person sees of a run while it trains."""

import contextlib
import sys
from collections.abc import Iterable, Mapping

from tqdm import tqdm

from supervised_reptile.runs.tensorboard import Curve
from supervised_reptile.system import output


class Progress(contextlib.ExitStack):
    """Printed lines, TensorBoard's curves, a progress bar.

    closed: whether nobody reads the printed lines any more.
    """

    closed = False

    def __init__(self, directory: str, splits: Iterable[str], done: int, total: int) -> None:
        """done: meta-iterations that were done before, of the total."""
        super().__init__()
        self._curves = {
            split: self.enter_context(contextlib.closing(Curve(f"{directory}/{split}", done - 1)))
            for split in splits
        }
        self._progress = self.enter_context(
            tqdm(
                total=total,
                initial=done,
                unit=" meta-iterations",
                disable=None,
                dynamic_ncols=True,
            )
        )

    def advance(self, done: int) -> None:
        """Show how many meta-iterations are done."""
        self._progress.update(done - self._progress.n)

    def report(self, iteration: int, accuracy: Mapping[str, float]) -> None:
        """Print and log the accuracy by split after a meta-iteration."""
        line = f"batch {iteration}: train={accuracy['train']:f} test={accuracy['test']:f}"
        with tqdm.external_write_mode(sys.stdout):
            try:
                output.say(line)
            except BrokenPipeError:
                self.closed = True
        for split, curve in self._curves.items():
            curve.add(iteration, accuracy[split])

    def sync(self) -> None:
        """Wait until all points are on the disk."""
        for curve in self._curves.values():
            curve.sync()
