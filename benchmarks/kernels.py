#!/usr/bin/env python3
"""How many kernels a GPU launches for a meta-iteration, counted without a GPU.

    python benchmarks/kernels.py [--settings o15,m15] [--parallel-tasks]

TensorFlow exports the compiled call of training as for a GPU; the XLA of JAX (pip install
'jax[cuda12]'), which may be newer than TensorFlow's, compiles it for an H100. On small tasks, time
goes with the number of kernels.
"""

import argparse
import os
import re

# No GPU has to be there; the same setting as in training on one.
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"
os.environ["XLA_FLAGS"] = "--xla_gpu_deterministic_ops=true"

import benchmark
import jax
import numpy as np
import tensorflow as tf
from jax._src import compiler
from jax.experimental import topologies
from jax.interpreters import mlir
from jaxlib import xla_client
from jaxlib.mlir import ir

from supervised_reptile.devices.choice import Devices
from supervised_reptile.learning.reptile import tree_map
from supervised_reptile.runs import training

# An H100, as XLA describes it.
H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 } core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  shared_memory_per_core: 233472 registers_per_core_limit: 65536 registers_per_block_limit: 65536
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 device_memory_size: 84929347584
}
platform_name: "CUDA" runtime_version { major: 12 minor: 8 } dnn_version_info { major: 9 minor: 7 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
NOT_LAUNCHED = {"parameter", "get-tuple-element", "tuple", "bitcast", "constant", "while"}


def compiled(setting, parallel):
    """The program that a GPU would run to train a setting, as text (optimized HLO)."""
    benchmark.Bench.devices = Devices("GPU", ("/CPU:0",))
    bench = benchmark.Bench(setting, 10, meta_iters=100000, parallel_tasks=parallel)
    chunk = training.draw_chunk(bench.config, bench.images, range(10))
    arguments = (bench.state, bench.pixels, tree_map(tf.constant, chunk))

    @tf.function(jit_compile=True, autograph=False)
    def flat(*tensors):
        step = bench.reptile.meta_iterations(*tf.nest.pack_sequence_as(arguments, list(tensors)))
        return tf.nest.flatten(step)

    given = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in tf.nest.flatten(arguments)]
    export = flat.experimental_get_compiler_ir(*given)
    there = topologies.get_topology_desc("H100", "cuda", target_config=H100, topology="1x1x1")
    device = there.devices[0]
    options = compiler.get_compile_options(1, 1, np.array([[0]]), backend=device.client)
    with mlir.make_ir_context():
        module = ir.Module.parse(export(stage="stablehlo", platform_name="GPU"))
        program = device.client.compile(module, xla_client.DeviceList((device,)), options)
    return program.hlo_modules()[0].to_string()


class Program:
    """The computations of a program, by name: each the lines of its instructions."""

    def __init__(self, text):
        blocks = re.findall(r"^(ENTRY )?%([\w.-]+) .*{\n((?:  .*\n)*)}", text, re.M)
        self.lines = {name: body.splitlines() for _, name, body in blocks}
        self.entry = next(name for entry, name, _ in blocks if entry)

    def loops(self, name):
        """(body, how often it runs, 0 if that is not known) of each loop in a computation."""
        for line in self.lines[name]:
            if body := re.search(r" while\(.*body=%([\w.-]+)", line):
                count = re.search(r'"known_trip_count":{"n":"(\d+)"', line)
                yield body[1], int(count[1]) if count else 0

    def own(self, name):
        """How many kernels a computation launches, apart from its loops."""
        kinds = re.findall(r" = (?:\(.*?\)|\S+) ([a-z-]+)\(", "\n".join(self.lines[name]))
        return sum(kind not in NOT_LAUNCHED for kind in kinds)

    def all(self, name):
        """How many it launches with its loops."""
        return self.own(name) + sum(times * self.all(body) for body, times in self.loops(name))


def main():
    """Print a line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--settings", default="o15,o120,m15", help="(default: %(default)s)")
    parser.add_argument("--parallel-tasks", action="store_true")
    given = parser.parse_args()
    for setting in given.settings.split(","):
        program = Program(compiled(setting, given.parallel_tasks))
        ((body, _),) = program.loops(program.entry)  # of meta-iterations
        inner = body
        while loops := list(program.loops(inner)):
            ((inner, _),) = loops
        print(
            f"{setting}: {program.all(body)} kernels a meta-iteration, {program.own(inner)} of "
            f"each inner step (XLA of JAX {jax.__version__})",
            flush=True,
        )


if __name__ == "__main__":
    main()
