"""Formatting of numbers in the report."""

import math

from pipeline.core.durations import UNKNOWN, duration

MINUS = "\N{MINUS SIGN}"


def score(value: float | None) -> str:
    """An RMSE: 0.0749."""
    return UNKNOWN if value is None or math.isnan(value) else f"{value:.4f}"


def signed(value: float) -> str:
    """A difference of RMSEs, with its sign: +0.0013."""
    return UNKNOWN if math.isnan(value) else f"{round(value, 4) + 0.0:+.4f}".replace("-", MINUS)


def exact(value: float) -> str:
    """A small difference of RMSEs: +0.00088."""
    return UNKNOWN if math.isnan(value) else f"{round(value, 5) + 0.0:+.5f}".replace("-", MINUS)


def value(setting: object) -> str:
    """A plan's setting: 0.000574; 16; mse."""
    return f"{setting:.3g}" if isinstance(setting, float) else str(setting)


def count(value: float) -> str:
    """A large number: 61,578; 4.1 M; 340."""
    if value is None or math.isnan(value):
        return UNKNOWN
    return f"{value / 1e6:.1f} M" if value >= 1e6 else f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def share(value: float | None) -> str:
    """95.2 %."""
    return UNKNOWN if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def percent(value: float) -> str:
    """95 %."""
    return UNKNOWN if math.isnan(value) else f"{100 * value:.0f} %"


def gigabytes(value: float | None) -> str:
    """1.4 GB."""
    return UNKNOWN if not value or math.isnan(value) else f"{value / 1e9:.1f} GB"


FILTERS = {word.__name__: word for word in (score, signed, exact, value, count, share, percent, duration, gigabytes)}
