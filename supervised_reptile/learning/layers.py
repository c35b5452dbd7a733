"""The layers of the networks, with gradients in closed form, but for TensorFlow's convolutions.

What TensorFlow would derive computes the same, but XLA turns it into many more passes over memory,
which is what a small network spends its time on. Every tensor has a leading axis of tasks.
"""

import math
from collections.abc import Callable

import tensorflow as tf
from tensorflow.compiler.tf2xla.python.xla import optimization_barrier

BATCH_NORM_EPSILON = 1e-3
KERNEL = 3
Gradient = Callable[[tf.Tensor], tuple[tf.Tensor, ...]]


def convolve(x: tf.Tensor, kernel: tf.Tensor, stride: int, direct: bool = True) -> tf.Tensor:
    """3x3 convolution with "same" padding.

    direct: in the way that is fast on a CPU: TensorFlow's own convolution where the stride is 1,
    task by task. On a GPU, a product of patches takes all tasks at once.

    x: [tasks, images, height, width, channels] of equal height and width, kernel:
    [tasks, 3, 3, channels, filters]. Returns [tasks, images, outputs, outputs, filters], where
    outputs is ceil(height / stride).
    """
    if stride == 1 and direct:
        tasks = zip(tf.unstack(x), tf.unstack(kernel), strict=True)
        return tf.stack([tf.nn.conv2d(*task, 1, "SAME") for task in tasks])
    return convolve_im2col(x, kernel, stride, direct)


