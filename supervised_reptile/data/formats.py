"""The pixels that the paper's networks see."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Format:
    """size: height and width in pixels. mode: Pillow's, "L" for grey or "RGB"."""

    size: int
    mode: str

    @property
    def channels(self) -> int:
        """Values per pixel."""
        return len(self.mode)


CHARACTERS = Format(28, "L")  # Omniglot
PHOTOGRAPHS = Format(84, "RGB")  # miniImageNet
