"""The report's page: every section rendered by its template, and the figures that go into files."""

from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from pipeline.plans.config import Plan
from pipeline.report.figure import DARK, LIGHT, Figure
from pipeline.report.formatting import FILTERS
from pipeline.report.leaderboard import Leaderboard
from pipeline.report.material import Material
from pipeline.report.sections import (
    accuracy,
    calibration,
    confusion,
    feature_maps,
    galleries,
    intervals,
    label_efficiency,
    leaderboard_table,
    provenance,
    search,
    summary,
    training,
)
from pipeline.store.artifacts import Store

TEMPLATES = Path(__file__).parent / "templates"
SECTIONS = (
    leaderboard_table, accuracy, confusion, calibration, intervals, feature_maps, galleries, training, label_efficiency,
    search, provenance,
)  # fmt: skip


class Report(NamedTuple):
    """The page, and the figures that it shows."""

    html: str
    figures: tuple[Figure, ...]


def render(plan: Plan, store: Store, board: Leaderboard) -> Report:
    """The report as one self-contained HTML page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    layout = {"trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, **layout)
    environment.filters |= FILTERS | {"svg": lambda figure: Markup(figure.inline())}
    material = Material(plan, store, board)
    with closing(material.thumbnails):
        sections = [made for module in SECTIONS if (made := module.section(material))]
        page = environment.get_template("report.html.jinja")
        html = page.render(plan=plan, summary=summary.summary(material), sections=sections, light=LIGHT, dark=DARK)
    return Report(html, tuple(figure for section in sections for figure in section.figures))
