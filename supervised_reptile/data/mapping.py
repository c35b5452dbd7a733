"""How pixels in a file become a tensor without a copy: they can be more than a gigabyte.

Both ends are here, since what the one asks for is what the other has to give: TensorFlow borrows
only memory that may be written and begins at a multiple of 64 bytes.
"""

import typing
from pathlib import Path

import numpy as np

if typing.TYPE_CHECKING:
    import tensorflow as tf


def map_pixels(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The pixels at the start of a file, uint8 of the given shape, as pages of that file.

    They are copied when written, which nobody does. Raises OSError, or ValueError for a file that
    is too short.
    """
    return np.memmap(path, np.uint8, "c", shape=shape)


def as_tensor(pixels: np.ndarray) -> "tf.Tensor":
    """Pixels as a tensor; not copied if that can be avoided."""
    import tensorflow as tf  # Reading images does not need it.

    if pixels.ctypes.data % 64 or not pixels.flags.writeable:
        return tf.constant(pixels)
    return tf.identity(tf.experimental.dlpack.from_dlpack(pixels.__dlpack__()))
