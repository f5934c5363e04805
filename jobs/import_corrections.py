"""Records labels that a person gave products; from the next run on they win over the classifier's.

    spark-submit jobs/import_corrections.py --file corrected.csv --by ana --database shop

The file has `product_id` and one column an attribute; an empty field says nothing. Importing it
again changes nothing. The same can be written with SQL into `attribute_corrections`.
"""

from pathlib import Path
from typing import Annotated

import typer

from enrich.classifiers.manifest import BUNDLED, fetch_manifest
from enrich.command_line import CheckpointOption, DatabaseOption, check_words, run_command
from enrich.errors import name_some
from enrich.files.corrections import KEY, read_correction_file
from enrich.spark.corrections import find_unpublished, record_corrections
from enrich.spark.failures import explain_failure
from enrich.spark.session import open_session
from enrich.spark.tables import Tables


def main(
    file: Annotated[Path, typer.Option(help="Parquet, CSV or JSON of labels.")],
    by: Annotated[str, typer.Option(help="Who gave the labels.", callback=check_words)],
    note: Annotated[str | None, typer.Option(help="Kept beside them, for people.")] = None,
    database: DatabaseOption = "enriched",
    checkpoint: CheckpointOption = str(BUNDLED),
) -> None:
    """Records labels that a person gave products."""
    attributes = fetch_manifest(checkpoint).config.attributes
    labels = read_correction_file(file, attributes)
    spark = open_session("import_corrections")
    tables = Tables(spark, database, tuple(attributes))
    new = record_corrections(tables, labels, attributes, by, note)
    named = " and ".join(labels.columns.drop(KEY))
    typer.echo(
        f"{file}: {named} of {len(labels):,} products; {new:,} labels are new in "
        f"{tables.name('attribute_corrections')}. The next run publishes those of products "
        "that are in its product table"
    )
    if missing := find_unpublished(tables, labels[KEY].tolist()):
        typer.echo(
            f"{len(missing):,} of these products have no row in "
            f"{tables.name('product_attributes')} yet, whose labels wait until they have: "
            f"{name_some(missing)}",
            err=True,
        )


if __name__ == "__main__":
    run_command(main, explain_failure)
