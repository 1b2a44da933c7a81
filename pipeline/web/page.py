"""Pages from templates that share colours, type and a few functions: base.html.jinja."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from pipeline.report.figure import DARK, LIGHT

BASE = Path(__file__).parent


def rendered(template: Path, **facts: Any) -> str:
    """A page from its template, which extends base.html.jinja."""
    folders = FileSystemLoader([template.parent, BASE])
    environment = Environment(loader=folders, autoescape=True)
    return environment.get_template(template.name).render(light=LIGHT, dark=DARK, **facts)
