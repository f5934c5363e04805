"""Which staged rows are published, and which published ones go.

Knows nothing of images or classifiers.
"""

from datetime import date, datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from enrich.records import Status
from enrich.spark.corrections import AttributeLabels, select_corrections, with_corrections
from enrich.spark.ledger import has_newer_run
from enrich.spark.survey import SAME_PRODUCT
from enrich.spark.tables.output_tables import OutputTables


def select_publishable(
    tables: OutputTables,
    staged: DataFrame,
    attribute_labels: AttributeLabels,
    *,
    is_behind: bool,
) -> DataFrame:
    """Returns the staged rows that hold an answer, with people's corrections laid over them.

    Runs on the driver; lazy.

    Args:
        tables: The output tables.
        staged: The run's rows.
        attribute_labels: The checkpoint's.
        is_behind: Whether vanished products are deleted and a newer product table has been seen:
            what that one lacks, and so has no published row, is not brought back.
    """
    said = select_corrections(tables.read("attribute_corrections"), attribute_labels)
    rows = with_corrections(select_answered(staged), said, tuple(attribute_labels))
    if not is_behind:
        return rows
    published = tables.read("product_attributes").select("product_id")
    return rows.join(published, "product_id", "left_semi")


def select_answered(staged: DataFrame) -> DataFrame:
    """Returns the staged rows that hold an answer. Runs on the driver."""
    return staged.where(F.col("modalities").isNotNull())


def select_unpublished(answered: DataFrame, published: DataFrame) -> DataFrame:
    """Returns the answers without those that were carried over, or asked for again in vain.

    Where the published table, of the same checkpoint at the same target precision, says the same
    already. Runs on the driver; lazy.
    """
    is_in_vain = F.col("answered.status") == Status.IMAGE_UNREADABLE
    names = (*SAME_PRODUCT, "model_version", "status")
    is_same = [F.col(f"answered.{name}") == F.col(f"published.{name}") for name in names]
    may_repeat = [F.col("answered.is_carried") | is_in_vain, *is_same]
    return answered.alias("answered").join(published.alias("published"), may_repeat, "left_anti")


def with_attempt(rows: DataFrame, run_date: date, started_at: datetime) -> DataFrame:
    """Returns the rows as of a run's attempt, whatever earlier one they are from.

    By these two columns a newer row is told from an older one. Runs on the driver; lazy.
    """
    return rows.withColumns({"run_date": F.lit(run_date), "enriched_at": F.lit(started_at)})


def delete_gone(
    tables: OutputTables, gone: DataFrame, run_date: date, started_at: datetime, run_id: str
) -> int:
    """Deletes the published rows of products that a run's attempt found gone; returns how many.

    Runs on the driver. None where a newer run has ended, also during a long MERGE: it found there
    what is to be deleted.
    """
    seen = run_date, started_at
    rows = with_attempt(gone.select("product_id"), *seen)
    return tables.delete_published(lambda: None if has_newer_run(tables, *seen) else rows, run_id)
