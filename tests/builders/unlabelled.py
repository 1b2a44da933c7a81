"""A folder of images without labels, a plan that says what is asked of them, and lines of answers."""

from pathlib import Path

import numpy as np

from pipeline.store.answers import Line
from tests.builders import own_galaxies

TWO = """
kind = "class"
[[questions]]
name = "shape"
answers = ["smooth", "disc"]
[[questions]]
name = "arms"
answers = ["few", "many"]
parent = "shape: disc"
"""


def folder(place: Path, n: int) -> Path:
    """place/mine/images/g00.png … of 32 pixels; returns place/mine."""
    (place / "mine" / "images").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    for i in range(n):
        (place / "mine" / "images" / f"g{i:02d}.png").write_bytes(own_galaxies.encoded(np.roll(noise, i, axis=1)))
    return place / "mine"


def plan(place: Path, schema: str = TWO) -> Path:
    """A plan of one run, asked by that schema."""
    (place / "asked.toml").write_text(schema)
    return own_galaxies.plan(place, 'labels = "asked.toml"')


def line(galaxy: str, *answers: str, who: str = "anna", chosen: str = "random") -> Line:
    """A complete answer to the questions of TWO."""
    given = dict(zip(("shape", "arms"), answers, strict=False))
    return Line(galaxy, who, "2026-01-01T00:00:00.000+00:00", given, "complete", chosen, "abc")
