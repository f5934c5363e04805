"""Write the labels that people gave products to a file, for training and adapting.

    spark-submit jobs/export_corrections.py --output corrected.csv --database shop
    python jobs/adapt_checkpoint.py --catalog shop/products.csv --corrections corrected.csv ...

One row a product, one column an attribute, as training reads `labels.parquet`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from enrich.classifiers.manifest import fetch_manifest
from enrich.cli import Given, common_options, run_command
from enrich.engine.spec import find_meant, published_labels
from enrich.files.tables import guard, write_csv
from enrich.places import atomic_write, prepare_target, refuse_existing, require_suffix
from enrich.spark.corrections import count_unknown, read_last_labels
from enrich.spark.failures import explain_failure
from enrich.spark.session import open_session
from enrich.spark.tables import Tables


@common_options("database", "checkpoint")
def main(
    given: Given,
    output: Annotated[Path, typer.Option(help="A .csv or .parquet file to write.")],
) -> None:
    """Write people's labels to a file, in the checkpoint's words."""
    require_suffix(output, ".csv", ".parquet")
    refuse_existing(output)
    prepare_target(output)
    settings = given.read()
    manifest = fetch_manifest(settings.checkpoint)
    attributes = published_labels(settings, manifest)
    spark = open_session("export_corrections")
    tables = Tables(spark, settings.database, tuple(attributes))
    labels = read_last_labels(tables, attributes).orderBy("product_id").toPandas()
    labels, ambiguous = name_as_checkpoint(labels, manifest.config.attributes, settings.labels)
    if ambiguous:
        typer.echo(
            f"{ambiguous:,} labels are left out: several labels of the checkpoint have their name "
            "(labels in the settings).",
            err=True,
        )
    with atomic_write(output) as partial:
        if output.suffix == ".csv":
            write_csv(labels.assign(product_id=labels["product_id"].map(guard)), partial)
        else:
            labels.to_parquet(partial, index=False)
    typer.echo(f"{output}: {len(labels):,} products")
    if unknown := count_unknown(tables.read("attribute_corrections"), attributes):
        typer.echo(
            f"{unknown:,} corrections are left out: they name an attribute or a label that the "
            f"checkpoint {manifest.config.name} does not have. Is it the shop's?",
            err=True,
        )


def name_as_checkpoint(
    labels: pd.DataFrame,
    attributes: Mapping[str, Sequence[str]],
    own: Mapping[str, Mapping[str, str | None]],
) -> tuple[pd.DataFrame, int]:
    """Return labels in the checkpoint's words, and the number of labels left out.

    Left out is a name of the shop's own that several labels of the checkpoint have.

    Args:
        labels: a column an attribute, in the shop's words.
        attributes: the checkpoint's labels by attribute.
        own: the shop's names of labels, by attribute and label; None for labels never given.
    """
    named, ambiguous = labels.copy(), 0
    for attribute, names in own.items():
        given = labels[attribute].dropna().unique()
        meant = {name: find_meant(name, attributes[attribute], names) for name in given}
        clear = {name: found[0] for name, found in meant.items() if len(found) == 1}
        named[attribute] = labels[attribute].map(clear)
        ambiguous += int((labels[attribute].notna() & named[attribute].isna()).sum())
    return named, ambiguous


if __name__ == "__main__":
    run_command(main, explain_failure)
