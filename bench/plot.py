"""Products a second as bars: the floor, what is ours, and the peers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Patch

from bench.peers.stages import SAME_ARITHMETIC
from bench.ratios import PEERS
from enrich.analysis.plots import BLUE, GREY, LIGHT, new_figure

# In the order of the bars. Decoding alone has none: it is often forty times as fast as all else,
# whose bars would be too short to compare. The floor contains it.
_LABELS = {
    "floor": "floor",
    "engine": "engine",
    "job": "Spark job",
    "predict_batch_udf": "predict_batch_udf",
    "naive_udf": "naive pandas UDF",
    "ray_data": "Ray Data",
    "daft": "Daft",
}
_ORANGE = "#E69F00"
_BAR = 0.38


def draw_speeds(runs: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Writes a PNG with a panel for each checkpoint and size of picture."""
    stages = [stage for stage in _LABELS if any(stage in _speeds(run) for run in runs)]
    height = 1.0 + len(runs) * (0.6 + 0.3 * len(stages))
    with new_figure(file, "Products a second by stage", 7.5, height) as figure:
        panels = figure.subplots(len(runs), 1, squeeze=False)[:, 0]
        for axes, run in zip(panels, runs, strict=True):
            _draw_panel(axes, run, stages)
        kinds = {
            "forward pass and decoding alone": LIGHT,
            "ours": BLUE,
            "as documented": GREY,
            "in our precision and memory settings": _ORANGE,
        }
        figure.legend(
            handles=[Patch(color=color, label=label) for label, color in kinds.items()],
            loc="outside lower left",
            ncols=4,
        )


def _draw_panel(axes: Axes, run: Mapping[str, Any], stages: Sequence[str]) -> None:
    speeds = _speeds(run)
    for row, stage in enumerate(stages):
        own = LIGHT if stage == "floor" else GREY if stage in PEERS else BLUE
        bars = {stage: own, stage + SAME_ARITHMETIC: _ORANGE}
        measured = [name for name in bars if name in speeds]
        for place, name in enumerate(measured):
            # Two bars share a row.
            at = row + _BAR * (place - (len(measured) - 1) / 2)
            drawn = axes.barh(at, speeds[name], _BAR * 0.92, color=bars[name])
            axes.bar_label(drawn, fmt="%.1f", padding=3, fontsize=7)
    axes.set_yticks(range(len(stages)), [_LABELS[stage] for stage in stages])
    axes.set_ylim(len(stages) - 0.4, -0.6)
    axes.set_title(f"{run['checkpoint']}, pictures of {run['side_px']} px")
    axes.tick_params(length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def _speeds(run: Mapping[str, Any]) -> dict[str, float]:
    """Returns products a second by stage, the floor among them."""
    measured = {stage: one["products_per_second"] for stage, one in run["figures"].items()}
    return measured | {"floor": run["floor"]}
