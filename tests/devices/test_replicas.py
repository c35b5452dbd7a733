"""Several devices of one process, and what a GPU is given; on CPUs, which all machines have."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.devices import replicas
from supervised_reptile.devices.choice import Devices
from supervised_reptile.devices.cluster import ALONE
from supervised_reptile.devices.replicas import Replicas
from supervised_reptile.learning import layers, models, reptile
from supervised_reptile.learning.sampling import (
    Population,
    Purpose,
    evaluation_tasks,
    training_tasks,
)
from supervised_reptile.system.errors import RefusedError

# TensorFlow divides a CPU into devices only before it computes: in another process.
SEVERAL = """
import dataclasses
import numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
from supervised_reptile.args import Config
from supervised_reptile.devices import replicas
from supervised_reptile.devices.choice import Devices
from supervised_reptile.devices.cluster import ALONE
from supervised_reptile.learning import evaluation, models, reptile, sampling

class Grouped(Devices):
    def tasks_at_once(self, memory):
        return 4

names = tuple(f"/CPU:{index}" for index in range(3))
several = replicas.join(Grouped("CPU", names), ALONE)
flags = {"classes": 3, "shots": 1, "inner_iters": 2, "eval_iters": 2, "meta_batch": 4,
         "parallel_tasks": True}
config = Config.of("omniglot", flags)
model = dataclasses.replace(models.OMNIGLOT, filters=4)
population = sampling.Population(np.full(20, 20), np.arange(20) * 20)
pixels = np.random.default_rng(0).integers(0, 256, (400, 28, 28, 1), dtype=np.uint8)
tasks = sampling.training_tasks(config, population, [0, 1])
sizes = np.array([0.5, 0.4], np.float32)

def draw(index):
    return sampling.evaluation_tasks(config, population, sampling.Purpose.FINAL_TEST, [index])

found = []
for them in (None, several):
    learner = reptile.Reptile(model, config, them)
    here = learner.replicas.resident(tf.constant(pixels))
    step = learner.train(learner.new_state(), here, tasks, sizes, 2)
    counts = list(evaluation.count_side_by_side(learner, step.state, here, draw, range(30)))
    found.append((tf.nest.flatten(step), counts))
assert [part.device[-5:] for part in here] == ["CPU:0", "CPU:1", "CPU:2"]
(one, counts), (other, others) = found
for a, b in zip(one, other, strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
assert counts == others and len(counts) == 30 and len(set(map(tuple, counts))) > 1
"""


def test_three_devices_share_four_tasks_and_thirty_evaluations():
    """MirroredStrategy; groups of four tasks a call, the last one not full."""
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_one_device_has_nothing_to_share():
    with pytest.raises(RefusedError, match="--distribute: there is one device"):
        replicas.join(Devices(), ALONE)


@pytest.fixture(params=["omniglot", "miniimagenet"])
def on_gpu(request):
    """What the compiled functions of a GPU take: the algorithm, pixels, a population."""
    config = Config.of(request.param, {"shots": 1, "inner_iters": 2, "eval_iters": 2})
    devices = Devices("GPU", ("/CPU:0",))
    algorithm = reptile.Reptile(models.MODELS[request.param], config, Replicas(devices))
    model = algorithm.model
    pixels = tf.zeros([400, model.size, model.size, model.channels], tf.uint8)
    return algorithm, pixels, Population(np.full(20, 20), np.arange(20) * 20)


def tensors(tree):
    return tf.nest.map_structure(tf.constant, tree)


def lowered(function, *arguments):
    """The program that XLA is given for a GPU, without having one."""
    lower = function.experimental_get_compiler_ir(*arguments)
    return lower(stage="stablehlo", platform_name="GPU")


def test_every_operation_can_be_compiled_for_a_gpu(on_gpu):
    algorithm, pixels, population = on_gpu
    config, state = algorithm.config, algorithm.new_state()
    tasks = training_tasks(config, population, [0])
    program = lowered(
        algorithm.train_in_order, state, pixels, *tensors((tasks, np.float32([0.1]), 1))
    )
    assert "stablehlo.while" in program and "custom_call" not in program
    one = tensors(tf.nest.map_structure(lambda part: part[0], tasks))
    flat = reptile.flatten(state)
    assert "stablehlo.while" in lowered(algorithm.train_on_task, flat, pixels, one)
    result = algorithm.train_on_task(flat, pixels, one)
    lowered(algorithm.combine, flat, [result], tf.constant(0.1), 1)
    drawn = evaluation_tasks(config, population, Purpose.FINAL_TEST, range(8))
    program = lowered(algorithm.count_correct, state, pixels, tensors(drawn))
    # Tasks side by side are one product, not one convolution after another.
    assert "stablehlo.dot_general" in program and "stablehlo.convolution" not in program


@pytest.mark.parametrize(("size", "channels"), [(84, 3), (42, 32), (5, 32)])
def test_a_gpus_convolution_is_that_of_a_cpu(size, channels):
    generator = tf.random.Generator.from_seed(0)
    x, kernel = (
        generator.normal(s) for s in ([2, 3, size, size, channels], [2, 3, 3, channels, 8])
    )
    found = []
    for direct in (True, False):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            output = layers.convolve(x, kernel, 1, direct)
            loss = tf.reduce_sum(output * tf.sin(tf.range(8.0)))
        found.append([output, *tape.gradient(loss, [x, kernel])])
    for cpu, gpu in zip(*found, strict=True):
        scale = float(tf.reduce_max(tf.abs(cpu)))
        np.testing.assert_allclose(gpu, cpu, rtol=0, atol=1e-5 * scale)


def test_a_device_is_where_tensors_are_put():
    one = Replicas()
    pixels = tf.zeros([2, 2], tf.uint8)
    assert one.resident(pixels) is pixels and one.of(pixels, 0) is pixels
    on_two = Replicas(Devices("GPU", ("/CPU:0", "/CPU:0"))).resident(pixels)
    assert isinstance(on_two, tuple) and len(on_two) == 2
    assert one.exchange([3, 4]).tolist() == [[3, 4]] and one.tell("é") == ["é"]
