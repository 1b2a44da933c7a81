"""Formatting of numbers in the report."""

import math

UNKNOWN, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"


def score(value: float | None) -> str:
    """An RMSE: 0.0749."""
    return UNKNOWN if value is None or math.isnan(value) else f"{value:.4f}"


def signed(value: float) -> str:
    """A difference of RMSEs, with its sign: +0.0013."""
    return UNKNOWN if math.isnan(value) else f"{value:+.4f}".replace("-", MINUS)


def exact(value: float) -> str:
    """A small difference of RMSEs: +0.00088."""
    return UNKNOWN if math.isnan(value) else f"{value:+.5f}".replace("-", MINUS)


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


def duration(seconds: float) -> str:
    """0.4 s; 12 s; 3 min 20 s; 1 h 05 min."""
    if math.isnan(seconds):
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def gigabytes(value: float | None) -> str:
    """1.4 GB."""
    return UNKNOWN if not value or math.isnan(value) else f"{value / 1e9:.1f} GB"


FILTERS = {word.__name__: word for word in (score, signed, exact, value, count, share, percent, duration, gigabytes)}
