"""The tables and the figure by which systems or checkpoints are compared.

No cell compares two rows without an interval. A star marks a difference whose interval leaves out
zero.
"""

import copy
import math
import platform
import statistics
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import NamedTuple

import torch
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from enrich.analysis.bootstrap import (
    ACCURACY,
    FOUND,
    KEPT,
    LEAST_GROUPS,
    WEIGHTED,
    Column,
    Estimate,
    Measures,
)
from enrich.analysis.compare import LoadedCheckpoint
from enrich.analysis.parameters import count_flops, count_parameters
from enrich.analysis.plots import BLUE, new_figure
from enrich.analysis.words import LEXICON
from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.engine.device import choose_dtype, local_device
from enrich.engine.forward import Forward
from enrich.terminal import Table, escape, to_markdown
from enrich.training.batches import Condition

# Timed repetitions of a forward pass.
_REPETITIONS = 7

_PANELS_ACROSS, _TITLE_CHARACTERS, _LEGEND_WIDTH = 4, 36, 2.0
# Color, marker and place in a row. The colors are those of Okabe and Ito, which all common kinds of
# color vision tell apart; markers repeat what they say.
_MARKS = {
    Condition.AS_IS: (BLUE, "o", -0.35),
    Condition.NO_TEXT: ("#D55E00", "s", -0.175),
    Condition.NO_IMAGE: ("#009E73", "D", 0.0),
    Condition.WORDS_MASKED: ("#CC79A7", "^", 0.175),
    Condition.OTHER_TEXT: ("#E69F00", "v", 0.35),
}


class Row(NamedTuple):
    """A row of the tables: a title, and the system or checkpoint with a variant of it."""

    title: str
    name: str
    variant: str = WEIGHTED


@dataclass(frozen=True, slots=True)
class Cost:
    """Costs of a classifier: parameters, those trained here, and operations a product.

    `products_per_second` is of the forward pass alone; `training_seconds` is of one processor.
    """

    parameters: int
    trained: int
    flops: int
    products_per_second: float
    training_seconds: float | None = None


def measure_costs(
    classifiers: Mapping[str, Classifier],
    inputs: Mapping[str, ModelInputs],
    timed: Mapping[str, Classifier],
) -> dict[str, Cost]:
    """Count what each classifier is made of, and time their forward passes in turns.

    `classifiers` are in floating point, as layers in int8 have no parameters, `timed` the same as
    they run. `inputs` has a batch with pixels for each.
    """
    runs = [(timed[name], inputs[name]) for name in classifiers]
    speeds = measure_speeds(runs, local_device())
    costs = {}
    for (name, classifier), speed in zip(classifiers.items(), speeds, strict=True):
        total, pretrained = count_parameters(classifier)
        costs[name] = Cost(total, total - pretrained, count_flops(classifier), speed)
    return costs


def divide_columns(measures: Measures, without: Sequence[Condition]) -> dict[str, list[Column]]:
    """Return the columns by attribute, without some conditions."""
    found: dict[str, list[Column]] = {}
    for column in measures.columns():
        if column.condition not in without:
            found.setdefault(column.attribute, []).append(column)
    return found


def tabulate(
    measures: Measures,
    rows: Sequence[Row],
    columns: Mapping[str, Sequence[Column]],
    costs: Mapping[str, Cost],
) -> list[Table]:
    """Return all tables: figures, differences to the first row, and kept promises."""
    tables = []
    for attribute, own in columns.items():
        headings = [column.heading for column in own]
        for title, figure in (("right", ACCURACY), ("found at 90 % precision", FOUND)):
            cells = [
                [row.title, *(to_cell(_estimate(measures, row, one, figure)) for one in own)]
                for row in rows
            ]
            tables.append(Table(f"{attribute}: share {title}", ("", *headings), [cells]))
        first, *others = rows
        cells = [
            [row.title, *(to_cell(_less(measures, row, first, one), signed=True) for one in own)]
            for row in others
        ]
        if cells:
            title = f"{attribute}: share right, less that of {first.title}"
            tables.append(Table(title, ("", *headings), [cells]))
        cells = [[row.title, *(_promise(measures, row, one) for one in own)] for row in rows]
        title = f"{attribute}: share right of those given at a target of 90 %, and share given"
        tables.append(Table(title, ("", *headings), [cells]))
    return [*tables, _tabulate_costs(costs)]


def _estimate(measures: Measures, row: Row, column: Column, figure: str) -> Estimate:
    return measures.estimate(row.name, column, figure, row.variant)


def _less(measures: Measures, row: Row, other: Row, column: Column) -> Estimate:
    own, others = (_estimate(measures, one, column, ACCURACY) for one in (row, other))
    return own.less(others)


def to_cell(estimate: Estimate, *, signed: bool = False) -> str:
    """Return a figure with its interval, if there is one."""
    (low, high), sign = estimate.bounds, "+" if signed else ""
    if isnan(estimate.value):
        return ""
    if isnan(low):
        return f"{estimate.value:{sign}.3f}"
    star = " *" if signed and estimate.is_significant else ""
    if not signed:
        # The noise of seeds knows no ends of the range.
        low, high = max(low, 0.0), min(high, 1.0)
    return f"{estimate.value:{sign}.3f} ({low:{sign}.3f} to {high:{sign}.3f}){star}"


def _promise(measures: Measures, row: Row, column: Column) -> str:
    given = measures.given(row.name, column, row.variant)
    right = to_cell(_estimate(measures, row, column, KEPT))
    return f"{right}; {given:.2f}" if right else ""


