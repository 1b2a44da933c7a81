"""Durations in words."""

import pytest

from pipeline.core.durations import duration


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "0.0 s"),
        (0.04, "< 0.1 s"),
        (0.44, "0.4 s"),
        (12.4, "12 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (3900, "1 h 05 min"),
        (4_500_000, "1,250 h"),
        (float("nan"), "\N{EN DASH}"),
    ],
)
def test_durations(seconds, told):
    assert duration(seconds) == told
