"""A comparison as JSON, as Markdown tables, and as the one table to choose by."""

import json
import textwrap
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from urllib.parse import quote

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from enrich.analysis.bootstrap import COMPARED, LEAST_GROUPS, Record
from enrich.analysis.compare import Comparison
from enrich.analysis.plots import file_name
from enrich.terminal import Table, escape, format_figure, name_once, to_markdown
from enrich.training.batches import Condition
from enrich.training.measures import HEADINGS

_WIDEST, _HEADER_WIDTH, _NOTE_WIDTH = 400, 12, 100

NOTE = (
    "Means over the attributes that all checkpoints answer with the same labels; products as they "
    "are, where no condition is named. R@90P is the share of all labelled products answered "
    "correctly above the lowest threshold of 90 % precision on these very products."
)
# Of the first source. The others have a column of accuracy each, as far as there is room.
_SHOWN = (
    (Condition.AS_IS, "accuracy"),
    (Condition.AS_IS, "macro_f1"),
    (Condition.AS_IS, "recall_at_90_precision"),
    (Condition.AS_IS, "ece"),
    (Condition.NO_TEXT, "accuracy"),
    (Condition.OTHER_TEXT, "accuracy"),
)
_MOST_OTHER_SOURCES = 3

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
    "alone has a modality bias that is fitted to validation groups after training, and is in both "
    "ECEs, unless it was trained with fit_modality_bias: false.",
    "A star marks a difference whose interval leaves out zero. Each row was trained once: what "
    "another seed would change is in no interval.",
    "FLOPs are of one product with a picture and a text of the full length: convolutions, matrix "
    "products and attention, a multiplication with its addition counted as two.",
)


def write_report(comparison: Comparison, folder: Path) -> None:
    """Write `comparison.json` and `comparison.md`, with links to the plots."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(asdict(comparison), indent=2, allow_nan=False)
    (folder / "comparison.json").write_text(content + "\n")
    paragraphs = [
        "# Comparison of classifiers\n",
        *(f"{escape(note)}\n" for note in tell_fitted(comparison)),
        *(f"{note}\n" for note in NOTES),
        "Speed is the forward pass alone, made quick as the job makes it, "
        f"on {escape(comparison.machine)}.\n",
        f"Of the first table: {NOTE}\n",
        to_markdown(build_summary(comparison)),
        "![Accuracy of each checkpoint under every condition](plots/overview.png)\n",
        *(to_markdown(table) for table in build_tables(comparison)),
        "### Plots of each checkpoint\n",
        *_link_plots(comparison, folder),
    ]
    (folder / "comparison.md").write_text("\n".join(paragraphs))


def _link_plots(comparison: Comparison, folder: Path) -> list[str]:
    """Return a Markdown list item for each checkpoint and source."""
    items = []
    for checkpoint, source in dict.fromkeys(
        (r["checkpoint"], r["source"]) for r in comparison.figures
    ):
        plots = folder / "plots" / file_name(checkpoint) / file_name(source)
        links = ", ".join(
            f"[{escape(plot.stem)}]({quote(plot.relative_to(folder).as_posix())})"
            for plot in sorted(plots.glob("*.png"))
        )
        items.append(f"- {escape(checkpoint)} on {escape(source)}: {links}")
    return items


def print_report(comparison: Comparison) -> None:
    """Print the summary to standard output, without wrapping its cells."""
    console = Console(width=_WIDEST)
    console.print(_as_rich(build_summary(comparison)))
    notes = [*tell_fitted(comparison), NOTE, f"Speed: {comparison.machine}."]
    console.print(Text("\n".join(notes)), width=_NOTE_WIDTH)


def _as_rich(table: Table) -> RichTable:
    # Text, because rich would read "[" in a name as markup.
    shown = RichTable(title=Text(table.title, "bold"), title_justify="left", box=box.SIMPLE_HEAD)
    for at, column in enumerate(table.columns):
        header = Text(textwrap.fill(column, _HEADER_WIDTH))
        shown.add_column(header, justify="left" if at == 0 else "right", no_wrap=True)
    for block in table.blocks:
        for row in block:
            shown.add_row(*map(Text, row))
        if len(block) > 1:
            shown.add_section()
    return shown


def build_summary(comparison: Comparison) -> Table:
    """Return a table of size, speed and mean figures, one row a checkpoint."""
    figures = select_alike(comparison)
    first, *others = dict.fromkeys(record["source"] for record in comparison.figures)
    columns = [(first, *shown) for shown in _SHOWN]
    columns += [(source, *_SHOWN[0]) for source in others[:_MOST_OTHER_SOURCES]]
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


def _heading(first: str, source: str, condition: Condition, figure: str) -> str:
    of_source = "" if source == first else f"{source}: "
    of_condition = "" if condition is Condition.AS_IS else f"{condition.value}: "
    return of_source + of_condition + HEADINGS[figure]


def average(
    figures: Iterable[Record], checkpoint: str, source: str, condition: Condition, figure: str
) -> str:
    """Return the mean of a figure over attributes as a cell, empty without a record."""
    where = {"checkpoint": checkpoint, "source": source, "condition": condition.value}
    found = [record[figure] for record in figures if where.items() <= record.items()]
    return format_figure(fmean(found) if found else None)


def select_alike(comparison: Comparison) -> list[Record]:
    """Return the figures of attributes with the same labels in all checkpoints."""
    first, *others = [cost["checkpoint"] for cost in comparison.costs]
    alike = {r["attribute"] for r in comparison.figures if r["checkpoint"] == first}
    for other in others:
        alike &= {r["attribute"] for r in comparison.differences if r["checkpoint"] == other}
    return [record for record in comparison.figures if record["attribute"] in alike]


def tell_fitted(comparison: Comparison) -> list[str]:
    """Return a note on each checkpoint that was fitted to labels of a source."""
    return [
        f"{checkpoint} was fitted to labelled products of {' and '.join(sources)}, test groups or "
        "not: figures on those products flatter it."
        for checkpoint, sources in comparison.fitted_to.items()
    ]


def build_tables(comparison: Comparison) -> list[Table]:
    """Return the overview, the tables of figures, and those of differences."""
    figures = _by_source_and_attribute(comparison.figures)
    differences = _by_source_and_attribute(comparison.differences)
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
    """Return costs, and recall at 90 % precision by condition, one row a checkpoint."""
    shown = list(dict.fromkeys((r["source"], r["condition"]) for r in comparison.figures))
    figures = select_alike(comparison)
    rows = []
    for cost in comparison.costs:
        name = cost["checkpoint"]
        recalls = [
            average(figures, name, source, Condition(condition), "recall_at_90_precision")
            for source, condition in shown
        ]
        rows.append([name, *_cost_cells(cost), *recalls])
    columns = ("checkpoint", "parameters", "pre-trained", "MFLOPs", "products/s", "MB")
    return Table(
        "Cost, and recall at 90 % precision as the mean over attributes",
        (*columns, *(f"{source}: {condition}" for source, condition in shown)),
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


def _by_source_and_attribute(records: Sequence[Record]) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        found.setdefault(f"{record['attribute']}, {record['source']}", []).append(record)
    return found


def _blocks(
    records: Sequence[Record], cells: Callable[[Record], list[str]]
) -> list[list[list[str]]]:
    """Return the rows in blocks, one a condition."""
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
