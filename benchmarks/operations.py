"""Floating-point operations of training and evaluation, from the shapes of the layers.

Two for a multiply-add of a convolution or of the dense layer, padding counted like data; backward
takes twice as many as forward. All other operations count nothing.

    forward        = 2 (sum over blocks of outputs^2 * 9 * channels * filters + features * classes)
    step           = 3 * batch * forward
    meta-iteration = meta_batch * inner_iters * step(inner_batch)
    task           = eval_iters * step(eval_batch) + (images in the passes of its queries) * forward
"""

import math

from supervised_reptile.learning import models


def forward(model, classes):
    """Of one image through the network."""
    multiply_adds = model.features * classes
    size, channels = model.format.size, model.format.channels
    for _ in range(models.BLOCKS):
        outputs = math.ceil(size / model.stride)
        multiply_adds += outputs**2 * 9 * channels * model.filters
        size, channels = math.ceil(size / 2), model.filters
    return 2 * multiply_adds


def meta_iteration(config):
    """Of one meta-iteration of training."""
    inner = config.inner
    images = config.outer.meta_batch * inner.inner_iters * inner.inner_batch
    return 3 * images * forward(models.MODELS[config.dataset], config.task.classes)


def task(config):
    """Of one evaluated task."""
    task, evaluation = config.task, config.evaluation
    beside = 1 if evaluation.transductive else task.classes * task.shots + 1
    images = 3 * evaluation.eval_iters * evaluation.eval_batch + task.classes * beside
    return images * forward(models.MODELS[config.dataset], task.classes)
