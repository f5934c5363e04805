"""Build a label baseline: the label counts that later runs are compared to.

    spark-submit jobs/build_label_baseline.py --database shop --output baselines/shop.json

It counts the published table, or the candidates of one run, so that a new checkpoint has a baseline
before it publishes.
"""

from pathlib import Path
from typing import Annotated

import typer
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from enrich.cli import Given, common_options, run_command
from enrich.errors import ConfigError
from enrich.places import atomic_write, prepare_target
from enrich.spark.corrections import with_classifier_labels
from enrich.spark.failures import explain_failure
from enrich.spark.runs import find_run, read_runs
from enrich.spark.session import open_session
from enrich.spark.tables import Tables
from expectations.baseline import LabelBaseline, save_baseline
from expectations.counts import (
    choose_categories,
    count_answers,
    list_others,
    mark_rows,
    select_answered_attributes,
)

# Large categories are counted separately: so many at most, with so many products each.
MAX_CATEGORIES = 20
MIN_CATEGORY_ROWS = 200


@common_options("database")
def main(
    given: Given,
    output: Annotated[Path, typer.Option(help="JSON file to write.")],
    version: Annotated[
        int | None, typer.Option(min=0, help="Version of the published table (default: newest).")
    ] = None,
    run_id: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Count the candidates of this run, given by its id or trigger, instead of "
            "published rows.",
        ),
    ] = None,
) -> None:
    """Build a label baseline from published answers, or from the candidates of a run."""
    database = given.read().database
    prepare_target(output)
    spark = open_session("build_label_baseline")
    rows, source = select_answers(spark, database, version, run_id)
    model_version = read_model_version(rows, f"{source} of {database}")
    attributes = select_answered_attributes(rows)
    if run_id is None:
        # The gate compares a run's answers without corrections, so the baseline has none either.
        rows = with_classifier_labels(rows, attributes)
    categories = choose_categories(rows, MAX_CATEGORIES, MIN_CATEGORY_ROWS)
    others = list_others(rows, categories)
    counted = count_answers(mark_rows(rows, None, attributes, categories, others)).catalog
    assert counted is not None
    baseline = LabelBaseline(
        catalog=database,
        model_version=model_version,
        source=source,
        products=counted.products,
        categories=counted.categories,
        other_categories=others,
    )
    with atomic_write(output) as partial:
        save_baseline(baseline, partial)
    typer.echo(f"{output}: {counted.products.rows:,} different products of {model_version}")


def select_answers(
    spark: SparkSession, database: str, version: int | None, run_id: str | None
) -> tuple[DataFrame, str]:
    """Return the answers to count, and the name of their source."""
    if version is not None and run_id is not None:
        raise ConfigError("--version is of the published table, --run-id of candidates: give one")
    name = "product_attributes" if run_id is None else "candidates"
    # The attributes do not matter here: they are taken from the rows.
    tables = Tables(spark, database, attributes=())
    tables.require(name)
    if run_id is not None:
        found = find_run(tables, run_id, read_runs(tables)).run_id
        answered = tables.read_run(name, found).where(F.col("modalities").isNotNull())
        return answered, f"{name}, run {found}"
    newest = tables.version(name)
    chosen = newest if version is None else version
    if chosen > newest:
        raise ConfigError(f"{tables.name(name)} has no version {chosen}; its newest is {newest}")
    return tables.read_version(name, chosen), f"{name}, version {chosen}"


def read_model_version(rows: DataFrame, source: str) -> str:
    """Return the one model version of rows; `source` names the rows in messages."""
    versions = sorted(row[0] for row in rows.select("model_version").distinct().collect())
    if len(versions) != 1:
        raise ConfigError(
            f"{source} holds {', '.join(versions) or 'no rows'}; expected rows of one "
            "model_version. `catalog-enrich enrich --full-refresh --no-publish` answers all "
            "products with one."
        )
    return str(versions[0])


if __name__ == "__main__":
    run_command(main, explain_failure)
