"""The pixels that the paper's networks see."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Format:
    """size: height and width in pixels. mode: Pillow's, "L" for grey or "RGB". as_shown: whether
    files are seen as a viewer shows them, or as the paper's code read its two data sets. clean:
    whether they are then made to look as Omniglot's drawings (--clean)."""

    size: int
    mode: str
    as_shown: bool = False
    clean: bool = False

    @property
    def channels(self) -> int:
        """Values per pixel."""
        return len(self.mode)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image: height, width, channels."""
        return self.size, self.size, self.channels


CHARACTERS = Format(28, "L")  # Omniglot
PHOTOGRAPHS = Format(84, "RGB")  # miniImageNet
