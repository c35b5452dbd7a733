#!/usr/bin/env python3
"""The same training in JAX, side by side with this program's: the same tasks, the same arithmetic.

    python benchmarks/peer.py [--settings o15,m15] [--device gpu]

It needs JAX as well (pip install jax, or 'jax[cuda12]' for a GPU), which is no part of the program.
One compiled call of either makes as many meta-iterations, in the paper's order.
"""

import argparse
import functools
import os
import statistics

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # TensorFlow is there, too

import benchmark
import jax
import jax.numpy as jnp
import numpy as np
import tensorflow as tf
from jax import lax
from processes import show

from supervised_reptile.args import Computing
from supervised_reptile.devices import choice
from supervised_reptile.learning.layers import BATCH_NORM_EPSILON
from supervised_reptile.learning.models import BLOCKS, layer_names
from supervised_reptile.runs import training

REPEATS = 7
tree = jax.tree_util.tree_map


def logits(model, parameters, pixels):
    """Scores of the classes for each image of a batch."""
    x = pixels.astype(jnp.float32) / 255
    layout = ("NHWC", "HWIO", "NHWC")
    for block in range(BLOCKS):
        convolution, norm = layer_names(block)
        kernel, strides = parameters[f"{convolution}/kernel"], (model.stride, model.stride)
        # The bias cannot change the output, and is left alone, as in models.py.
        x = lax.conv_general_dilated(x, kernel, strides, "SAME", dimension_numbers=layout)
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        x = (x - mean) * lax.rsqrt(variance + BATCH_NORM_EPSILON)
        x = x * parameters[f"{norm}/gamma"] + parameters[f"{norm}/beta"]
        if model.pooled:
            window = (1, 2, 2, 1)
            x = lax.reduce_window(x, -jnp.inf, lax.max, window, window, "SAME")
        x = jax.nn.relu(x)
    return x.reshape(len(x), -1) @ parameters["dense/kernel"] + parameters["dense/bias"]


def inner_step(model, rate, pixels, state, batch):
    """One step of Adam with β₁ = 0 on a mini-batch of (indices, labels)."""
    parameters, second_moments, power = state

    def loss(parameters):
        scores = jax.nn.log_softmax(logits(model, parameters, pixels[batch[0]]))
        return -jnp.take_along_axis(scores, batch[1][:, None], 1).sum()

    gradients = jax.grad(loss)(parameters)
    second_moments = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second_moments, gradients)
    size = rate * jnp.sqrt(1 - power)
    parameters = tree(
        lambda p, g, v: p - size * g / (jnp.sqrt(v) + 1e-8), parameters, gradients, second_moments
    )
    return (parameters, second_moments, power * 0.999), None


@functools.partial(jax.jit, static_argnums=(0, 1))
def train(model, rate, pixels, state, tasks, sizes):
    """The state after meta-iterations. tasks: (indices, labels) [iterations, tasks, steps, batch];
    sizes: of their outer steps."""
    step = functools.partial(inner_step, model, rate, pixels)

    def meta_iteration(state, inputs):
        tasks, size = inputs
        start, second_moments, power = state

        def task(carried, batches):
            moved, *rest = carried
            (after, *rest), _ = lax.scan(step, (start, *rest), batches)
            return (tree(lambda m, a, s: m + (a - s), moved, after, start), *rest), None

        still = tree(jnp.zeros_like, start)
        (moved, *rest), _ = lax.scan(task, (still, second_moments, power), tasks)
        mean = size / tasks[0].shape[0]
        return (tree(lambda p, m: p + mean * m, start, moved), *rest), None

    return lax.scan(meta_iteration, state, (tasks, sizes))[0]


def compare(setting):
    """Print milliseconds per meta-iteration of both, in turn, and how far apart one takes them."""
    bench = benchmark.Bench(setting, 1 if setting.startswith("m") else 10, meta_iters=100000)
    # With second moments of 0, the first steps are so large that rounding soon decides.
    bench.state = bench.state._replace(second_moments=tree(tf.ones_like, bench.state.parameters))
    chunk = training.draw_chunk(bench.config, bench.images, range(bench.count))
    state = tree(lambda tensor: jnp.asarray(tensor.numpy()), tuple(bench.state))
    pixels = jnp.asarray(bench.images.pixels)

    def theirs(count):
        batches = tuple(jnp.asarray(part[:count]) for part in chunk.tasks.batches)
        rate = bench.config.inner.learning_rate
        sizes = jnp.asarray(chunk.step_sizes[:count])
        after = train(bench.reptile.model, rate, pixels, state, batches, sizes)
        return jax.block_until_ready(after)

    start = bench.state.parameters
    first = bench.reptile.train(bench.state, bench.pixels, chunk._replace(length=1))
    ours = first.state.parameters
    apart = distance(ours, theirs(1)[0]) / distance(ours, start)
    theirs(bench.count), bench.train()
    peer, own = [], []
    for _ in range(REPEATS):
        for times, work in ((peer, lambda: theirs(bench.count)), (own, bench.train)):
            times.append(1000 * benchmark.timed(work) / bench.count)
    ratio = statistics.median(a / b for a, b in zip(peer, own))
    print(
        f"{setting}: JAX {show(peer)}, this program {show(own)} ms, ratio {ratio:.2f}; after one "
        f"meta-iteration, they are {apart:.0e} of what they moved apart",
        flush=True,
    )


def distance(one, other):
    """Between parameters, as one vector each."""
    return np.sqrt(sum(np.sum((np.asarray(one[n]) - np.asarray(other[n])) ** 2) for n in one))


def main():
    """Compare with each setting."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--settings", default="o15,o120,m15", help="(default: %(default)s)")
    parser.add_argument("--device", default="cpu", help="as of the scripts (default: %(default)s)")
    given = parser.parse_args()
    benchmark.Bench.devices = choice.choose(Computing(device=given.device))
    jax.config.update("jax_platforms", "cuda" if given.device.startswith("gpu") else "cpu")
    jax.config.update("jax_default_matmul_precision", "float32")  # no TF32, as in this program
    print(f"{benchmark.Bench.devices.describe()}, JAX {jax.__version__}", flush=True)
    for setting in given.settings.split(","):
        compare(setting)


if __name__ == "__main__":
    main()
