"""Reptile and first-order MAML for few-shot classification, on TensorFlow 2."""

from __future__ import annotations  # an old Python reads this before it is told so

import typing
from typing import Any

if typing.TYPE_CHECKING:
    from supervised_reptile.classification.classifier import Classifier

__version__ = "0.2.0"


def load(checkpoint: str, dataset: str | None = None, **flags: Any) -> Classifier:
    """A trained model that learns new classes from a few examples. The first call takes seconds:
    it imports TensorFlow.

        import supervised_reptile

        model = supervised_reptile.load("o15")
        adapted = model.adapt(["cat1.png", "cat2.png", "dog1.png"], ["cat", "cat", "dog"])
        adapted.classes                        # ["cat", "dog"], the columns of:
        adapted.probabilities(["new1.png"])    # float32 [images, classes]

    checkpoint: the folder of a run, one checkpoint in it, or the name of an included model.
    dataset: "omniglot" or "miniimagenet", for a checkpoint without run.json. flags: those of an
    evaluation, as on the command line: seed=1, eval_iters=100, transductive=True.
    Raises supervised_reptile.system.errors.RefusedError, whose message is one line, if there is no
    such model, it is damaged, or a flag is not as it has to be.
    """
    from supervised_reptile.classification import loading

    return loading.load(checkpoint, dataset, **flags)
