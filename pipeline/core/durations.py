"""Durations in words."""

import math

UNKNOWN = "\N{EN DASH}"
LEAST = 0.1  # seconds that are told exactly


def duration(seconds: float) -> str:
    """< 0.1 s; 0.4 s; 12 s; 3 min 20 s; 1 h 05 min; 1,250 h; a dash for NaN."""
    if math.isnan(seconds):
        return UNKNOWN
    if 0 < seconds < LEAST:
        return f"< {LEAST} s"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes < 6000 else f"{minutes / 60:,.0f} h"
