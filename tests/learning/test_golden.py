"""The recorded runs of the authors' program: same start, same batches, same end.

A case names every batch, so the samplers play no part. Convolution biases are left out: batch norm
removes them, and what the authors' program did to them is rounding noise.
"""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.devices.choice import Devices
from supervised_reptile.learning import models, reptile, sampling
from supervised_reptile.learning.state import State

HERE = pathlib.Path(__file__).parents[1] / "golden"
SHARED = pathlib.Path(__file__).parents[3] / "shared" / "golden"
NAMES = [
    "miniimagenet_reptile_adam",
    "miniimagenet_reptile_sgd",
    "omniglot_foml_adam",
    "omniglot_foml_sgd",
    "omniglot_reptile_adam",
    "omniglot_reptile_sgd_decay",
]
GPU = "miniimagenet_reptile_adam-GPU"  # with a GPU's operations; Omniglot's are those of a CPU


class Case:
    """One recorded run."""

    def __init__(self, path, kind):
        self.arrays = np.load(path)
        self.recorded = json.loads(str(self.arrays["config"]))
        mini = self.recorded["model"] == "mini"
        self.model = models.MINIIMAGENET if mini else models.OMNIGLOT
        # Omniglot's images are recorded as 0 and 1, which our pixels write as 0 and 255.
        self.scale = 1 if mini else 255
        self.config = Config.of(
            self.model.name,
            {
                "classes": self.recorded["classes"],
                "learning_rate": self.recorded["learning_rate"],
                "weight_decay": self.recorded["weight_decay"],
                "sgd": self.recorded["optimizer"] == "sgd",
                "foml": self.recorded["algorithm"] == "foml",
            },
        )

        self.algorithm = reptile.Reptile(self.model, self.config, Devices(kind))
        whole = not self.algorithm.model.in_pieces
        self.predict = tf.function(self.algorithm.predict, jit_compile=whole, autograph=False)

    def parameters(self, moment):
        """All variables at a moment ("init", "after_1", ...), by name."""
        return {
            name: self.arrays[f"{moment}|{name.replace('/', '|')}"]
            for name in self.model.shapes(self.recorded["classes"])
        }

    def state(self, moment):
        """The whole state at a moment."""
        moments = {}
        power = 0.999
        if not self.config.inner.sgd:
            moments = {
                name: self.arrays[f"{moment}|{name.replace('/', '|')}|Adam_1"]
                for name in self.model.shapes(self.recorded["classes"])
            }
            power = self.arrays[f"{moment}|beta2_power"]
        return reptile.tree_map(
            tf.constant, State(self.parameters(moment), moments, np.float32(power))
        )

    def pixels(self, name):
        """Recorded images one after another."""
        size, channels = self.model.format.size, self.model.format.channels
        return tf.constant(self.arrays[name].reshape(-1, size, size, channels) * self.scale)

    def training_tasks(self):
        """The recorded batches, [meta-steps, tasks, steps, batch]."""
        labels = self.arrays["train_labels"]
        indices = np.arange(labels.size, dtype=np.int32).reshape(labels.shape)
        batches = sampling.Batches(tf.constant(indices), tf.constant(labels))
        if not self.config.outer.foml:
            return sampling.TrainingTasks(batches, ())
        return sampling.TrainingTasks(
            sampling.Batches(*(part[..., :-1, :] for part in batches)),
            sampling.Batches(*(part[..., -1:, :] for part in batches)),
        )

    def evaluation_task(self):
        """The recorded evaluation as a task, and its pixels."""
        kinds = ("support", "query")
        pixels = tf.concat([self.pixels(f"eval_{kind}_images") for kind in kinds], 0)
        support = self.arrays["eval_support_labels"]
        queries = np.arange(len(support), len(pixels))
        batches = self.arrays["eval_batches"]
        passes = np.array([[*range(len(support)), query] for query in queries])
        tasks = sampling.EvaluationTasks(
            sampling.Batches(tf.constant(batches[None]), tf.constant(support[batches][None])),
            tf.constant(passes[None], tf.int32),
        )
        return tasks, pixels


@pytest.fixture(params=[*NAMES, GPU], scope="module")
def case(request):
    """Every recorded run, those not in the repository where they are at hand."""
    name, _, kind = request.param.partition("-")
    for folder in (HERE, SHARED):
        if (folder / f"{name}.npz").exists():
            return Case(folder / f"{name}.npz", kind or "CPU")
    pytest.skip(f"{name}.npz is only in ../shared/golden, which is not here")


def compared(case):
    """Names of the variables that can be compared: all but the biases before a batch norm."""
    return [
        name
        for name in case.model.shapes(case.recorded["classes"])
        if not (name.startswith("conv") and name.endswith("bias"))
    ]


def distance(parameters, case, moment):
    """How far from the reference, in units of how far the reference went from its start."""
    reference, start = case.parameters(moment), case.parameters("init")

    def norm(first, second):
        return np.sqrt(sum(np.sum((first[n] - second[n]) ** 2.0) for n in compared(case)))

    found = {name: value.numpy() for name, value in parameters.items()}
    return norm(found, reference) / norm(reference, start)


def test_training_ends_where_the_authors_program_ended(case):
    steps = case.arrays["meta_steps"].astype(np.float32)
    pixels, tasks = case.pixels("train_images"), case.training_tasks()
    for count in range(1, len(steps) + 1):
        chunk = reptile.Chunk(tasks, steps, count)
        state = case.algorithm.train(case.state("init"), pixels, chunk).state
        assert distance(state.parameters, case, f"after_{count}") < 1e-3
        # Adam's state is never put back: it counts the steps of all tasks.
        reference = case.state(f"after_{count}")
        for name, value in state.second_moments.items():
            if name in compared(case):
                error = np.linalg.norm(value - reference.second_moments[name])
                assert error < 1e-3 * np.linalg.norm(reference.second_moments[name]), name
        if not case.config.inner.sgd:
            np.testing.assert_allclose(state.beta2_power, reference.beta2_power, rtol=1e-6)


def test_evaluation_predicts_what_the_authors_program_predicted(case):
    state = case.state(f"after_{len(case.arrays['meta_steps'])}")
    tasks, pixels = case.evaluation_task()
    found = case.predict(state, pixels, tasks)
    for suffix, logits in (
        ("non_transductive", found.reported[0].numpy()),
        ("transductive", found.transductive[0].numpy()),
    ):
        expected = case.arrays[f"eval_logits_{suffix}"]
        np.testing.assert_allclose(logits, expected, atol=5e-3, rtol=0)
        correct = np.sum(logits.argmax(-1) == case.arrays["eval_query_labels"])
        assert correct == case.arrays[f"eval_correct_{suffix}"]
