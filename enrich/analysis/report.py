"""The tables by which systems or checkpoints are compared, and their costs.

No cell compares two rows without an interval. A star marks a difference whose interval leaves out
zero.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils.flop_counter import FlopCounterMode

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
from enrich.classifiers.interface import Classifier, ModelInputs
from enrich.terminal import Table, escape, to_markdown
from enrich.training.batches import Condition


def count_parameters(classifier: Classifier) -> tuple[int, int]:
    """Count all parameters, and those that started from published weights."""
    pretrained = {p for module in classifier.pretrained() for p in module.parameters()}
    total = sum(parameter.numel() for parameter in classifier.parameters())
    return total, sum(parameter.numel() for parameter in pretrained)


def count_flops(classifier: Classifier) -> int:
    """Count the operations that one more product in a batch takes.

    The product has a picture and a text of full length. A multiplication with its addition counts
    as two. Convolutions, matrix products and attention count; norms, activations, pooling,
    look-ups, and work done once a batch do not.
    """
    one, two = (_count_batch_flops(classifier, products) for products in (1, 2))
    return two - one


def _count_batch_flops(classifier: Classifier, products: int) -> int:
    config, device = classifier.config, classifier.device
    size_px, length = config.image.size_px, config.text_length
    # The fused transformer layer of inference is one operation that the counter does not know.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        # With gradients: without, a view of a parameter, as Perceiver's latents are, breaks it.
        with _mode_of(classifier), FlopCounterMode(display=False) as counter:
            present = torch.ones(products, dtype=torch.bool, device=device)
            classifier(
                ModelInputs(
                    token_ids=torch.ones(products, length, dtype=torch.long, device=device),
                    token_mask=torch.ones(products, length, dtype=torch.bool, device=device),
                    has_image=present,
                    has_text=present,
                    pixel_values=torch.zeros(
                        products, 3, size_px, size_px, dtype=torch.uint8, device=device
                    ),
                )
            )
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return int(counter.get_total_flops())


def _mode_of(classifier: Classifier) -> contextlib.AbstractContextManager[object]:
    """Return the context for tensors without numbers, if any is among the tensors."""
    mean = classifier.pixel_mean
    return mean.fake_mode if isinstance(mean, FakeTensor) else contextlib.nullcontext()


@dataclass(frozen=True, slots=True)
class Cost:
    """Costs of a classifier: parameters, those trained here, and operations a product."""

    parameters: int
    trained: int
    flops: int


def count_costs(classifiers: Mapping[str, Classifier]) -> dict[str, Cost]:
    """Count what each classifier is made of, in floating point.

    Layers in int8 have no parameters.
    """
    costs = {}
    for name, classifier in classifiers.items():
        total, pretrained = count_parameters(classifier)
        costs[name] = Cost(total, total - pretrained, count_flops(classifier))
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
    rows: Sequence[str],
    columns: Mapping[str, Sequence[Column]],
    costs: Mapping[str, Cost],
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
    return [*tables, _tabulate_costs(costs)]


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


def _tabulate_costs(costs: Mapping[str, Cost]) -> Table:
    rows = [
        [
            name,
            f"{cost.parameters / 1e6:.1f} M",
            f"{cost.trained / 1e6:.1f} M",
            f"{cost.flops / 1e6:,.0f}",
        ]
        for name, cost in costs.items()
    ]
    return Table("Costs", ("", "parameters", "not pre-trained", "MFLOPs"), [rows])


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
    costs = count_costs({one.name: one.as_stored() for one in checkpoints})
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
        *map(to_markdown, tabulate(measures, rows, columns, costs)),
    ]
    output.write_text("\n".join(page))