def convolve_im2col(x: tf.Tensor, kernel: tf.Tensor, stride: int, direct: bool) -> tf.Tensor:
    """`convolve` as a product of patches and a matrix; with stride 2 patches are small."""
    tasks, images, size, _, channels = x.shape
    outputs, filters = math.ceil(size / stride), kernel.shape[-1]

    @tf.custom_gradient
    def product(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
        patches = extract_patches(x, stride)
        matrix = tf.reshape(kernel, [tasks, -1, filters])

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            upstream = tf.reshape(upstream, [tasks, -1, filters])
            patch_gradients = tf.reshape(
                tf.matmul(upstream, matrix, transpose_b=True),
                [tasks, images, outputs, outputs, KERNEL, KERNEL, channels],
            )
            if direct:
                # A product that reads across the patches takes twice as long on a CPU.
                (turned,) = optimization_barrier(tf.transpose(patches, [0, 2, 1]))
                kernel_gradient = turned @ upstream
            else:
                kernel_gradient = tf.matmul(patches, upstream, transpose_a=True)
            kernel_gradient = tf.reshape(kernel_gradient, kernel.shape)
            return add_patches(patch_gradients, size, stride), kernel_gradient

        return tf.reshape(patches @ matrix, [tasks, images, outputs, outputs, filters]), gradient

    return product(x, kernel)


def extract_patches(x: tf.Tensor, stride: int) -> tf.Tensor:
    """The part of the image that the 3x3 kernel sees at each of its places.

    Returns [tasks, images * outputs * outputs, 9 * channels].
    """
    tasks, images, size, _, channels = x.shape
    outputs, before = _geometry(size, stride)
    span = stride * (outputs - 1) + 1
    after = span + KERNEL - 1 - size - before
    x = tf.pad(x, [[0, 0], [0, 0], [before, after], [before, after], [0, 0]])
    views = [
        x[:, :, row : row + span : stride, column : column + span : stride]
        for row in range(KERNEL)
        for column in range(KERNEL)
    ]
    return tf.reshape(tf.stack(views, -2), [tasks, images * outputs**2, KERNEL**2 * channels])


def add_patches(patches: tf.Tensor, size: int, stride: int) -> tf.Tensor:
    """The transpose of `extract_patches`: add up what every patch says of a pixel.

    patches: [tasks, images, outputs, outputs, 3, 3, channels]. A pixel's row and column modulo the
    stride decide which places of the kernel meet it, so that pixels alike are computed together.
    Returns [tasks, images, size, size, channels].
    """
    tasks, images, *_, channels = patches.shape
    length = math.ceil(size / stride)
    rows = []
    for row in range(stride):
        columns = []
        for column in range(stride):
            parts = [
                _shift(patches[:, :, :, :, i, j], up, left, length)
                for i, up in _meetings(row, size, stride)
                for j, left in _meetings(column, size, stride)
            ]
            columns.append(tf.add_n(parts))
        rows.append(tf.stack(columns, 4))
    pixels = tf.reshape(
        tf.stack(rows, 3), [tasks, images, length * stride, length * stride, channels]
    )
    return pixels[:, :, :size, :size]


def _geometry(size: int, stride: int) -> tuple[int, int]:
    """How many places the kernel has along an axis, and the zeros before the first pixel."""
    outputs = math.ceil(size / stride)
    return outputs, max((outputs - 1) * stride + KERNEL - size, 0) // 2


def _meetings(remainder: int, size: int, stride: int) -> list[tuple[int, int]]:
    """The kernel's places k that meet pixels m * stride + remainder, each with its patch's m."""
    _, before = _geometry(size, stride)
    return [
        (k, (remainder + before - k) // stride)
        for k in range(KERNEL)
        if (remainder + before - k) % stride == 0
    ]


def _shift(x: tf.Tensor, up: int, left: int, length: int) -> tf.Tensor:
    """x[..., m + up, n + left, :] for m and n below length, zeros outside."""
    padding = [[max(-by, 0), max(length + by - x.shape[2], 0)] for by in (up, left)]
    x = tf.pad(x, [[0, 0], [0, 0], *padding, [0, 0]])
    top, start = max(up, 0), max(left, 0)
    return x[:, :, top : top + length, start : start + length]


def normalize(
    x: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    batches: int,
    pooled: bool,
    compiled: bool = False,
) -> tf.Tensor:
    """Batch norm, then a max pool if asked for, then ReLU.

    Each batch is normalized by its own statistics: biased variance, no running averages. The pool
    is 2x2 of stride 2 with "same" padding; of equal values the first passes the gradient on, as
    in TensorFlow's own. compiled: whether XLA compiles this alone, between what it does not.
    x: [tasks, batches * images, size, size, filters], gamma and beta: [tasks, filters].
    Returns [tasks, batches * images, ceil(size / 2) if pooled else size, the same, filters].
    """
    forward, backward = _COMPILED_PIECES if compiled else _PIECES

    @tf.custom_gradient
    def run(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple[tf.Tensor, Gradient]:
        output, *statistics = forward(x, gamma, beta, batches, pooled)
        return output, lambda upstream: backward(x, gamma, output, upstream, *statistics, pooled)

    return run(x, gamma, beta)


def _normalized(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, batches: int, pooled: bool
) -> tuple[tf.Tensor, ...]:
    """The output of `normalize`, and the mean and 1 / standard deviation of each batch,
    [tasks, batches, 1, filters]."""
    tasks, images, size, _, filters = x.shape
    flat = [tasks, batches, -1, filters]
    centered = tf.reshape(x, flat)
    mean = tf.reduce_mean(centered, axis=2, keepdims=True)
    centered -= mean
    squares = tf.square(centered)
    variance = _mean(squares) if pooled else tf.reduce_mean(squares, axis=2, keepdims=True)
    deviation = tf.math.rsqrt(variance + BATCH_NORM_EPSILON)
    scale = gamma[:, None, None] * deviation
    chosen, length = centered, size
    if pooled:
        ordered, sign = _ordered(centered, scale, x.shape)
        chosen, length = tf.reshape(max_pool(ordered), flat) * sign, math.ceil(size / 2)
    output = tf.nn.relu(chosen * scale + beta[:, None, None])
    return tf.reshape(output, [tasks, images, length, length, filters]), mean, deviation


def _normalized_gradients(
    x: tf.Tensor,
    gamma: tf.Tensor,
    output: tf.Tensor,
    upstream: tf.Tensor,
    mean: tf.Tensor,
    deviation: tf.Tensor,
    pooled: bool,
) -> tuple[tf.Tensor, ...]:
    """The gradients of x, gamma and beta. What is quick to compute again is not kept meanwhile."""
    tasks, batches, _, filters = mean.shape
    flat = [tasks, batches, -1, filters]
    scale = gamma[:, None, None] * deviation
    centered = tf.reshape(x, flat) - mean
    upstream = tf.where(tf.reshape(output, flat) > 0, tf.reshape(upstream, flat), 0.0)
    chosen, spread = centered, upstream
    if pooled:
        ordered, sign = _ordered(centered, scale, x.shape)
        chosen = tf.reshape(max_pool(ordered), flat) * sign
        places = _first_maximum(ordered)
        spread = tf.reshape(_place(tf.reshape(upstream, places.shape), places, x.shape[2]), flat)
    beta_gradient = tf.reduce_sum(upstream, axis=2, keepdims=True)
    gamma_gradient = deviation * tf.reduce_sum(upstream * chosen, axis=2, keepdims=True)
    count = centered.shape[2]
    x_gradient = scale * (
        spread - beta_gradient / count - centered * (deviation * gamma_gradient / count)
    )
    return (
        tf.reshape(x_gradient, x.shape),
        tf.reduce_sum(gamma_gradient, axis=[1, 2]),
        tf.reduce_sum(beta_gradient, axis=[1, 2]),
    )


_PIECES: list[Callable] = [_normalized, _normalized_gradients]
_COMPILED_PIECES = [tf.function(piece, jit_compile=True, autograph=False) for piece in _PIECES]


def _mean(values: tf.Tensor) -> tf.Tensor:
    """The mean over axis 2 of [tasks, batches, count, filters], which is kept.

    On a CPU, XLA stores all values that it is to add up, unless they are 32 at most: hence means of
    up to 16 first. That pays for photographs, not for characters.
    """
    tasks, batches, count, filters = values.shape
    few = max(number for number in range(1, 17) if count % number == 0)
    parts = tf.reshape(values, [tasks, batches, count // few, few, filters])
    return tf.reduce_mean(tf.reduce_mean(parts, axis=3), axis=2, keepdims=True)


def _ordered(
    centered: tf.Tensor, scale: tf.Tensor, shape: tf.TensorShape
) -> tuple[tf.Tensor, tf.Tensor]:
    """Values in the order in which the pool chooses, in the shape of images, and the sign that
    gives it: a negative scale, which comes after the pool, turns the order round."""
    sign = tf.where(scale < 0, -1.0, 1.0)
    return tf.reshape(centered * sign, shape), sign


def max_pool(x: tf.Tensor) -> tf.Tensor:
    """2x2 max pool of stride 2 with "same" padding, over [tasks, images, size, size, filters]."""
    top_left, top_right, bottom_left, bottom_right = _quarters(x, x.dtype.min)
    top, bottom = tf.maximum(top_left, top_right), tf.maximum(bottom_left, bottom_right)
    return tf.maximum(top, bottom)


def _quarters(x: tf.Tensor, fill: float) -> list[tf.Tensor]:
    """The four pixels of each 2x2 window, row by row."""
    odd = x.shape[2] % 2
    x = tf.pad(x, [[0, 0], [0, 0], [0, odd], [0, odd], [0, 0]], constant_values=fill)
    return [x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]


def _first_maximum(x: tf.Tensor) -> tf.Tensor:
    """Which pixel of each window, 0 to 3, is the first of the largest."""
    top_left, top_right, bottom_left, bottom_right = _quarters(x, x.dtype.min)
    top, bottom = tf.maximum(top_left, top_right), tf.maximum(bottom_left, bottom_right)
    in_top, in_bottom = (
        tf.where(top_right > top_left, 1, 0),
        tf.where(bottom_right > bottom_left, 3, 2),
    )
    return tf.where(bottom > top, in_bottom, in_top)


def _place(x: tf.Tensor, place: tf.Tensor, size: int) -> tf.Tensor:
    """The transpose of choosing it: each value at its place in the window, zeros elsewhere."""
    length = x.shape[2]

    def spread(values: tf.Tensor) -> tf.Tensor:
        values = tf.broadcast_to(
            values[:, :, :, None, :, None], [*x.shape[:2], length, 2, length, 2, x.shape[-1]]
        )
        return tf.reshape(values, [*x.shape[:2], 2 * length, 2 * length, -1])[:, :, :size, :size]

    own = tf.tile(tf.constant([[0, 1], [2, 3]])[:, :, None], [length, length, 1])
    return tf.where(spread(place) == own[:size, :size], spread(x), 0.0)
