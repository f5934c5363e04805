"""Builds a label baseline: the counts that later runs are compared to.

    spark-submit jobs/build_label_baseline.py --database shop --output baselines/shop.json
    spark-submit jobs/build_label_baseline.py --database shop --output baselines/shop.json \
        --run-id 20261124-0f3c9a71d2

Look at the answers first: a baseline says that they are as they should be. It counts the published
table, or the staged rows of one run, which is how a new checkpoint gets its baseline before it has
published anything. Name the file in the job's configuration, under `baselines`. Where the file is
there already, what changes in it is printed.
"""

from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from rich.console import Console
from rich.table import Table

from enrich.command_line import DatabaseOption, run_command
from enrich.errors import ConfigError
from enrich.spark.corrections import with_own_labels
from enrich.spark.session import open_session
from enrich.spark.storage import explain_storage_failure
from expectations.baseline import BaselineError, LabelBaseline, load_baseline, save_baseline
from expectations.counting import count_staged, select_counted
from expectations.summary import GroupSummary, OtherCategories
from schemas.quoting import quote_part
from schemas.tables import select_attributes

# Smaller changes of a share are not worth a line.
SHOWN_CHANGE = 0.005
# More names than a file that people review should hold.
MAX_CATEGORIES = 10_000


def main(
    output: Annotated[Path, typer.Option(help="JSON file to write.")],
    catalog: Annotated[str, typer.Option(help="The catalog's name in the report.")] = "demo",
    database: DatabaseOption = "enriched",
    version: Annotated[
        int | None, typer.Option(min=0, help="Version of the published table; the newest.")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option(help="Count this run's staged rows instead of published ones.")
    ] = None,
    max_categories: Annotated[
        int, typer.Option(min=0, help="So many of the largest categories are told apart.")
    ] = 20,
    min_category_rows: Annotated[
        int, typer.Option(min=1, help="Smaller categories are counted together.")
    ] = 200,
) -> None:
    """Builds a label baseline from published answers, or from those of a staged run."""
    spark = open_session("build_label_baseline")
    rows, source = select_answers(spark, database, version, run_id)
    versions = sorted(row[0] for row in rows.select("model_version").distinct().collect())
    if len(versions) != 1:
        found = ", ".join(versions) or "no rows"
        raise ConfigError(
            f"{source} of {database} holds {found}; wanted rows of exactly one model_version: "
            "jobs/enrich_catalog.py --full-refresh --no-publish stages all products with one"
        )
    attributes = select_answered_attributes(rows)
    if run_id is None:
        # The gate sees what the classifier says, before people's corrections.
        rows = with_own_labels(rows, attributes)
    categories = choose_categories(rows, max_categories, min_category_rows)
    others = list_others(rows, categories)
    figures = count_staged(select_counted(rows, attributes, categories, others), attributes)
    assert figures.summary is not None
    baseline = LabelBaseline(
        catalog=catalog,
        model_version=versions[0],
        source=source,
        products=figures.summary.products,
        categories=figures.summary.categories,
        other_categories=others,
    )
    show_difference(output, baseline)
    save_baseline(baseline, output)
    typer.echo(f"{output}: {figures.rows:,} products of {versions[0]}")


def select_answers(
    spark: SparkSession, database: str, version: int | None, run_id: str | None
) -> tuple[DataFrame, str]:
    """Returns the answers to count, and what they are."""
    if version is not None and run_id is not None:
        raise ConfigError("--version is of the published table, --run-id of staged rows: give one")
    name = "product_attributes" if run_id is None else "staged_attributes"
    table = f"{database}.{name}"
    if not spark.catalog.tableExists(table):
        raise ConfigError(f"no table {table}: run jobs/enrich_catalog.py --database {database}")
    if run_id is not None:
        answered = F.col("modalities").isNotNull()
        staged = spark.read.table(table).where((F.col("run_id") == run_id) & answered)
        return staged, f"{name}, run {run_id}"
    newest = spark.sql(f"DESCRIBE HISTORY {table} LIMIT 1").collect()[0]["version"]
    chosen = newest if version is None else version
    if chosen > newest:
        raise ConfigError(f"{table} has no version {chosen}; its newest is {newest}")
    return spark.sql(f"SELECT * FROM {table} VERSION AS OF {chosen}"), f"{name}, version {chosen}"


def select_answered_attributes(rows: DataFrame) -> list[str]:
    """Returns the attributes that the rows' classifier knows: an earlier one's columns are NULL."""
    named = select_attributes(rows.columns)
    counted = [F.count(quote_part(f"{name}_confidence")).alias(name) for name in named]
    found = rows.agg(*counted).collect()[0]
    return [name for name in named if found[name]]


def choose_categories(rows: DataFrame, largest: int, min_rows: int) -> list[str]:
    """Returns the categories that are large enough to be told apart; none where there are none."""
    named = rows.where(F.col("product_category").isNotNull()).groupBy("product_category")
    # As the gate counts them: what shows the same picture and text is one.
    by_size = named.agg(F.count_distinct("content_hash").alias("count"))
    enough = by_size.where(F.col("count") >= min_rows).orderBy(F.desc("count"), "product_category")
    return [row["product_category"] for row in enough.limit(largest).collect()]


def list_others(rows: DataFrame, categories: list[str]) -> OtherCategories:
    """Returns the categories that are counted together; None where they are too many to list."""
    if not categories:
        return None
    found = rows.select("product_category").distinct().limit(MAX_CATEGORIES + 1).collect()
    if len(found) > MAX_CATEGORIES:
        return None
    others = {row["product_category"] for row in found} - set(categories)
    return tuple(sorted(others, key=lambda name: (name is not None, name)))


def show_difference(file: Path, new: LabelBaseline) -> None:
    """Prints what the new baseline changes in the file."""
    if not file.exists():
        return
    console = Console(width=120)
    try:
        old = load_baseline(file)
    except BaselineError as error:
        console.print(f"not compared: {error}", markup=False, soft_wrap=True)
        return
    table = Table("attribute", "label", "before", "now", "change", title=f"changes in {file.name}")
    table.add_row("", "products", f"{old.products.rows:,}", f"{new.products.rows:,}", "")
    table.add_row("", "model_version", str(old.model_version), str(new.model_version), "")
    table.add_row("", "source", old.source, new.source, "")
    for attribute, label, before, now in changed_shares(old.products, new.products):
        table.add_row(attribute, label, f"{before:.1%}", f"{now:.1%}", f"{now - before:+.1%}")
    console.print(table, markup=False)


def changed_shares(old: GroupSummary, new: GroupSummary) -> list[tuple[str, str, float, float]]:
    """Returns attribute, label and both shares where they differ, the largest changes first."""
    changes = []
    for attribute in dict.fromkeys([*old.attributes, *new.attributes]):
        shares = [_shares(group, attribute) for group in (old, new)]
        for label in dict.fromkeys([*shares[0], *shares[1]]):
            before, now = (share.get(label, 0.0) for share in shares)
            if abs(now - before) >= SHOWN_CHANGE:
                changes.append((attribute, label, before, now))
    return sorted(changes, key=lambda change: -abs(change[3] - change[2]))


def _shares(group: GroupSummary, attribute: str) -> dict[str, float]:
    if attribute not in group.attributes:
        return {}
    return {label: n / group.rows for label, n in group.attributes[attribute].labels.items()}


if __name__ == "__main__":
    run_command(main, explain_storage_failure)
