"""Writes a comparison as JSON and Markdown, and prints it."""

import json
import textwrap
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from enrich.comparison.run import Comparison
from enrich.comparison.tables import NOTES, build_tables, tell_fitted
from enrich.markdown import Table, escape, to_markdown

_WIDEST, _HEADER_WIDTH, _NOTE_WIDTH = 400, 12, 100


def write_report(comparison: Comparison, folder: Path) -> None:
    """Writes `comparison.json` and `comparison.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    content = json.dumps(asdict(comparison), indent=2, allow_nan=False)
    (folder / "comparison.json").write_text(content + "\n")
    paragraphs = [
        "# Comparison of classifiers\n",
        *(f"{escape(note)}\n" for note in tell_fitted(comparison)),
        *(f"{note}\n" for note in NOTES),
        "Speed is the forward pass alone, made quick as the job makes it, "
        f"on {escape(comparison.machine)}.\n",
        "![Accuracy of each checkpoint under every condition](plots/overview.png)\n",
        *(to_markdown(table) for table in build_tables(comparison)),
    ]
    (folder / "comparison.md").write_text("\n".join(paragraphs))


def print_report(comparison: Comparison) -> None:
    """Prints the same tables to standard output, as wide as they are: no cell is broken."""
    console = Console(width=_WIDEST)
    for table in build_tables(comparison):
        console.print(_as_rich(table), "")
    notes = Text("\n".join([*tell_fitted(comparison), *NOTES, f"Speed: {comparison.machine}."]))
    console.print(notes, width=_NOTE_WIDTH)


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
