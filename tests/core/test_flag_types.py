"""Numbers that flags take, and those that they refuse."""

from argparse import ArgumentTypeError

import pytest

from pipeline.core import flag_types

WRONG = {
    flag_types.count: ["0", "-1", "1.5", "", "many", "²", "nan"],
    flag_types.amount: ["-1", "-0.1", "nan", "inf", "-inf", "", "much"],
    flag_types.fraction: ["-0.1", "1.1", "nan", "inf", "", "half"],
    flag_types.share: ["0", "1", "1.5", "-0.5", "nan", "inf", "", "half"],
}


@pytest.mark.parametrize(("kind", "text", "value"), [
    (flag_types.count, "1", 1), (flag_types.count, "1000", 1000),
    (flag_types.amount, "0", 0.0), (flag_types.amount, "11.5", 11.5),
    (flag_types.fraction, "0", 0.0), (flag_types.fraction, "1", 1.0), (flag_types.fraction, "0.5", 0.5),
    (flag_types.share, "0.9", 0.9), (flag_types.share, "1e-3", 0.001),
])  # fmt: skip
def test_numbers(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in WRONG.items() for text in texts])
def test_what_is_refused_is_quoted(kind, text):
    with pytest.raises(ArgumentTypeError, match="expected a"):
        kind(text)
