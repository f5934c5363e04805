"""A page to draw on: parts placed in inches, text drawn as it is. Knows nothing of products."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from enrich.plot_text import find_fonts, quiet_about_glyphs
from enrich.text import normalise


class Sheet:
    """A white page of `width` by `height` inches."""

    def __init__(self, width: float, height: float) -> None:
        self.width = width
        self.height = height
        self._figure = Figure(figsize=(width, height), dpi=130, facecolor="white")
        FigureCanvasAgg(self._figure)

    def place(self, left: float, top: float, width: float, height: float) -> Axes:
        """Returns a part of the page without frame; x and y run from 0 to 1, y downwards."""
        bottom = 1 - (top + height) / self.height
        size = (width / self.width, height / self.height)
        axes = self._figure.add_axes((left / self.width, bottom, *size))
        axes.set(xlim=(0, 1), ylim=(1, 0))
        axes.set_axis_off()
        return axes

    def save(self, file: Path) -> None:
        """Writes the page as PNG."""
        fonts = find_fonts()
        for text in self._figure.findobj(Text):
            # A title with two dollar signs is no formula.
            text.set(parse_math=False, fontfamily=fonts)
        file.parent.mkdir(parents=True, exist_ok=True)
        with quiet_about_glyphs():
            self._figure.savefig(file, format="png")


def draw_box(
    axes: Axes, left: float, top: float, width: float, height: float, color: str, **given: Any
) -> None:
    """Draws a filled rectangle."""
    axes.add_patch(Rectangle((left, top), width, height, facecolor=color, **given))


def draw_picture(axes: Axes, picture: np.ndarray) -> None:
    """Draws a square picture, (S, S, 3), with a thin frame."""
    axes.imshow(picture, extent=(0, 0.97, 0.97, 0), interpolation="antialiased")
    draw_box(axes, 0, 0, 0.97, 0.97, "none", edgecolor="#c9cdd4", linewidth=0.8)
    # imshow has moved them.
    axes.set(xlim=(0, 1), ylim=(1, 0))


def shorten(text: str, characters: int) -> str:
    """Returns the text on one line without control characters, cut with an ellipsis."""
    line = normalise(text)
    return line if len(line) <= characters else line[: characters - 1].rstrip() + "…"
