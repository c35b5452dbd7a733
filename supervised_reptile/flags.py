"""How a flag is declared: a dataclass field with its default, meaning and range."""

import argparse
import dataclasses
import math


def flag(default, meaning, convert, only=None):
    """A dataclass field that is also a command-line flag of the same name.

    only: the dataset whose script alone has the flag.
    """
    metadata = {"meaning": meaning, "convert": convert, "only": only}
    return dataclasses.field(default=default, metadata=metadata)


def whole(at_least, below=2**31):
    """A converter for whole numbers in a range."""

    def convert(text):
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


def real(above=-math.inf, at_least=-math.inf, at_most=math.inf):
    """A converter for finite numbers in a range."""

    def convert(text):
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"must be finite, not {value}")
        if value <= above:
            raise argparse.ArgumentTypeError(f"must be greater than {above:g}, not {value:g}")
        if value < at_least:
            raise argparse.ArgumentTypeError(f"must be at least {at_least:g}, not {value:g}")
        if value > at_most:
            raise argparse.ArgumentTypeError(f"must be at most {at_most:g}, not {value:g}")
        return value

    return convert


def path(text):
    """A converter for paths: any text but the empty one."""
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def plain_path(text):
    """A converter for paths that TensorFlow reads as they stand, not as patterns."""
    if set(text) & set("*?[]\\"):
        raise argparse.ArgumentTypeError(f"must not contain any of * ? [ ] \\, as {text!r} does")
    return path(text)