def _tabulate_costs(costs: Mapping[str, Cost]) -> Table:
    rows = [
        [
            name,
            f"{cost.parameters / 1e6:.1f} M",
            f"{cost.trained / 1e6:.1f} M",
            f"{cost.flops / 1e6:,.0f}",
            f"{cost.products_per_second:,.0f}",
            "" if cost.training_seconds is None else f"{cost.training_seconds:,.0f}",
        ]
        for name, cost in costs.items()
    ]
    headings = ("", "parameters", "not pre-trained", "MFLOPs", "products/s", "training, s")
    return Table(f"Costs, {describe_machine(local_device())}", headings, [rows])


def draw(measures: Measures, rows: Sequence[Row], columns: Sequence[Column], file: Path) -> None:
    """Draw the share of right answers of every row, a panel a source and attribute."""
    panels: dict[tuple[str, str], list[Column]] = {}
    for column in columns:
        panels.setdefault((column.source, column.attribute), []).append(column)
    across = min(_PANELS_ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    title = (
        "Share of right answers under every condition, with 95 % intervals\n"
        f"(none of fewer than {LEAST_GROUPS} groups; of no width where all are right, or none)"
    )
    height = 1.2 + down * (0.7 + 0.5 * len(rows))
    with new_figure(file, title, 2 + 2.9 * across, height) as figure:
        handles = [
            Line2D([], [], color=color, marker=marker, label=condition.value)
            for condition, (color, marker, _) in _MARKS.items()
        ]
        ncols = min(len(handles), int(figure.get_figwidth() / _LEGEND_WIDTH))
        figure.legend(handles=handles, loc="outside lower left", ncols=ncols)
        parts = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True).flatten()
        for axes, ((source, attribute), own) in zip(parts, panels.items(), strict=False):
            axes.set_title(textwrap.fill(f"{attribute}, {source}", _TITLE_CHARACTERS))
            _draw_panel(axes, measures, rows, own)
        for axes in parts[len(panels) :]:
            axes.set_visible(False)
        parts[0].set_yticks(range(len(rows)), [row.title for row in rows])
        parts[0].set_ylim(len(rows) - 0.5, -0.5)


def _draw_panel(
    axes: Axes, measures: Measures, rows: Sequence[Row], columns: Sequence[Column]
) -> None:
    for at, row in enumerate(rows):
        for column in columns:
            color, marker, offset = _MARKS[column.condition]
            found = _estimate(measures, row, column, ACCURACY)
            axes.plot(found.bounds, [at + offset] * 2, color=color, lw=1.5)
            axes.plot(found.value, at + offset, marker, color=color)
        if at % 2:
            axes.axhspan(at - 0.5, at + 0.5, color="#F5F5F5", zorder=0, lw=0)
    # Panels share their scale, and the one below may be hidden.
    axes.tick_params(labelbottom=True, length=0, axis="both")
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def compare_checkpoints(
    measures: Measures,
    checkpoints: Sequence[LoadedCheckpoint],
    inputs: Mapping[str, ModelInputs],
    output: Path,
) -> None:
    """Write a page of tables and a figure of checkpoints, all compared with the first.

    `inputs` has a batch with pixels for each checkpoint. The figure lies beside `output`.
    """
    first, *others = [one.name for one in checkpoints]
    words = [name for name in measures.runs if name == LEXICON]
    rows = [Row(name, name) for name in (first, *words, *others)]
    columns = divide_columns(measures, ())
    stored = {one.name: one.as_stored() for one in checkpoints}
    costs = measure_costs(stored, inputs, {one.name: one.classifier for one in checkpoints})
    figure = output.with_suffix(".png")
    draw(measures, rows, [one for own in columns.values() for one in own], figure)
    fitted = [
        f"{escape(one.name)} was fitted to labelled products of "
        f"{escape(' and '.join(one.fitted_to))}, test groups or not: figures on those products "
        "flatter it.\n"
        for one in checkpoints
        if one.fitted_to
    ]
    page = [
        "# Comparison of checkpoints\n",
        *fitted,
        "Intervals are 95 %, over groups of near-identical products; there is none of fewer than "
        f"{LEAST_GROUPS} groups. Compared are attributes with the same labels in all. "
        f"`{LEXICON}` are label words alone, fitted to the groups to validate.\n",
        *map(to_markdown, tabulate(measures, rows, columns, costs)),
        f"![Share of right answers of each checkpoint]({figure.name})\n",
    ]
    output.write_text("\n".join(page))


def measure_speeds(
    runs: Sequence[tuple[Classifier, ModelInputs]], device: torch.device
) -> list[float]:
    """Return the products a second of each forward pass, by its median repetition.

    Copies are timed, fused as the job fuses its classifier. They take turns, so that other work of
    the machine slows all of them alike.
    """
    on_device = [(Forward(copy.deepcopy(one), device), inputs.to(device)) for one, inputs in runs]
    seconds: list[list[float]] = [[] for _ in runs]
    for repetition in range(1 + _REPETITIONS):
        for taken, (forward, inputs) in zip(seconds, on_device, strict=True):
            begin = time.perf_counter()
            forward(inputs)
            if repetition > 0:  # the first one warms up
                taken.append(time.perf_counter() - begin)
    return [
        len(inputs.has_text) / statistics.median(taken)
        for taken, (_, inputs) in zip(seconds, on_device, strict=True)
    ]


def describe_machine(device: torch.device) -> str:
    """Describe device, threads and number format of a speed measurement."""
    number_format = str(choose_dtype(device)).removeprefix("torch.")
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {number_format}"
    instructions = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    plural = "" if threads == 1 else "s"
    return f"{platform.machine()} CPU ({instructions}), {threads} thread{plural}, {number_format}"
