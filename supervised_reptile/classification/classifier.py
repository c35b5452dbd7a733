"""Classifying images of new classes, given a few examples of each (section 1 of the paper)."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.classification.examples import Images, pixels_of
from supervised_reptile.devices.choice import Devices
from supervised_reptile.learning.models import Model
from supervised_reptile.learning.reptile import Reptile
from supervised_reptile.learning.sampling import Batches, Draws, Purpose, batches_of
from supervised_reptile.learning.state import State, Tensors, copies
from supervised_reptile.system.errors import FailedError, RefusedError

MOST = 20  # classes that an included model tells apart
NEVER = -1e30  # the bias of an output that no class has: its probability and gradients are 0


class Classifier:
    """A trained model that learns new classes from examples, as in evaluation.

    format: of the images that the network sees. XLA compiles miniImageNet's batch norms and no
    more, since compiling whole networks, as evaluations of Omniglot do, takes longer than hundreds
    of questions: their numbers differ by rounding.
    """

    def __init__(self, model: Model, config: Config, state: State) -> None:
        """config: of the evaluation: inner steps, mini-batches, optimizer, transduction, seed."""
        kind = "GPU" if tf.config.get_visible_devices("GPU") else "CPU"
        self._reptile = Reptile(model, config, Devices(kind))
        self.config, self._state = config, state
        self.format = dataclasses.replace(model.format, clean=config.run.clean)
        evaluation, shapes = config.evaluation, model.shapes(config.task.classes)
        steps = tf.TensorSpec([1, evaluation.eval_iters, evaluation.eval_batch], tf.int32)
        adapted = {name: tf.TensorSpec([1, *shape]) for name, shape in shapes.items()}

        def images(number: int | None) -> tf.TensorSpec:
            return tf.TensorSpec([number, *self.format.shape], tf.uint8)

        examples = [images(None), Batches(steps, steps), tf.TensorSpec([], tf.int32)]
        self._adapting = functools.cache(lambda: _traced(self._train, examples))
        self._asking = functools.cache(lambda n: _traced(self._ask, [adapted, images(n)]))

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """The initialization: float32 arrays by the authors' variable names, such as
        conv2d/kernel [3, 3, channels, filters], dense/kernel [features, classes]."""
        return {name: value.numpy() for name, value in self._state.parameters.items()}

    @property
    def classes(self) -> int:
        """How many classes it tells apart, at most."""
        return self.config.task.classes

    def adapt(
        self, images: Images, labels: Sequence[Any] | np.ndarray, repeat: int = 0
    ) -> "Adapted":
        """Train a copy of the network on examples of new classes; this model stays as it is.

        images: paths or Pillow images, which are read as a viewer shows them, or an array uint8
        [images, height, width, channels] of the size that the network sees: [images, 28, 28] for
        Omniglot, dark ink on light paper; [images, 84, 84, 3] for miniImageNet. labels: the class
        of each, numbers or names. repeat: another number is another order of the mini-batches.
        Raises RefusedError for images that cannot be read, and unless there is one label for each
        and there are 2 to `classes` different ones.
        """
        pixels = self.pixels(images)
        if np.shape(labels) != (len(pixels),):
            raise RefusedError(
                f"there are {len(pixels)} images, but labels of shape {np.shape(labels)}: give one "
                "label for each image"
            )
        if not all(isinstance(label, str) for label in labels):
            given = np.asarray(labels)
            if given.dtype.kind not in "biuf" or np.isnan(given).any():
                raise RefusedError("labels: give a name for each image, or a number for each")
        if not (isinstance(repeat, int | np.integer) and repeat >= 0):
            raise RefusedError(f"repeat: must be a whole number of at least 0, not {repeat!r}")
        names, numbers = np.unique(labels, return_inverse=True)
        if not 2 <= len(names) <= self.classes:
            more = self.classes < len(names) <= MOST and self.config.dataset == "omniglot"
            raise RefusedError(
                f"the examples have {len(names)} class{'es' if len(names) != 1 else ''}, but the "
                f"model in {self.config.run.checkpoint} tells 2 to {self.classes} apart"
                + (f": take the included o120, which tells {MOST} apart" if more else "")
            )
        batches = self._batches(numbers, repeat)
        parameters = self._adapting()(tf.constant(pixels), batches, tf.constant(len(names)))
        return Adapted(self, names.tolist(), pixels, parameters)

    def pixels(self, images: Images) -> np.ndarray:
        """Images as the network sees them: uint8 [images, height, width, channels]. images: as in
        `adapt`, which says what is refused."""
        return pixels_of(images, self.format)

    def _train(self, pixels: tf.Tensor, batches: Batches, classes: tf.Tensor) -> Tensors:
        """The parameters after the inner loop, of a network with so many outputs."""
        parameters = self._state.parameters
        bias = tf.where(tf.range(self.classes) < classes, parameters["dense/bias"], NEVER)
        state = self._state._replace(parameters={**parameters, "dense/bias": bias})
        return self._reptile.inner_loop(copies(state, 1), pixels, batches).state.parameters

    def _batches(self, labels: np.ndarray, repeat: int) -> Batches:
        evaluation, seed = self.config.evaluation, self.config.run.seed
        if self.config.inner.replacement and len(labels) < evaluation.eval_batch:
            raise RefusedError(
                f"there are {len(labels)} examples, but mini-batches of {evaluation.eval_batch} "
                "different ones (--replacement): give more, or a smaller --eval-batch"
            )
        batches = batches_of(
            np.arange(len(labels))[None, None],
            labels,
            evaluation.eval_iters,
            evaluation.eval_batch,
            self.config.inner.replacement,
            Draws(seed, Purpose.CLASSIFYING, [repeat]),
        )
        return Batches(*(tf.constant(part[0]) for part in batches))

    def ask(self, parameters: Tensors, examples: np.ndarray, queries: np.ndarray) -> np.ndarray:
        """Logits, float32 [queries, outputs], of an adapted network: each query in a batch with the
        examples, or, with --transductive, all queries in one. Both are pixels."""
        if self.config.evaluation.transductive:
            return self._asking(len(queries))(parameters, tf.constant(queries)).numpy()
        ask = self._asking(len(examples) + 1)
        batches = (np.concatenate([examples, query[None]]) for query in queries)
        return np.stack([ask(parameters, tf.constant(batch)).numpy()[-1] for batch in batches])

    def _ask(self, parameters: Tensors, pixels: tf.Tensor) -> tf.Tensor:
        return self._reptile.model.logits(parameters, pixels[None, None])[0, 0]


def _traced(function: Callable, signature: Sequence[Any]) -> Callable:
    """A graph of a function. TensorFlow warns of others, which it finds traced too often."""
    return tf.function(function, signature, autograph=False).get_concrete_function()


class Adapted:
    """A network that has learned classes from examples.

    classes: their labels, sorted: the order of the columns of what it answers.
    """

    def __init__(
        self, model: Classifier, classes: list, examples: np.ndarray, parameters: Tensors
    ) -> None:
        self.classes = classes
        self._model, self._examples, self._parameters = model, examples, parameters

    def logits(self, images: Images) -> np.ndarray:
        """Scores of the classes for each image, float32 [images, classes].

        images: as in `Classifier.adapt`. As in evaluation, batch norm uses the statistics of a
        batch: each image's with the examples, or, with transductive=True, those of all images.
        Raises RefusedError for images that cannot be read, FailedError if the scores are not
        finite.
        """
        queries = self._model.pixels(images)
        logits = self._model.ask(self._parameters, self._examples, queries)
        if not np.isfinite(logits).all():
            raise FailedError(
                "after adapting to the examples, the network's outputs are no longer finite: "
                "classify with a smaller --learning-rate or fewer --eval-iters"
            )
        return logits[:, : len(self.classes)]

    def probabilities(self, images: Images) -> np.ndarray:
        """The softmax of `logits`, float32 [images, classes]; it raises the same."""
        return tf.nn.softmax(self.logits(images)).numpy()
