"""A figure: drawn once as SVG, inlined in the page with CSS colours, saved as a file beside its numbers.

Matplotlib has no CSS variables: it draws in placeholder colours, which become the page's variables, or, in a file,
the colours of the light theme.
"""

import io
import math
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
LONGEST = 32  # letters of a name in a figure
MOST_TICKS = 6  # of an axis across, whose labels stand side by side
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
    "xtick.major.pad": 5,  # or the labels of both axes meet at the origin
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
    panels: tuple[int, int] | None = None,
    title: str = "",
) -> Figure:
    """The figure that `on` draws on axes; on a list of them where there are `panels` (rows, columns), if only one.

    `size` in inches. Without pyplot, so nothing is left behind and nothing asks for a display.
    """
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    text = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        canvas: Canvas = Canvas(figsize=size)
        axes = canvas.subplots(*(panels or (1, 1)), squeeze=False).ravel().tolist()
        on(axes if panels else axes[0])
        for one in axes:
            _limit_ticks(one)
        canvas.get_layout_engine().execute(canvas)  # panels of a fixed shape need a second pass, or labels are cut
        canvas.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Figure(name, alt, text.getvalue(), numbers, title)


def _limit_ticks(axes: "Axes") -> None:
    """No more labels side by side than fit, however many digits a narrow range gives them."""
    from matplotlib.ticker import AutoLocator

    locator = axes.xaxis.get_major_locator()
    if isinstance(locator, AutoLocator):
        locator.set_params(nbins=MOST_TICKS)


def log_ticks(low: float, high: float, most: int = MOST_TICKS - 1) -> list[float]:
    """Round values from `low` to `high`, both above 0, that can be labelled side by side on a logarithmic axis."""
    from matplotlib.ticker import MaxNLocator

    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    found = [value for value in fine if low <= value <= high]
    if len(found) < 3:  # too narrow
        return [
            float(value)
            for value in MaxNLocator(most - 2, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
            if low <= value <= high
        ]
    if len(found) <= most:
        return found
    powers = [value for value in found if round(math.log10(value), 6).is_integer()]
    return powers[:: -(-len(powers) // most)]


def tick_label(value: float) -> str:
    """0.5; 5,500; 2 M."""
    return f"{value / 1e6:g} M" if value >= 1e6 else f"{value:,g}" if value < 1000 else f"{value:,.0f}"


def panel_grid(count: int) -> tuple[int, int]:
    """(rows, columns) of so many panels, up to three in a row, since legends stand beside them."""
    columns = min(3, count)
    return -(-count // columns), columns


def clipped(name: str, longest: int = LONGEST) -> str:
    """A name that is not longer than a figure has room for."""
    return name if len(name) <= longest else f"{name[: longest - 1].rstrip()}…"


def line_style(i: int) -> dict[str, str]:
    """Colour and stroke of the i-th line of a panel."""
    return {"color": CLASSES[i % len(CLASSES)], "linestyle": ("-", "--", ":")[i // len(CLASSES) % 3]}


def legend_beside(axes: "Axes") -> None:
    """The legend of one of several panels, to its right, where it covers nothing."""
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1.02), fontsize=6.5, handlelength=1.3, handletextpad=0.5,
                borderaxespad=0.3, labelspacing=0.35)  # fmt: skip


def legend(axes: "Axes", columns: int) -> None:
    """The legend above the axes."""
    axes.figure.legend(loc="outside upper left", ncols=columns, handletextpad=0.4, columnspacing=1.2, handlelength=1.4)
