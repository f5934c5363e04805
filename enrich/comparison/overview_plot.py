"""One plot over all checkpoints: accuracy under every condition, with its interval."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from enrich.comparison.bootstrap import LEAST_GROUPS
from enrich.comparison.figure import COLORS, MARKERS, add_condition_legend, new_figure
from enrich.training.conditions import Condition

_COLUMNS = 4
_TITLE_WIDTH = 36  # characters of a panel's
_SPREAD = 0.7  # of a checkpoint's row, over its conditions


def draw_overview(figures: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draws accuracy and interval, a row a checkpoint, a panel a shop and attribute.

    `figures` are the records of a comparison.
    """
    subjects = list(dict.fromkeys((r["shop"], r["attribute"]) for r in figures))
    checkpoints = list(dict.fromkeys(r["checkpoint"] for r in figures))
    columns = min(_COLUMNS, len(subjects))
    rows = math.ceil(len(subjects) / columns)
    height = 1.2 + rows * (0.7 + 0.5 * len(checkpoints))
    title = (
        "Accuracy of each checkpoint under every condition, with 95 % intervals\n"
        f"(none of fewer than {LEAST_GROUPS} groups; of no width where all are right, or none)"
    )
    with new_figure(file, title, 2 + 2.9 * columns, height) as figure:
        add_condition_legend(figure, markers=True)
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
        for axes, (shop, attribute) in zip(panels, subjects, strict=False):
            where = {"shop": shop, "attribute": attribute}
            _draw_panel(axes, [r for r in figures if where.items() <= r.items()], checkpoints)
            axes.set_title(textwrap.fill(f"{attribute}, {shop}", _TITLE_WIDTH))
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
