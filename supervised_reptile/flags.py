"""How a flag is declared: a dataclass field with its default, meaning and range."""

import argparse
import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

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
        if value < at_least:
            raise argparse.ArgumentTypeError(f"must be at least {at_least}, not {value}")
        if value >= below:
            raise argparse.ArgumentTypeError(f"must be below {below}, not {value}")
        return value

    return convert


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
        if not abs(value) <= LARGEST:
            raise argparse.ArgumentTypeError(f"must be finite in single precision, not {value:g}")
        if value <= above:
            raise argparse.ArgumentTypeError(f"must be greater than {above:g}, not {value:g}")
        if value < at_least:
            raise argparse.ArgumentTypeError(f"must be at least {at_least:g}, not {value:g}")
        if value > at_most:
            raise argparse.ArgumentTypeError(f"must be at most {at_most:g}, not {value:g}")
        return value

    return convert


def path(text: str) -> str:
    """A converter for paths: any text that can name a file."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    if "\0" in text:
        raise argparse.ArgumentTypeError("must not contain a null character")
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
