"""Testing adapted networks: one task a call, as many calls side by side as pay."""

from collections.abc import Callable, Generator, Iterable

import tensorflow as tf

from supervised_reptile.learning import parallel
from supervised_reptile.learning.reptile import Reptile, tree_map
from supervised_reptile.learning.sampling import EvaluationTasks
from supervised_reptile.learning.state import State


def count_side_by_side(
    reptile: Reptile,
    state: State,
    pixels: tf.Tensor,
    draw: Callable[..., EvaluationTasks],
    items: Iterable,
) -> Generator[list[int], None, None]:
    """Yield how many queries of a task are answered correctly, for the task of each item, as
    [as the configuration asks for, transductively].

    pixels: uint8 [images, ...]. draw: draw(item) is EvaluationTasks of arrays [1, ...].
    """
    task, evaluation = reptile.config.task, reptile.config.evaluation
    beside = 0 if evaluation.transductive else task.classes * task.shots + 1
    images = max(evaluation.eval_batch, task.classes, beside)

    def count(item: object) -> list[int]:
        counts = reptile.count_correct(state, pixels, tree_map(tf.constant, draw(item)))
        return [int(correct[0]) for correct in counts]

    return parallel.side_by_side(count, items, images * reptile.model.image_bytes)
