"""Record people's labels; they replace the classifier's from the next run on.

    spark-submit jobs/import_corrections.py --file review-labels.csv --config shop.yaml

Importing a file again changes nothing.
"""

from pathlib import Path
from typing import Annotated

import typer

from enrich.classifiers.manifest import fetch_manifest
from enrich.cli import Given, check_words, common_options, run_command
from enrich.engine.spec import published_labels
from enrich.errors import ConfigError, name_some
from enrich.files.labels import read_labels
from enrich.spark.corrections import find_unpublished, record_corrections
from enrich.spark.failures import explain_failure
from enrich.spark.session import open_session
from enrich.spark.tables import Tables


@common_options("database", "checkpoint")
def main(
    given: Given,
    file: Annotated[Path, typer.Option(help="Parquet, CSV or JSON lines file of labels.")],
    by: Annotated[
        str | None, typer.Option(help="Who gave labels without a `by`.", callback=check_words)
    ] = None,
    note: Annotated[str | None, typer.Option(help="A note to keep with the labels.")] = None,
) -> None:
    """Record labels that people gave products."""
    settings = given.read()
    attributes = published_labels(settings, fetch_manifest(settings.checkpoint))
    labels = read_labels(file, attributes)
    if by is not None:
        labels["by"] = labels["by"].fillna(by)
    if nobody := int(labels["by"].isna().sum()):
        raise ConfigError(f"{file}: {nobody:,} labels do not say who gave them. Give --by NAME")
    tables = Tables(open_session("import_corrections"), settings.database, tuple(attributes))
    recorded = record_corrections(tables, labels, attributes, note)
    named, ids = " and ".join(labels["attribute"].unique()), [*labels["product_id"].unique()]
    typer.echo(
        f"{file}: {named or 'nothing'} of {len(ids):,} products; {recorded.new:,} labels are new "
        f"in {tables.name('attribute_corrections')}. The next run publishes those of products "
        "that are in its product table"
    )
    if recorded.outdated:
        typer.echo(
            f"{recorded.outdated:,} labels are left out: later corrections have replaced them.",
            err=True,
        )
    if missing := find_unpublished(tables, ids):
        typer.echo(
            f"{len(missing):,} of these products have no row in "
            f"{tables.name('product_attributes')} yet, whose labels wait until they have: "
            f"{name_some(missing)}",
            err=True,
        )


if __name__ == "__main__":
    run_command(main, explain_failure)
