"""Figures as PNG files, in one style.

No plot goes through pyplot, which would keep every figure in memory.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import font_manager
from matplotlib.figure import Figure

# Stand in, where a machine has them, for the scripts that matplotlib's own font lacks.
_FONTS = ("Noto Sans CJK JP", "Noto Sans Devanagari", "Noto Sans Thai", "Arial Unicode MS")

BLUE, GREY, LIGHT = "#0072B2", "#666666", "#D9D9D9"
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


LEAST_WIDTH = 6.2  # inches, for a title and a legend


@contextmanager
def new_figure(file: Path, title: str, width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure, sizes in inches, and write it as PNG afterwards.

    Text is drawn unchanged, in matplotlib's own font and fonts of this machine.
    """
    available = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(font for font in _FONTS if font in available)]
    # A "$" in a label, a title or a folder's name would start a formula otherwise.
    plain: dict[Any, Any] = {"font.family": fonts, "text.parse_math": False}
    with matplotlib.rc_context(_STYLE | plain), warnings.catch_warnings():
        # A letter that no font has is drawn as a box, which says so by itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure((max(width, LEAST_WIDTH), height), dpi=150, layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        yield figure
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, format="png")
