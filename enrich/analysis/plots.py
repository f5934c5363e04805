"""Plots of a comparison.

The colors are those of Okabe and Ito, which all common kinds of color vision tell apart; markers
repeat what they say. No plot goes through pyplot, which would keep every figure in memory.
"""

import math
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from enrich.analysis.bootstrap import LEAST_GROUPS
from enrich.training.batches import Condition

_COLUMNS = 4
_TITLE_WIDTH = 36  # characters of a panel's
_SPREAD = 0.7  # of a checkpoint's row, over its conditions

# Stand in, where a machine has them, for the scripts that matplotlib's own font lacks.
_FONTS = ("Noto Sans CJK JP", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS")


BLUE, GREY, LIGHT = "#0072B2", "#666666", "#D9D9D9"
COLORS = {
    Condition.AS_IS: BLUE,
    Condition.NO_TEXT: "#D55E00",
    Condition.NO_IMAGE: "#009E73",
    Condition.WORDS_MASKED: "#CC79A7",
    Condition.OTHER_TEXT: "#E69F00",
}
MARKERS = dict(zip(Condition, "osD^v", strict=True))
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "black",
    "ytick.labelcolor": "black",
    "grid.color": "#E6E6E6",
    "legend.frameon": False,
    "lines.markersize": 5,
}


# A title and a legend need some width.
_LEAST_IN, _LEGEND_IN = 6.2, 2.0


@contextmanager
def new_figure(file: Path, title: str, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure, sizes in inches, and write it as PNG afterwards."""
    with matplotlib.rc_context(_STYLE), plain_text():
        figure = Figure((max(width, _LEAST_IN), height), dpi=150, layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        yield figure
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="png")


def add_condition_legend(figure: Figure) -> None:
    """Name the colors of the conditions below the plot."""
    handles = [Line2D([], [], color=COLORS[c], marker=MARKERS[c], label=c.value) for c in Condition]
    columns = min(len(handles), int(figure.get_figwidth() / _LEGEND_IN))
    figure.legend(handles=handles, loc="outside lower left", ncols=columns)


def draw_overview(figures: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw accuracy with interval: a row a checkpoint, a panel a source and attribute."""
    subjects = list(dict.fromkeys((r["source"], r["attribute"]) for r in figures))
    checkpoints = list(dict.fromkeys(r["checkpoint"] for r in figures))
    columns = min(_COLUMNS, len(subjects))
    rows = math.ceil(len(subjects) / columns)
    height = 1.2 + rows * (0.7 + 0.5 * len(checkpoints))
    title = (
        "Share of right answers under every condition, with 95 % intervals\n"
        f"(none of fewer than {LEAST_GROUPS} groups; of no width where all are right, or none)"
    )
    with new_figure(file, title, 2 + 2.9 * columns, height) as figure:
        add_condition_legend(figure)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
        for axes, (source, attribute) in zip(panels, subjects, strict=False):
            where = {"source": source, "attribute": attribute}
            _draw_panel(axes, [r for r in figures if where.items() <= r.items()], checkpoints)
            axes.set_title(textwrap.fill(f"{attribute}, {source}", _TITLE_WIDTH))
        for axes in panels[len(subjects) :]:
            axes.set_visible(False)
        panels[0].set_yticks(range(len(checkpoints)), checkpoints)
        panels[0].set_ylim(len(checkpoints) - 0.5, -0.5)


def _draw_panel(
    axes: Axes, figures: Sequence[Mapping[str, Any]], checkpoints: Sequence[str]
) -> None:
    offsets = dict(zip(Condition, np.linspace(-_SPREAD / 2, _SPREAD / 2, 5), strict=True))
    for record in figures:
        condition = Condition(record["condition"])
        at = checkpoints.index(record["checkpoint"]) + offsets[condition]
        color = COLORS[condition]
        axes.plot(record["accuracy_interval"], [at, at], color=color, lw=1.5)
        axes.plot(record["accuracy"], at, MARKERS[condition], color=color)
    for at in range(1, len(checkpoints), 2):
        axes.axhspan(at - 0.5, at + 0.5, color="#F5F5F5", zorder=0, lw=0)
    # Panels share their scale, and the one below may be hidden.
    axes.tick_params(labelbottom=True, length=0, axis="both")
    axes.grid(axis="x")
    axes.set_axisbelow(True)


@contextmanager
def plain_text() -> Iterator[None]:
    """Draw text unchanged, in matplotlib's own font and fonts of this machine."""
    available = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(font for font in _FONTS if font in available)]
    # A "$" in a label, a title or a folder's name would start a formula otherwise.
    style: dict[Any, Any] = {"font.family": fonts, "text.parse_math": False}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        # A letter that no font has is drawn as a box, which says so by itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
