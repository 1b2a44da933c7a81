"""A contact sheet: pictures of galaxies under headings, as one self-contained HTML page."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.report.figure import DARK, LIGHT
from pipeline.report.pictures import data_uri

TEMPLATES = Path(__file__).parent / "templates"


class Tile(NamedTuple):
    """One galaxy."""

    picture: np.ndarray  # uint8 (h, w, 3)
    name: str
    caption: str = ""


class Strip(NamedTuple):
    """Galaxies under a heading, in their order; the first `lead` of them stand out."""

    title: str
    text: str
    tiles: list[Tile]
    lead: int = 0


def page(title: str, text: str, strips: list[Strip]) -> str:
    """The page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    layout = {"trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, **layout)
    environment.filters["uri"] = data_uri
    made = environment.get_template("contact-sheet.html.jinja")
    return made.render(title=title, text=text, strips=strips, light=LIGHT, dark=DARK)
