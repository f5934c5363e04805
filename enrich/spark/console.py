"""Console output of runs and plans; the last line is one JSON object for programs."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from pyspark.sql import SparkSession
from rich.console import Console
from rich.table import Table
from schemas.tables import COUNTS, State

from enrich.errors import tame
from enrich.logs import is_json
from enrich.spark.runs import RunSummary
from enrich.spark.session import stop_java_log
from enrich.spark.tables import Tables

SHOWN_ROWS = 8
_WORDS = {"images_opened": "images opened", "images_compared": "images compared"}


def print_json_line(content: Mapping[str, Any], *, is_last: bool = True) -> None:
    """Print the line that ends a job's output, and silence Java's log first.

    Otherwise Java's log of its shutdown might be the last line.
    """
    if is_last:
        stop_java_log(SparkSession.active())
    typer.echo(json.dumps(content))


def show_run(
    tables: Tables, summary: RunSummary, remarks: Sequence[str] = (), *, is_last: bool = True
) -> None:
    """Print some of the run's rows, remarks, where the tables are, and the JSON line.

    `is_last`: the job ends, and Java's log with it.
    """
    # Not among log lines in JSON: their readers cannot read a table.
    if not is_json():
        console = open_console()
        if summary.counts.get("answered") and summary.outcome != State.DISCARDED:
            console.print(_first_rows(tables, summary))
        counted = describe_counts(summary.counts)
        console.print(f"{summary.outcome}: {counted}", soft_wrap=True)
        for remark in remarks:
            console.print(remark, soft_wrap=True)
        folder = tables.database_folder().removeprefix("file:")
        console.print(f"tables: {tables.database}.* in {folder}", soft_wrap=True)
        if summary.report:
            console.print(f"page: {summary.report}", soft_wrap=True)
    print_json_line(dataclasses.asdict(summary), is_last=is_last)


def describe_counts(counts: Mapping[str, Any]) -> str:
    """Return a run's counts in one line for people, without zeros."""
    rows = [f"{counts[name]:,} {_WORDS.get(name, name)}" for name in COUNTS if counts.get(name)]
    abstained = [f"{a} {n:,}" for a, n in counts.get("abstained", {}).items() if n]
    unanswered = f"; abstained: {', '.join(abstained)}" if abstained else ""
    outside = [f"{a} {n:,}" for a, n in counts.get("not_applicable", {}).items()]
    inapplicable = f"; not applicable: {', '.join(outside)}" if outside else ""
    return (", ".join(rows) or "no products") + unanswered + inapplicable


def _first_rows(tables: Tables, summary: RunSummary) -> Table:
    """Return a table of the run's first rows. One action."""
    is_waiting = summary.outcome in (State.STAGED, State.BLOCKED)
    name = "candidates" if is_waiting else "product_attributes"
    rows = tables.read_run(name, summary.run_id)
    columns = ["product_id", *(c for a in tables.attributes for c in (a, f"{a}_confidence"))]
    shown = Table(*columns, title=f"the first of {tables.name(name)}")
    for row in rows.select(*columns).orderBy("product_id").limit(SHOWN_ROWS).collect():
        shown.add_row(*map(_as_cell, row))
    return shown


def _as_cell(value: Any) -> str:
    return tame(f"{value:.2f}" if isinstance(value, float) else value or "-")


def open_console() -> Console:
    """Return a console for tables and sentences of any texts."""
    # A product's id may hold characters that Rich takes for markup or an emoji's name.
    return Console(width=120, markup=False, emoji=False)
