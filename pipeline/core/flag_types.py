"""Types of a flag's value, for argparse: numbers within what makes sense."""

import math
from argparse import ArgumentTypeError


def count(text: str) -> int:
    """A whole number above 0."""
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ArgumentTypeError(f"{text!r}: expected a number above 0")
    return int(text)


def amount(text: str) -> float:
    """A finite number that is not below 0."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise ArgumentTypeError(f"{text!r}: expected a number that is not below 0, such as 11.5")
    return value


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"{text!r}: expected a number from 0 to 1")
    return value


def share(text: str) -> float:
    """A number between 0 and 1, neither of them."""
    value = _number(text)
    if not 0 < value < 1:
        raise ArgumentTypeError(f"expected a share between 0 and 1, such as 0.9, not {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
