"""Testing adapted networks: one task a call, as many calls side by side as pay."""

from collections.abc import Callable, Generator, Iterable

import tensorflow as tf

from supervised_reptile.learning import parallel
from supervised_reptile.learning.reptile import Reptile, tree_map
from supervised_reptile.learning.sampling import EvaluationTasks
from supervised_reptile.learning.state import State
from supervised_reptile.system.errors import FailedError


def count_side_by_side(
    reptile: Reptile,
    state: State,
    pixels: tf.Tensor,
    draw: Callable[..., EvaluationTasks],
    items: Iterable,
    only_finite: bool = False,
) -> Generator[list[int], None, None]:
    """Yield how many queries of a task are answered correctly, for the task of each item, as
    [as the configuration asks for, transductively].

    pixels: uint8 [images, ...]. draw: draw(item) is EvaluationTasks of arrays [1, ...].
    Raises FailedError for outputs that are not finite, if only those that are shall count.
    """
    task, evaluation = reptile.config.task, reptile.config.evaluation
    beside = 0 if evaluation.transductive else task.classes * task.shots + 1
    images = max(evaluation.eval_batch, task.classes, beside)

    def count(item: object) -> list[int]:
        counts = reptile.count_correct(state, pixels, tree_map(tf.constant, draw(item)))
        *correct, finite = (int(count[0]) for count in counts)
        if only_finite and not finite:
            raise FailedError(
                "after adapting to a task, the network's outputs are no longer finite: evaluate "
                "with a smaller --learning-rate or fewer --eval-iters"
            )
        return correct

    return parallel.side_by_side(count, items, images * reptile.model.image_bytes)
