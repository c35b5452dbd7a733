"""The two networks (section 6.1; those of Finn et al., 2017), as functions of their parameters.

Parameters are a dictionary from the variable names of the authors' program (``conv2d_1/kernel``,
``batch_normalization/gamma``, ...) to tensors. Every tensor carries a leading axis of tasks: each
task has adapted its own copy, and many tasks go through the network side by side.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from supervised_reptile.data.decoding import CHARACTERS, PHOTOGRAPHS, Format
from supervised_reptile.learning.layers import KERNEL, convolve, normalize
from supervised_reptile.learning.state import Shapes, Tensors

BLOCKS = 4


@dataclasses.dataclass(frozen=True)
class Model:
    """A network: four blocks of convolution, batch norm, ReLU, then one dense layer.

    The blocks halve the image either by the stride of the convolution (Omniglot) or by a max pool
    after batch norm (miniImageNet), both with "same" padding. direct: see layers.convolve.
    """

    name: str
    format: Format
    filters: int
    stride: int
    direct: bool = True

    @property
    def pooled(self) -> bool:
        """Whether the blocks halve the image by pooling rather than by striding."""
        return self.stride == 1

    @property
    def in_pieces(self) -> bool:
        """Whether the convolutions are TensorFlow's own, and XLA compiles only what is between."""
        return self.pooled and self.direct

    @property
    def features(self) -> int:
        """Length of the vector that the dense layer sees."""
        return math.ceil(self.format.size / 2**BLOCKS) ** 2 * self.filters

    @property
    def image_bytes(self) -> int:
        """Memory that an image takes at its widest: after a direct convolution, or as the patches
        of the second one."""
        if self.in_pieces:
            return self.format.size**2 * self.filters * 4
        places = math.ceil(self.format.size / 2 / self.stride) ** 2
        return places * KERNEL**2 * self.filters * 4

    def on(self, kind: str) -> "Model":
        """The network as a kind of device computes it: the same function, other operations."""
        return dataclasses.replace(self, direct=kind == "CPU")

    def shapes(self, classes: int) -> Shapes:
        """Names and shapes of all trainable variables, without the axis of tasks."""
        shapes: dict[str, tuple[int, ...]] = {}
        for block in range(BLOCKS):
            convolution, norm = layer_names(block)
            inputs = self.filters if block else self.format.channels
            shapes[f"{convolution}/kernel"] = (KERNEL, KERNEL, inputs, self.filters)
            shapes[f"{convolution}/bias"] = (self.filters,)
            shapes[f"{norm}/gamma"] = (self.filters,)
            shapes[f"{norm}/beta"] = (self.filters,)
        shapes["dense/kernel"] = (self.features, classes)
        shapes["dense/bias"] = (classes,)
        return shapes

    def initial_parameters(
        self, classes: int, generator: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Kernels Glorot-uniform, gamma 1, everything else 0, as float32 arrays by name."""
        values = {}
        for name, shape in self.shapes(classes).items():
            if name.endswith("kernel"):
                limit = math.sqrt(6 / (math.prod(shape[:-2]) * (shape[-2] + shape[-1])))
                values[name] = generator.uniform(-limit, limit, shape).astype(np.float32)
            else:
                values[name] = np.full(shape, float(name.endswith("gamma")), np.float32)
        return values

    def logits(self, parameters: Tensors, pixels: tf.Tensor) -> tf.Tensor:
        """Scores of the classes for each image.

        pixels: uint8 [tasks, batches, images, height, width, channels]. The images of one batch
        share batch-norm statistics; a training step has one batch, an evaluation one per query.
        parameters: float32, each with a leading axis of tasks.
        Returns float32 [tasks, batches, images, classes].
        """
        tasks, batches, images = pixels.shape[:3]
        x = tf.cast(pixels, tf.float32) / 255
        x = tf.reshape(x, [tasks, batches * images, *pixels.shape[3:]])
        for block in range(BLOCKS):
            convolution, norm = layer_names(block)
            # The bias before batch norm cannot change the output: it is kept, not computed.
            x = convolve(x, parameters[f"{convolution}/kernel"], self.stride, self.direct)
            gamma, beta = parameters[f"{norm}/gamma"], parameters[f"{norm}/beta"]
            x = normalize(x, gamma, beta, batches, self.pooled, compiled=self.in_pieces)
        x = tf.reshape(x, [tasks, batches * images, self.features])
        scores = x @ parameters["dense/kernel"] + parameters["dense/bias"][:, None]
        return tf.reshape(scores, [tasks, batches, images, -1])


OMNIGLOT = Model("omniglot", CHARACTERS, filters=64, stride=2)
MINIIMAGENET = Model("miniimagenet", PHOTOGRAPHS, filters=32, stride=1)
MODELS = {model.name: model for model in (OMNIGLOT, MINIIMAGENET)}


def layer_names(block: int) -> tuple[str, str]:
    """Names of a block's convolution and batch norm in the authors' checkpoints."""
    suffix = f"_{block}" if block else ""
    return f"conv2d{suffix}", f"batch_normalization{suffix}"
