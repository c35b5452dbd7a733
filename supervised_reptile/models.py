"""The two networks (section 6.1; those of Finn et al., 2017), as functions of their parameters.

Parameters are a dictionary from the variable names of the authors' program (``conv2d_1/kernel``,
``batch_normalization/gamma``, ...) to tensors. Every tensor carries a leading axis of tasks: each
task has adapted its own copy, and many tasks go through the network side by side.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

BATCH_NORM_EPSILON = 1e-3
BLOCKS = 4
KERNEL = 3


@dataclasses.dataclass(frozen=True)
class Model:
    """A network: four blocks of convolution, batch norm, ReLU, then one dense layer.

    The blocks halve the image either by the stride of the convolution (Omniglot) or by a max pool
    after batch norm (miniImageNet), both with "same" padding.
    """

    name: str
    size: int
    channels: int
    filters: int
    stride: int

    @property
    def pooled(self):
        """Whether the blocks halve the image by pooling rather than by striding."""
        return self.stride == 1

    @property
    def features(self):
        """Length of the vector that the dense layer sees."""
        return math.ceil(self.size / 2**BLOCKS) ** 2 * self.filters

    @property
    def patch_bytes(self):
        """Memory that the widest patches of one image take: those of the second block."""
        size = math.ceil(self.size / 2) if self.pooled else math.ceil(self.size / 4)
        return size**2 * KERNEL**2 * self.filters * 4

    def shapes(self, classes):
        """Names and shapes of all trainable variables, without the axis of tasks."""
        shapes = {}
        for block in range(BLOCKS):
            convolution, norm = layer_names(block)
            inputs = self.filters if block else self.channels
            shapes[f"{convolution}/kernel"] = (KERNEL, KERNEL, inputs, self.filters)
            shapes[f"{convolution}/bias"] = (self.filters,)
            shapes[f"{norm}/gamma"] = (self.filters,)
            shapes[f"{norm}/beta"] = (self.filters,)
        shapes["dense/kernel"] = (self.features, classes)
        shapes["dense/bias"] = (classes,)
        return shapes

    def initial_parameters(self, classes, generator):
        """Kernels Glorot-uniform, gamma 1, everything else 0, as float32 arrays by name."""
        return {
            name: _initial_value(name, shape, generator)
            for name, shape in self.shapes(classes).items()
        }

    def logits(self, parameters, pixels):
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
            x = convolve(x, parameters[f"{convolution}/kernel"], self.stride)
            x = batch_norm(x, parameters[f"{norm}/gamma"], parameters[f"{norm}/beta"], batches)
            x = tf.nn.relu(max_pool(x) if self.pooled else x)
        x = tf.reshape(x, [tasks, batches * images, self.features])
        scores = x @ parameters["dense/kernel"] + parameters["dense/bias"][:, None]
        return tf.reshape(scores, [tasks, batches, images, -1])


OMNIGLOT = Model("omniglot", size=28, channels=1, filters=64, stride=2)
MINIIMAGENET = Model("miniimagenet", size=84, channels=3, filters=32, stride=1)
MODELS = {model.name: model for model in (OMNIGLOT, MINIIMAGENET)}


def layer_names(block):
    """Names of a block's convolution and batch norm in the authors' checkpoints."""
    suffix = f"_{block}" if block else ""
    return f"conv2d{suffix}", f"batch_normalization{suffix}"


def _initial_value(name, shape, generator):
    if name.endswith("kernel"):
        receptive_field = math.prod(shape[:-2])
        limit = math.sqrt(6 / (receptive_field * (shape[-2] + shape[-1])))
        return generator.uniform(-limit, limit, shape).astype(np.float32)
    return np.full(shape, float(name.endswith("gamma")), np.float32)


def convolve(x, kernel, stride):
    """3x3 convolution with "same" padding, as a product of patches and a matrix.

    x: [tasks, images, height, width, channels], kernel: [tasks, 3, 3, channels, filters].
    Compiled by XLA this is several times faster on a CPU than its convolutions inside a loop, and
    the axis of tasks is a batch of matrix products.
    """
    tasks, images = x.shape[:2]
    patches = tf.concat(windows(x, KERNEL, stride), axis=-1)
    height, width, depth = patches.shape[2:]
    product = tf.reshape(patches, [tasks, -1, depth]) @ tf.reshape(kernel, [tasks, depth, -1])
    return tf.reshape(product, [tasks, images, height, width, -1])


def batch_norm(x, gamma, beta, batches):
    """Normalize by the statistics of each batch at hand: biased variance, no running averages.

    x: [tasks, batches * images, height, width, filters], gamma and beta: [tasks, filters].
    """
    tasks, filters = x.shape[0], x.shape[-1]
    flat = tf.reshape(x, [tasks, batches, -1, filters])
    centered = flat - tf.reduce_mean(flat, axis=2, keepdims=True)
    variance = tf.reduce_mean(tf.square(centered), axis=2, keepdims=True)
    scale = gamma[:, None, None] * tf.math.rsqrt(variance + BATCH_NORM_EPSILON)
    return tf.reshape(centered * scale + beta[:, None, None], x.shape)


def max_pool(x):
    """2x2 max pool of stride 2 with "same" padding, over [tasks, images, height, width, filters].

    Of equal values the first passes the gradient on, as in TensorFlow's own pooling.
    """
    top_left, top_right, bottom_left, bottom_right = windows(x, 2, 2, x.dtype.min)
    top, bottom = tf.maximum(top_left, top_right), tf.maximum(bottom_left, bottom_right)
    return tf.maximum(top, bottom)


def windows(x, size, stride, fill=0.0):
    """The shifted views of padded images that a "same" sliding window sees.

    x: [tasks, images, height, width, channels]; returns size * size tensors
    [tasks, images, ceil(height / stride), ceil(width / stride), channels], row by row.
    """
    outputs = [math.ceil(length / stride) for length in x.shape[2:4]]
    padding = [[0, 0], [0, 0]]
    for length, output in zip(x.shape[2:4], outputs, strict=True):
        total = max((output - 1) * stride + size - length, 0)
        padding.append([total // 2, total - total // 2])
    x = tf.pad(x, [*padding, [0, 0]], constant_values=fill)
    spans = [stride * (output - 1) + 1 for output in outputs]
    return [
        x[:, :, row : row + spans[0] : stride, column : column + spans[1] : stride]
        for row in range(size)
        for column in range(size)
    ]
