"""Classifying images of new classes, given a few examples of each (section 1 of the paper)."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from supervised_reptile.args import Config
from supervised_reptile.learning.models import Model
from supervised_reptile.learning.reptile import Reptile
from supervised_reptile.learning.sampling import Batches, Draws, Purpose, batches_of
from supervised_reptile.learning.state import State, Tensors, copies

AT_ONCE = 50  # queries that a compiled call answers


class Classifier:
    """A trained State that learns new classes from examples, as in evaluation."""

    def __init__(self, model: Model, config: Config, state: State) -> None:
        """config: of the evaluation: inner steps, mini-batches, optimizer, transduction, seed."""
        self._model, self._config, self._state = model, config, state

    def probabilities(
        self, support: np.ndarray, labels: np.ndarray, queries: np.ndarray, repeats: int = 1
    ) -> Iterator[np.ndarray]:
        """Yield how likely each query is of each class, once for each of some adaptations, which
        differ in the order of the mini-batches: float32 [queries, classes].

        support, queries: uint8 [images, height, width, channels]. labels: int [images], classes
        from 0 on, at most as many as the model tells apart; its other outputs take no part.
        """
        reptile, state = self._for(int(labels.max()) + 1)
        pixels = tf.constant(np.concatenate([support, queries]))
        transductive = self._config.evaluation.transductive
        predict = reptile.answer if transductive else reptile.answer_one_by_one

        @tf.function(jit_compile=True, autograph=False)
        def adapt(state: State, pixels: tf.Tensor, batches: Batches) -> Tensors:
            return reptile.inner_loop(copies(state, 1), pixels, batches).state.parameters

        @tf.function(jit_compile=True, autograph=False)
        def answer(adapted: Tensors, pixels: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
            return tf.nn.softmax(predict(adapted, pixels, images))

        # Together, or each query after the examples; always as many, so that it is compiled once.
        images = np.arange(len(support), len(pixels), dtype=np.int32)
        examples = np.arange(len(support), dtype=np.int32)
        count = len(images) if transductive else min(AT_ONCE, len(images))
        for repeat in range(repeats):
            adapted, found = adapt(state, pixels, self._batches(labels, repeat)), []
            for start in range(0, len(images), count):
                some = images[start : start + count]
                padded = np.pad(some, (0, count - len(some)), mode="edge")
                passes = np.stack([np.append(examples, query) for query in padded])
                asked = some if transductive else passes
                answers = answer(adapted, pixels, tf.constant(asked[None]))[0]
                found.append(answers.numpy()[: len(some)])
            yield np.concatenate(found)

    def _for(self, classes: int) -> tuple[Reptile, State]:
        """The algorithm for so many classes, and the State without the outputs of others."""
        task = dataclasses.replace(self._config.task, classes=classes)
        config = dataclasses.replace(self._config, task=task)

        shapes = self._model.shapes(classes)

        def first(tensors: Tensors) -> Tensors:
            return {name: value[..., : shapes[name][-1]] for name, value in tensors.items()}

        state = self._state
        state = State(first(state.parameters), first(state.second_moments), state.beta2_power)
        return Reptile(self._model, config), state

    def _batches(self, labels: np.ndarray, repeat: int) -> Batches:
        evaluation, seed = self._config.evaluation, self._config.run.seed
        batches = batches_of(
            np.arange(len(labels))[None, None],
            labels,
            evaluation.eval_iters,
            evaluation.eval_batch,
            self._config.inner.replacement,
            Draws(seed, Purpose.CLASSIFYING, [repeat]),
        )
        return Batches(*(tf.constant(part[0]) for part in batches))
