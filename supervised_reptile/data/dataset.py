"""What the program knows of a dataset before it reads any of it."""

import dataclasses
import typing

from supervised_reptile.args import Run
from supervised_reptile.data.image_set import ImageSet, Split


class Load(typing.Protocol):
    """How the images of a run are read."""

    def __call__(
        self, run: Run, seed: int, split: Split | None = None, other_classes: bool = False
    ) -> tuple[ImageSet, Split]:
        """The images of a run and their split.

        seed: decides the split, and what is drawn with --synthetic. split: that of an earlier
        run, to be used instead. other_classes: whether the classes may be others than those of
        that run: then image_set.other_split is used.
        Raises RefusedError if classes are missing, or an image cannot be read.
        """


@dataclasses.dataclass(frozen=True)
class Dataset:
    """name: of the script's dataset, and of its network. load: reads the images of a run."""

    name: str
    load: Load
