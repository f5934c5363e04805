"""Prove the share of right published answers by people's labels of a blind sample.

    spark-submit jobs/audit.py --database shop --n 120 --output audit.csv
    spark-submit jobs/audit.py --database shop --labels audit.csv

The last line on standard output is one JSON object.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from enrich.classifiers.manifest import fetch_manifest
from enrich.cli import Given, common_options, run_command
from enrich.config import JobConfig
from enrich.engine.spec import published_labels
from enrich.errors import ConfigError
from enrich.files.labels import read_labels
from enrich.files.tables import guard, write_csv
from enrich.places import atomic_write, prepare_target, refuse_existing, require_suffix
from enrich.spark.audit import DEFAULT_COUNT, Draw, draw, find_source, record_draw, record_labels
from enrich.spark.console import print_json_line
from enrich.spark.failures import explain_failure
from enrich.spark.session import open_session
from enrich.spark.source import Source, open_source
from enrich.spark.tables import Tables, open_tables


@common_options("catalog", "database", "checkpoint")
def main(
    given: Given,
    output: Annotated[
        Path | None, typer.Option(help="Draw a sample, and write it to this CSV file.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Read the labels in this file, and say what they prove.")
    ] = None,
    n: Annotated[
        int | None,
        typer.Option("--n", min=1, max=5_000, help="Answers to draw per attribute (default: 120)."),
    ] = None,
) -> None:
    """Prove the share of right published answers by labels of a blind sample."""
    settings = given.read()
    if (output is None) == (labels is None):
        raise ConfigError("What is to be done? Expected --output FILE or --labels FILE.")
    if labels is not None:
        refuse_flags("--labels", {"--n": n, "--catalog": given.catalog})
        certify_labels(labels, settings)
    elif output is not None:
        draw_answers(output, settings, n or DEFAULT_COUNT)


def refuse_flags(beside: str, flags: dict[str, object]) -> None:
    """Raise ConfigError where a flag is given that has no effect."""
    if given := [flag for flag, value in flags.items() if value is not None]:
        raise ConfigError(f"{', '.join(given)} has no effect beside {beside}. Leave it out.")


def draw_known(tables: Tables, source: Source, attributes: Collection[str], count: int) -> Draw:
    """Draw published answers of these attributes, and say how many.

    They are the checkpoint's: labels of others could not be taken in.
    """
    tables.create_missing(has_encodings=False)
    known = tuple(one for one in tables.attributes if one in attributes)
    if others := [one for one in tables.attributes if one not in known]:
        typer.echo(f"not drawn, because the checkpoint lacks it: {', '.join(others)}", err=True)
    drawn = draw(Tables(tables.spark, tables.database, known), source, count)
    for attribute, number in drawn.drawn.items():
        typer.echo(f"{attribute}: {number:,} answers drawn, {drawn.not_drawn[attribute]:,} left")
    return drawn


def draw_answers(output: Path, settings: JobConfig, count: int) -> None:
    """Write products to label."""
    require_suffix(output, ".csv")
    refuse_existing(output)
    prepare_target(output)
    attributes = published_labels(settings, fetch_manifest(settings.checkpoint))
    spark = open_session("audit")
    tables = open_tables(spark, settings.database)
    source = open_source(spark, find_source(tables, settings.catalog), settings.columns)
    drawn = draw_known(tables, source, attributes, count)
    with atomic_write(output) as partial:
        write_csv(drawn.rows.map(guard, na_action="ignore"), partial)
        # Not earlier: what is recorded is not drawn again.
        record_draw(tables, drawn)
    print_json_line({"audit_id": drawn.audit_id, "drawn": dict(drawn.drawn), "output": str(output)})


def certify_labels(file: Path, settings: JobConfig) -> None:
    """Take labels in, and say what they prove."""
    attributes = published_labels(settings, fetch_manifest(settings.checkpoint))
    given = read_labels(file, attributes)
    if given.empty:
        raise ConfigError(f"{file} is not filled in: found 0 labels, expected 1 or more.")
    tables = open_tables(open_session("audit"), settings.database)
    tables.create_missing(has_encodings=False)
    recorded = record_labels(tables, given)
    typer.echo(
        f"{file}: {recorded.new:,} new labels; {recorded.unlabelled:,} answers of the draw have no "
        f"label: {recorded.skipped:,} before a labelled answer, which count as wrong, and "
        f"{recorded.unlabelled - recorded.skipped:,} after the last one, which do not count"
    )
    for one in recorded.certificates:
        ended = "" if one["stands"] else f" (ended: {one['ended_because']})"
        typer.echo(f"{one['attribute']}: {one['statement']}{ended}")
    shown = ("attribute", "bound", "observed", "labels", "target", "more_labels", "stands")
    certificates = [{name: one[name] for name in shown} for one in recorded.certificates]
    print_json_line(
        {
            "new": recorded.new,
            "unlabelled": recorded.unlabelled,
            "skipped": recorded.skipped,
            "certificates": certificates,
        }
    )


if __name__ == "__main__":
    run_command(main, explain_failure)
