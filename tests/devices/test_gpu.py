"""What a GPU is given, on a machine that has none."""

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile import main
from supervised_reptile.args import Config
from supervised_reptile.data.omniglot import OMNIGLOT
from supervised_reptile.devices import choice
from supervised_reptile.devices.choice import Devices
from supervised_reptile.learning import models, sampling
from supervised_reptile.learning.reptile import Chunk, Reptile


@pytest.mark.parametrize(
    "dataset", ["omniglot", pytest.param("miniimagenet", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("parallel", [False, True])
def test_every_operation_can_be_compiled_for_a_gpu(dataset, parallel):
    flags = {"shots": 1, "inner_iters": 2, "eval_iters": 2, "meta_batch": 2}
    config = Config.of(dataset, {**flags, "parallel_tasks": parallel})
    algorithm = Reptile(models.MODELS[dataset], config, Devices("GPU", ("/CPU:0",)))
    population = sampling.Population(np.full(20, 20), np.arange(20) * 20)
    state, pixels = algorithm.new_state(), tf.zeros([400, *algorithm.model.format.shape], tf.uint8)

    def lowered(function, *arguments):
        arguments = tf.nest.map_structure(tf.constant, arguments)
        lower = function.experimental_get_compiler_ir(state, pixels, *arguments)
        return lower(stage="stablehlo", platform_name="GPU")

    chunk = Chunk(sampling.training_tasks(config, population, [0]), np.float32([0.1]), 1)
    programs = [lowered(algorithm.meta_iterations, chunk)]
    if not parallel:
        final = sampling.Purpose.FINAL_TEST
        drawn = sampling.evaluation_tasks(config, population, final, range(8))
        programs.append(lowered(algorithm.predicted_classes, drawn))
    for program in programs:
        assert "stablehlo.while" in program and "custom_call" not in program
        # Tasks side by side are one product, not one convolution after another.
        assert "stablehlo.dot_general" in program and "stablehlo.convolution" not in program


def test_what_was_trained_on_a_gpu_is_resumed_and_evaluated_there(
    tmp_path, monkeypatch, few_images, capsys
):
    """The CPU takes the part of one, with a GPU's operations."""
    monkeypatch.setattr(choice, "choose", lambda asked: Devices("GPU", ("/CPU:0",)))
    flags = "--shots 1 --inner-iters 1 --inner-batch 5 --meta-batch 1 --meta-iters 2 "
    flags += f"--eval-iters 1 --eval-samples 2 --checkpoint {tmp_path} {few_images['omniglot']}"
    main.main(OMNIGLOT, flags.split())
    (tmp_path / "results.jsonl").unlink()
    for way in ("--resume", "--pretrained"):
        main.main(OMNIGLOT, [way, *flags.split()])
        assert "Test accuracy" in capsys.readouterr().out
