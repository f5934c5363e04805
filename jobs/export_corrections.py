"""Write the labels that people gave products to a file, for training and adapting.

    spark-submit jobs/export_corrections.py --output corrected.csv --database shop
    python jobs/adapt_checkpoint.py --catalog shop/products.csv --corrections corrected.csv ...

One row a product, one column an attribute, as training reads `labels.parquet`.
"""

from pathlib import Path
from typing import Annotated

import typer

from enrich.classifiers.manifest import BUNDLED, fetch_manifest
from enrich.cli import CheckpointOption, DatabaseOption, run_command
from enrich.files.atomic_write import atomic_write, prepare_target, require_suffix
from enrich.files.tables import guard, write_csv
from enrich.spark.corrections import count_unknown, read_last_labels
from enrich.spark.failures import explain_failure
from enrich.spark.session import open_session
from enrich.spark.tables import Tables


def main(
    output: Annotated[Path, typer.Option(help="A .csv or .parquet file to write.")],
    database: DatabaseOption = "enriched",
    checkpoint: CheckpointOption = str(BUNDLED),
) -> None:
    """Write the labels that people gave products to a file."""
    require_suffix(output, ".csv", ".parquet")
    prepare_target(output)
    attributes = fetch_manifest(checkpoint).config.attributes
    spark = open_session("export_corrections")
    tables = Tables(spark, database, tuple(attributes))
    labels = read_last_labels(tables, attributes).orderBy("product_id").toPandas()
    with atomic_write(output) as partial:
        if output.suffix == ".csv":
            write_csv(labels.assign(product_id=labels["product_id"].map(guard)), partial)
        else:
            labels.to_parquet(partial, index=False)
    typer.echo(f"{output}: {len(labels):,} products")
    if unknown := count_unknown(tables.read("attribute_corrections"), attributes):
        typer.echo(
            f"{unknown:,} corrections are left out: they name an attribute or a label that the "
            f"checkpoint {checkpoint} does not have. Is it the shop's?",
            err=True,
        )


if __name__ == "__main__":
    run_command(main, explain_failure)
