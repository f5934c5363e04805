"""A page to draw on: parts placed in inches. Knows nothing of products."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle


class Sheet:
    """A white page of `width` by `height` inches."""

    def __init__(self, width: float, height: float) -> None:
        self.width = width
        self.height = height
        self._figure = Figure(figsize=(width, height), dpi=130, facecolor="white")

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
        file.parent.mkdir(parents=True, exist_ok=True)
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
