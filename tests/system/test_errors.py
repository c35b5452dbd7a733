"""What fails is told in one line: what it was, and what to do."""

import errno
import os

import pytest
import tensorflow as tf

from supervised_reptile.system import errors


def failure(number, *name):
    return OSError(number, os.strerror(number), *name)


@pytest.mark.parametrize("number", errors.EXHAUSTED)
def test_no_path_is_blamed_for_what_the_system_lacks(number):
    line = errors.explain(failure(number, "data/a.png"))
    assert line.startswith(os.strerror(number)) and "raise the limits (ulimit -a" in line
    assert "data/a.png" not in line and "check the path" not in line


def test_a_path_is_named_where_it_is_to_blame():
    line = errors.explain(failure(errno.ENOTDIR, "data/a"))
    assert line == "data/a: Not a directory; check the path"
    assert errors.explain(failure(errno.ENOSPC, "data/a")).endswith("on device; make room")


def test_nothing_is_said_of_a_path_that_is_not_known():
    assert errors.explain(failure(errno.EROFS)) == os.strerror(errno.EROFS)
    assert errors.explain(failure(errno.ENOSPC)).endswith("on device; make room")


@pytest.mark.parametrize(
    "lack",
    [
        MemoryError("Unable to allocate 7 GiB"),
        MemoryError(),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nHint: ..."),
        tf.errors.InternalError(None, None, "RESOURCE_EXHAUSTED: Failed to allocate 4 bytes"),
        tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    ],
)
def test_too_little_memory_is_one_line_with_advice(lack):
    line = errors.explain(lack)
    assert line.startswith("out of memory (") and "smaller batches" in line and "\n" not in line


def test_not_all_that_is_exhausted_is_memory():
    """TensorFlow has one error for all."""
    full = tf.errors.ResourceExhaustedError(None, None, "a; No space left on device")
    assert errors.explain(full) == "a; No space left on device"
