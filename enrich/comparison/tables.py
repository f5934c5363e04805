"""A comparison as tables of text. Knows nothing of how it was measured."""

from collections.abc import Callable, Sequence

from enrich.comparison.bootstrap import COMPARED, LEAST_GROUPS
from enrich.comparison.records import Record
from enrich.comparison.run import Comparison
from enrich.comparison.summary import average, select_alike
from enrich.markdown import Table, format_figure, name_once
from enrich.training.conditions import Condition
from enrich.training.measures import HEADINGS

NOTES = (
    "Intervals are 95 %, by bootstrap over groups of near-identical products: of accuracy, "
    "macro-F1, R@90P and precision at t90. Where fewer than "
    f"{LEAST_GROUPS} groups are labelled (for that precision: answered) there is none; where all "
    "answers are right, or none, it has no width. ECE has none because draws repeat products, "
    "which makes it larger: nearly all lie above the figure. Of the other figures none was drawn.",
    "R@90P is the share of all labelled products answered correctly above the lowest threshold of "
    "90 % precision on these very products; t90 is the threshold that the checkpoint brings along "
    "for 90 %, with the precision and the share answered that it holds here. R@90P jumps where a "
    "threshold is gained or lost, so its intervals are wide.",
    "Labels that a checkpoint does not know are left out of its figures: rows says how many "
    "remain. The overview's means are over the attributes that all answer with the same labels.",
    "ECE is before and after calibration. Image weight is the mean share of the picture. CMA-CLIP "
    "alone has a trust that is fitted to validation groups after training, and so in either ECE, "
    "unless it was trained with fit_trust: false.",
    "A star marks a difference whose interval leaves out zero. Each row was trained once: what "
    "another seed would change is in no interval.",
    "FLOPs are of one product with a picture and a text of the full length: convolutions, matrix "
    "products and attention, a multiplication with its addition counted as two.",
)


def tell_fitted(comparison: Comparison) -> list[str]:
    """Returns a note on each checkpoint that may have seen labels that it is measured by."""
    return [
        f"{checkpoint} was fitted to labelled products of {' and '.join(shops)}, test groups or "
        "not: figures on those products flatter it."
        for checkpoint, shops in comparison.fitted_to.items()
    ]


def build_tables(comparison: Comparison) -> list[Table]:
    """Returns the overview, the figures of each shop and attribute, and the differences."""
    figures = _by_shop_and_attribute(comparison.figures)
    differences = _by_shop_and_attribute(comparison.differences)
    return [
        _overview(comparison),
        *(
            Table(
                title,
                ("condition", "checkpoint", "rows", *HEADINGS.values()),
                _blocks(records, _figure_cells),
            )
            for title, records in figures.items()
        ),
        *(
            Table(
                f"{title}: difference to {records[0]['against']}",
                ("condition", "checkpoint", *(HEADINGS[figure] for figure in COMPARED)),
                _blocks(records, _difference_cells),
            )
            for title, records in differences.items()
        ),
    ]


def _overview(comparison: Comparison) -> Table:
    """Returns a row a checkpoint: its costs, and recall at 90 % precision under each condition."""
    shown = list(dict.fromkeys((r["shop"], r["condition"]) for r in comparison.figures))
    figures = select_alike(comparison)
    rows = []
    for cost in comparison.costs:
        name = cost["checkpoint"]
        recalls = [
            average(figures, name, shop, Condition(condition), "recall_at_90_precision")
            for shop, condition in shown
        ]
        rows.append([name, *_cost_cells(cost), *recalls])
    columns = ("checkpoint", "parameters", "pre-trained", "MFLOPs", "products/s", "MB")
    return Table(
        "Cost, and recall at 90 % precision as the mean over attributes",
        (*columns, *(f"{shop}: {condition}" for shop, condition in shown)),
        [rows],
    )


def _cost_cells(cost: Record) -> list[str]:
    return [
        f"{cost['parameters'] / 1e6:.1f} M",
        f"{cost['pretrained_parameters'] / 1e6:.1f} M",
        f"{cost['flops_per_product'] / 1e6:,.0f}",
        f"{cost['products_per_second']:,.0f}",
        f"{cost['checkpoint_bytes'] / 1e6:.1f}",
    ]


def _by_shop_and_attribute(records: Sequence[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(f"{record['attribute']}, {record['shop']}", []).append(record)
    return found


def _blocks(
    records: Sequence[Record], cells: Callable[[Record], list[str]]
) -> list[list[list[str]]]:
    """Returns a block a condition, with the checkpoints in the order given."""
    rows: dict[str, list[list[str]]] = {}
    for record in records:
        rows.setdefault(record["condition"], []).append([record["checkpoint"], *cells(record)])
    return [name_once(condition, own) for condition, own in rows.items()]


def _figure_cells(record: Record) -> list[str]:
    cells = [f"{record['rows']:,}"]
    for figure in HEADINGS:
        value, bounds = record.get(figure), record.get(f"{figure}_interval")
        cell = format_figure(value)
        if bounds and None not in bounds:
            cell += " ({:.3f}-{:.3f})".format(*bounds)
        cells.append(cell)
    return cells


def _difference_cells(record: Record) -> list[str]:
    cells = []
    for figure in COMPARED:
        low, high = record[f"{figure}_interval"]
        cell = f"{record[figure]:+.3f}"
        if low is not None:
            cell += f" ({low:+.3f} to {high:+.3f})" + (" *" if low > 0 or high < 0 else "")
        cells.append(cell)
    return cells
