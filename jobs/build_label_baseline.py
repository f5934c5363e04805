"""Builds a label baseline from a published table: the shares that later runs are compared to.

    spark-submit jobs/build_label_baseline.py --database shop --output baselines/shop.json

Look at the published attributes first: a baseline says that they are as they should be. Then name
it in the job's configuration, under `baselines`.
"""

from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import functions as F

from enrich.command_line import run_command
from enrich.errors import ConfigError
from enrich.spark.session import open_session
from expectations.baseline import LabelBaseline, save_baseline, shares_from_counts


def main(
    output: Annotated[Path, typer.Option(help="JSON file to write.")],
    catalog: Annotated[str, typer.Option(help="The catalog's name in the report.")] = "demo",
    database: Annotated[str, typer.Option(help="Where the published table lives.")] = "enriched",
) -> None:
    """Builds a label baseline from a published table."""
    table = f"{database}.product_attributes"
    spark = open_session("build_label_baseline")
    if not spark.catalog.tableExists(table):
        raise ConfigError(f"no table {table}: run jobs/enrich_catalog.py --database {database}")
    published = spark.read.table(table)
    versions = [row[0] for row in published.select("model_version").distinct().collect()]
    if len(versions) != 1:
        found = ", ".join(versions) or "no rows"
        raise ConfigError(f"{table} holds {found}; wanted rows of exactly one model_version")
    said = published.select(F.explode("predictions").alias("said")).select(
        "said.attribute", F.when(~F.col("said.abstained"), F.col("said.label")).alias("label")
    )
    counts: dict[str, dict[str | None, int]] = {}
    for row in said.groupBy("attribute", "label").count().collect():
        counts.setdefault(row["attribute"], {})[row["label"]] = row["count"]
    newest = spark.sql(f"DESCRIBE HISTORY {table} LIMIT 1").collect()[0]["version"]
    baseline = LabelBaseline(
        catalog=catalog,
        model_version=versions[0],
        source=f"product_attributes, version {newest}",
        rows=published.count(),
        attributes=shares_from_counts(counts),
    )
    save_baseline(baseline, output)
    typer.echo(f"{output}: {baseline.rows:,} products of {versions[0]}")


if __name__ == "__main__":
    run_command(main)
