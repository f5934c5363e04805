"""A comparison as one table, a row a checkpoint. Knows nothing of how it was measured."""

from collections.abc import Iterable
from statistics import fmean

from enrich.comparison.records import Record
from enrich.comparison.run import Comparison
from enrich.markdown import Table, format_figure
from enrich.training.conditions import Condition
from enrich.training.measures import HEADINGS

NOTE = (
    "Means over the attributes that all checkpoints answer with the same labels; products as they "
    "are, where no condition is named. R@90P is the share of all labelled products answered "
    "correctly above the lowest threshold of 90 % precision on these very products."
)
# Of the first shop; of the others there is room for the accuracy alone, and for so many of them.
_SHOWN = (
    (Condition.AS_IS, "accuracy"),
    (Condition.AS_IS, "macro_f1"),
    (Condition.AS_IS, "recall_at_90_precision"),
    (Condition.AS_IS, "ece"),
    (Condition.NO_TEXT, "accuracy"),
    (Condition.OTHER_TEXT, "accuracy"),
)
_MOST_OTHER_SHOPS = 3


def build_summary(comparison: Comparison) -> Table:
    """Returns each checkpoint's size and speed, and what its answers are worth in the shops."""
    figures = select_alike(comparison)
    first, *others = dict.fromkeys(record["shop"] for record in comparison.figures)
    columns = [(first, *shown) for shown in _SHOWN]
    columns += [(shop, *_SHOWN[0]) for shop in others[:_MOST_OTHER_SHOPS]]
    rows = [
        [
            cost["checkpoint"],
            f"{cost['parameters'] / 1e6:.1f} M",
            f"{cost['products_per_second']:,.0f}",
            *(average(figures, cost["checkpoint"], *column) for column in columns),
        ]
        for cost in comparison.costs
    ]
    headings = [_heading(first, *column) for column in columns]
    title = f"Cost, and means over attributes: {first}"
    return Table(title, ("checkpoint", "parameters", "products/s", *headings), [rows])


def _heading(first: str, shop: str, condition: Condition, figure: str) -> str:
    of_shop = "" if shop == first else f"{shop}: "
    of_condition = "" if condition is Condition.AS_IS else f"{condition.value}: "
    return of_shop + of_condition + HEADINGS[figure]


def average(
    figures: Iterable[Record], checkpoint: str, shop: str, condition: Condition, figure: str
) -> str:
    """Returns the mean of one figure over attributes as a cell; empty where there is none."""
    where = {"checkpoint": checkpoint, "shop": shop, "condition": condition.value}
    found = [record[figure] for record in figures if where.items() <= record.items()]
    return format_figure(fmean(found) if found else None)


def select_alike(comparison: Comparison) -> list[Record]:
    """Returns the figures of attributes that every checkpoint answers with the first's labels."""
    first, *others = [cost["checkpoint"] for cost in comparison.costs]
    alike = {r["attribute"] for r in comparison.figures if r["checkpoint"] == first}
    for other in others:
        alike &= {r["attribute"] for r in comparison.differences if r["checkpoint"] == other}
    return [record for record in comparison.figures if record["attribute"] in alike]
