"""How every plot looks: fonts, the colors of the conditions, and one way to write a PNG.

The colors are Okabe and Ito's, which all common kinds of color vision tell apart; a marker says the
same once more. No plot goes through pyplot, which would keep every figure in memory.
"""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from enrich.plot_text import plain_text
from enrich.training.conditions import Condition

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


# A title and a legend need some width, whatever is drawn.
_LEAST_IN, _LEGEND_IN = 6.2, 2.0


@contextmanager
def new_figure(file: Path, title: str, width: float, height: float) -> Iterator[Figure]:
    """Gives an empty figure of that size in inches and writes it as PNG when it is drawn."""
    with matplotlib.rc_context(_STYLE), plain_text():
        figure = Figure((max(width, _LEAST_IN), height), dpi=150, layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        yield figure
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="png")


def add_condition_legend(figure: Figure, *, markers: bool) -> None:
    """Names the conditions' colors below the plot, in as many lines as its width needs."""
    handles = [
        Line2D([], [], color=COLORS[c], marker=MARKERS[c] if markers else "", label=c.value)
        for c in Condition
    ]
    columns = min(len(handles), int(figure.get_figwidth() / _LEGEND_IN))
    figure.legend(handles=handles, loc="outside lower left", ncols=columns)


def file_name(name: str) -> str:
    """Returns the name as a file or folder may be called anywhere."""
    return re.sub(r'[\s/\\:*?"<>|,]+', "-", unicodedata.normalize("NFC", name))
