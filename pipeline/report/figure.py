"""A figure: drawn once as SVG, inlined in the page with CSS colours, saved as a file beside its numbers.

Matplotlib has no CSS variables: it draws in placeholder colours, which become the page's variables, or, in a file,
the colours of the light theme.
"""

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIGHT = {
    "paper": "#fcfbf9", "raised": "#f4f2ee", "ink": "#1d2025", "muted": "#646a73", "grid": "#e0ddd6",
    "accent": "#2a5caa", "second": "#b26a1b", "alarm": "#ad2f26", "good": "#23743f",
    "class0": "#b26a1b", "class1": "#7a5195", "class2": "#ad2f26", "class3": "#23743f", "class4": "#2a5caa",
}  # fmt: skip
DARK = {
    "paper": "#15171b", "raised": "#1d2025", "ink": "#e7e5e0", "muted": "#9ca2ab", "grid": "#33373e",
    "accent": "#82aef2", "second": "#e0a55c", "alarm": "#f08a7d", "good": "#7cc796",
    "class0": "#e0a55c", "class1": "#c39bdc", "class2": "#f08a7d", "class3": "#7cc796", "class4": "#82aef2",
}  # fmt: skip
PLACEHOLDERS = {name: "#" + 3 * f"{i:02x}" for i, name in enumerate(LIGHT, 1)}
PAPER, _, INK, MUTED, GRID, ACCENT, SECOND, ALARM, GOOD, *CLASSES = PLACEHOLDERS.values()
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "font.size": 9,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "legend.frameon": False,
    "legend.labelcolor": MUTED,
    "figure.constrained_layout.use": True,
}


class Figure(NamedTuple):
    """A figure: a name that is unique in the report, its alternative text, SVG and numbers."""

    name: str
    alt: str
    drawn: str  # SVG in placeholder colours
    numbers: pd.DataFrame
    title: str = ""

    def inline(self) -> str:
        """An <svg> element that scales and takes colours and font from the page."""
        start = r'<svg [^>]*?viewBox="([^"]*)"[^>]*>'
        svg = re.sub(start, r'<svg viewBox="\1" aria-hidden="true">', self._svg(), count=1)
        for name, colour in PLACEHOLDERS.items():
            svg = svg.replace(colour, f"var(--{name})")
        return re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", svg)

    def file(self) -> str:
        """An SVG file in the colours of the light page."""
        svg = self._svg()
        for name, colour in PLACEHOLDERS.items():
            svg = svg.replace(colour, LIGHT[name])
        return svg

    def _repr_svg_(self) -> str:
        """For notebooks: the file."""
        return self.file()

    def _svg(self) -> str:
        """The <svg> element without ids of groups, which would stand twice on a page of several figures."""
        svg = re.sub(r"<metadata>.*?</metadata>\s*", "", self.drawn[self.drawn.index("<svg") :], flags=re.DOTALL)
        return re.sub(r'(<g) id="[^"]*"', r"\1", svg)


def draw(
    name: str,
    alt: str,
    numbers: pd.DataFrame,
    on: "Callable[[Axes], None] | Callable[[list[Axes]], None]",
    *,
    size: tuple[float, float],
    panels: tuple[int, int] = (1, 1),
    title: str = "",
) -> Figure:
    """The figure that `on` draws on axes; on a list of them where there are several panels (rows, columns).

    `size` in inches. Without pyplot, so nothing is left behind and nothing asks for a display.
    """
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    text = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        canvas: Canvas = Canvas(figsize=size)
        axes = canvas.subplots(*panels, squeeze=False).ravel().tolist()
        on(axes[0] if panels == (1, 1) else axes)
        canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Figure(name, alt, text.getvalue(), numbers, title)


def panel_grid(count: int) -> tuple[int, int]:
    """(rows, columns) of so many panels, up to four in a row."""
    columns = min(4, count)
    return -(-count // columns), columns


def legend(axes: "Axes", columns: int) -> None:
    """The legend above the axes."""
    axes.figure.legend(loc="outside upper left", ncols=columns, handletextpad=0.4, columnspacing=1.2, handlelength=1.4)
