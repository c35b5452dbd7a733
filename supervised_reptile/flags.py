"""How a flag is declared: a dataclass field with its default, meaning and range."""

import argparse
import dataclasses
import functools
import operator
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

LARGEST = 3.4028234e38  # that a float32 holds
SMALLEST = 1.2e-38  # apart from 0, which smaller ones become
RULES = {"at_least": operator.ge, "above": operator.gt}  # how a value compares with a bound
RULES |= {"at_most": operator.le, "below": operator.lt}


def flag(default: Any, meaning: str, convert: Callable[[str], Any], only: str | None = None) -> Any:
    """A dataclass field that is also a command-line flag of the same name.

    only: the dataset whose script alone has the flag.
    """
    metadata = {"meaning": meaning, "convert": convert, "only": only}
    return dataclasses.field(default=default, metadata=metadata)


def whole(at_least: int, below: int = 2**31) -> Callable[[str], int]:
    """A converter for whole numbers in a range."""
    return functools.partial(_number, int, "a whole number", {"at_least": at_least, "below": below})


def real(**bounds: float) -> Callable[[str], float]:
    """A converter for numbers that are finite as a float32. bounds: by the names of RULES."""
    return functools.partial(_number, float, "a number", {"at_most": LARGEST, **bounds})


def _number(kind: type, name: str, bounds: Mapping[str, float], text: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be {name}, not {text!r}") from None
    if 0 < abs(value) < SMALLEST:
        raise argparse.ArgumentTypeError(f"must be at least {SMALLEST}, or 0, not {value}")
    for rule, bound in bounds.items():
        if not RULES[rule](value, bound):
            wanted = f"{rule.replace('_', ' ')} {bound}"
            raise argparse.ArgumentTypeError(f"must be {wanted}, not {value}")
    return value


def sets(text: str) -> str:
    """A converter for --eval-sets."""
    if text != "all" and not {*text.split(",")} <= {"train", "val", "test"}:
        raise argparse.ArgumentTypeError(
            f"must be all, or names of train, val and test with commas between them, not {text!r}"
        )
    return text


def device(text: str) -> str:
    """A converter for --device."""
    if not re.fullmatch(r"auto|cpu|gpu(:\d{1,3})?", text):
        raise argparse.ArgumentTypeError(f"must be auto, cpu, gpu or gpu:<number>, not {text!r}")
    return text


def path(text: str) -> str:
    """A converter for paths: any text that can name a file. A shell leaves the ~ of --flag=~/x."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("must not be empty, nor contain a null character")
    return os.path.expanduser(text)


def plain_path(text: str) -> str:
    """A converter for paths that TensorFlow reads as they stand, not as patterns or addresses."""
    if re.search(r"[*?\[\]\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|://", text):
        raise argparse.ArgumentTypeError(
            f"must be UTF-8 without control characters and without * ? [ ] \\ ://, unlike {text!r}"
        )
    return path(text)
