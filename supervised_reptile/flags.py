"""How a flag is declared: a dataclass field with its default, meaning and range."""

import argparse
import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Number = TypeVar("Number", int, float)
LARGEST = 3.4028234e38  # that a float32 holds


def flag(
    default: Any,
    meaning: str,
    convert: Callable[[str], Any],
    only: str | None = None,
    count: int | None = None,
) -> Any:
    """A dataclass field that is also a command-line flag of the same name.

    only: the dataset whose script alone has the flag. count: how many values it takes, None for
    one that is no list.
    """
    metadata = {"meaning": meaning, "convert": convert, "only": only, "count": count}
    return dataclasses.field(default=default, metadata=metadata)


def whole(at_least: int, below: int = 2**31) -> Callable[[str], int]:
    """A converter for whole numbers in a range."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a whole number, not {text!r}") from None
        rules = {f"at least {at_least}": value >= at_least, f"below {below}": value < below}
        return _checked(value, str(value), rules)

    return convert


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


def real(
    above: float = -math.inf, at_least: float = -math.inf, at_most: float = math.inf
) -> Callable[[str], float]:
    """A converter for numbers in a range that are finite as a float32."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None
        rules = {
            "finite in single precision": abs(value) <= LARGEST,
            f"greater than {above:g}": value > above,
            f"at least {at_least:g}": value >= at_least,
            f"at most {at_most:g}": value <= at_most,
        }
        return _checked(value, f"{value:g}", rules)

    return convert


def _checked(value: Number, shown: str, rules: Mapping[str, bool]) -> Number:
    """The value. Raises ArgumentTypeError with the first of the rules that does not hold."""
    for rule, holds in rules.items():
        if not holds:
            raise argparse.ArgumentTypeError(f"must be {rule}, not {shown}")
    return value


def path(text: str) -> str:
    """A converter for paths: any text that can name a file."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("must not be empty, nor contain a null character")
    return text


def plain_path(text: str) -> str:
    """A converter for paths that TensorFlow reads as they stand, not as patterns or addresses."""
    if re.search(r"[*?\[\]\\]|://", text):
        raise argparse.ArgumentTypeError(
            f"must not contain any of * ? [ ] \\ ://, as {text!r} does"
        )
    if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", text):
        raise argparse.ArgumentTypeError(
            f"must be UTF-8 without control characters, unlike {text!r}"
        )
    return path(text)
