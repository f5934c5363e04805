"""The tables by which systems or checkpoints are compared.

No cell compares two rows without an interval. A star marks a difference whose interval leaves out
zero.
"""

from collections.abc import Mapping, Sequence
from math import isnan, prod
from pathlib import Path

from safetensors import safe_open

from enrich.analysis.bootstrap import (
    ACCURACY,
    FOUND,
    KEPT,
    LEAST_GROUPS,
    Column,
    Estimate,
    Measures,
)
from enrich.analysis.compare import LEXICON, LoadedCheckpoint
from enrich.terminal import Table, escape, to_markdown
from enrich.training.batches import Condition


def divide_columns(measures: Measures, without: Sequence[Condition]) -> dict[str, list[Column]]:
    """Return the columns by attribute, without some conditions."""
    found: dict[str, list[Column]] = {}
    for column in measures.columns():
        if column.condition not in without:
            found.setdefault(column.attribute, []).append(column)
    return found


def tabulate(
    measures: Measures,
    rows: Sequence[str],
    columns: Mapping[str, Sequence[Column]],
) -> list[Table]:
    """Return all tables: figures, differences to the first row, and kept promises."""
    tables = []
    for attribute, own in columns.items():
        headings = [column.heading for column in own]
        for title, figure in (("right", ACCURACY), ("found at 90 % precision", FOUND)):
            cells = [
                [row, *(to_cell(measures.estimate(row, one, figure)) for one in own)]
                for row in rows
            ]
            tables.append(Table(f"{attribute}: share {title}", ("", *headings), [cells]))
        first, *others = rows
        cells = [
            [row, *(to_cell(_less(measures, row, first, one), signed=True) for one in own)]
            for row in others
        ]
        if cells:
            title = f"{attribute}: share right, less that of {first}"
            tables.append(Table(title, ("", *headings), [cells]))
        cells = [[row, *(_promise(measures, row, one) for one in own)] for row in rows]
        title = f"{attribute}: share right of those given at a target of 90 %, and share given"
        tables.append(Table(title, ("", *headings), [cells]))
    return tables


def _less(measures: Measures, row: str, other: str, column: Column) -> Estimate:
    return measures.estimate(row, column).less(measures.estimate(other, column))


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


def _promise(measures: Measures, row: str, column: Column) -> str:
    right = to_cell(measures.estimate(row, column, KEPT))
    return f"{right}; {measures.given(row, column):.2f}" if right else ""


def compare_checkpoints(
    measures: Measures,
    checkpoints: Sequence[LoadedCheckpoint],
    output: Path,
) -> None:
    """Write a page of tables of checkpoints, all compared with the first."""
    first, *others = [one.name for one in checkpoints]
    words = [name for name in measures.runs if name == LEXICON]
    rows = [first, *words, *others]
    columns = divide_columns(measures, ())
    sizes = (f"{escape(one.name)} {_count_numbers(one) / 1e6:.1f} M" for one in checkpoints)
    fitted = [
        f"{escape(one.name)} was fitted to labelled products of "
        f"{escape(' and '.join(one.fitted_to))}, test groups or not: figures on those products "
        "flatter it.\n"
        for one in checkpoints
        if one.fitted_to
    ]
    known = dict.fromkeys(attribute for one in checkpoints for attribute in one.answers)
    lacking = ", ".join(escape(attribute) for attribute in known if attribute not in columns)
    page = [
        "# Comparison of checkpoints\n",
        *fitted,
        "Intervals are 95 %, over groups of near-identical products; there is none of fewer than "
        f"{LEAST_GROUPS} groups. Compared are attributes with the same labels in all that products "
        f"have. `{LEXICON}` are label words alone, fitted to the groups to validate.\n",
        *([f"Without figures: {lacking}.\n"] if lacking else []),
        f"Numbers in the weights: {', '.join(sizes)}.\n",
        *map(to_markdown, tabulate(measures, rows, columns)),
    ]
    output.write_text("\n".join(page))


def _count_numbers(checkpoint: LoadedCheckpoint) -> int:
    """Count the numbers in a checkpoint's weights, also where they compute in int8."""
    with safe_open(checkpoint.manifest.folder / "model.safetensors", framework="np") as weights:
        names = weights.keys()
        return sum(prod(weights.get_slice(name).get_shape()) for name in names)
