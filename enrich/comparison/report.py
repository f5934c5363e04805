"""Writes a comparison as JSON and Markdown, and prints the one table to choose by."""

import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from enrich.comparison.figure import file_name
from enrich.comparison.run import Comparison
from enrich.comparison.summary import NOTE, build_summary
from enrich.comparison.tables import NOTES, build_tables, tell_fitted
from enrich.markdown import Table, escape, to_markdown

_WIDEST, _HEADER_WIDTH, _NOTE_WIDTH = 400, 12, 100


def write_report(comparison: Comparison, folder: Path) -> None:
    """Writes `comparison.json` and `comparison.md`, which links to the plots that are there."""
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
    """Returns an item of a list for each checkpoint and shop."""
    items = []
    for checkpoint, shop in dict.fromkeys((r["checkpoint"], r["shop"]) for r in comparison.figures):
        plots = folder / "plots" / file_name(checkpoint) / file_name(shop)
        links = ", ".join(
            f"[{escape(plot.stem)}]({quote(plot.relative_to(folder).as_posix())})"
            for plot in sorted(plots.glob("*.png"))
        )
        items.append(f"- {escape(checkpoint)} on {escape(shop)}: {links}")
    return items


def print_report(comparison: Comparison) -> None:
    """Prints the summary to standard output, as wide as it is: no cell is broken."""
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
