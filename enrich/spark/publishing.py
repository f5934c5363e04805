"""Which staged rows are published, and which published ones go.

Knows nothing of images or classifiers.
"""

from datetime import datetime

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from enrich.config import JobConfig
from enrich.records import Status
from enrich.spark.corrections import AttributeLabels, select_corrections, with_corrections
from enrich.spark.inference.key import is_answered
from enrich.spark.ledger import has_newer_run
from enrich.spark.records import Attempt
from enrich.spark.survey import SAME_PRODUCT
from enrich.spark.tables.merge_conditions import IS_OWN, stays
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
        is_behind: What `is_behind` tells of the attempt. If so, rows of products that are not
            published are left out: a newer run may have deleted them.
    """
    corrections = select_corrections(tables.read("attribute_corrections"), attribute_labels)
    rows = with_corrections(select_answered(staged), corrections, tuple(attribute_labels))
    if not is_behind:
        return rows
    published = tables.read("product_attributes").select("product_id")
    return rows.join(published, "product_id", "left_semi")


def is_behind(tables: OutputTables, config: JobConfig, attempt: Attempt) -> bool:
    """Tells whether answers of this attempt may be of products that a newer run has found gone.

    It is so where vanished products are deleted, and a newer run has read the whole product table.
    Runs on the driver; one action at most.
    """
    return config.deletes_missing and has_newer_run(tables, attempt)


def select_answered(staged: DataFrame) -> DataFrame:
    """Returns the staged rows that hold an answer. Runs on the driver."""
    return staged.where(is_answered())


def select_unpublished(
    answered: DataFrame, published: DataFrame, told_until: datetime | None, *, full_refresh: bool
) -> DataFrame:
    """Returns the answers without those that stand in the published table already.

    Runs on the driver; lazy. Left out are answers that the run itself has published, or that were
    carried over, or were asked for again while their picture stayed out of reach, where the
    published row is of the same text and image, and of the same checkpoint at the same target
    precision.

    Args:
        answered: The run's.
        published: The table that they would go to.
        told_until: The start of the run's last attempt that is in the ledger, None where there is
            none. What a later one has published before it was killed is not left out: no check of
            it is written.
        full_refresh: Whether the run is one. What it has published on an earlier day is answered
            anew.
    """
    is_in_vain = F.col("new.status") == Status.IMAGE_UNREADABLE
    repeats = F.col("new.is_carried") | is_in_vain
    if told_until is not None:
        is_left = F.expr(f"{IS_OWN} AND {stays(full_refresh=full_refresh)}")
        repeats |= is_left & (F.col("old.enriched_at") <= F.lit(told_until))
    names = (*SAME_PRODUCT, "model_version", "status")
    is_same = [F.col(f"new.{name}") == F.col(f"old.{name}") for name in names]
    return answered.alias("new").join(published.alias("old"), [repeats, *is_same], "left_anti")


def read_attempt(tables: OutputTables, run_id: str, attempt: Attempt) -> DataFrame:
    """Returns what an attempt and those before it have staged, as if that one had staged it all.

    What a later attempt has staged is left out: that one is at work elsewhere or was killed, and
    no gate has seen its rows. Runs on the driver; lazy.
    """
    staged = tables.read_rows("staged_attributes", run_id)
    by_then = staged.where(F.col("enriched_at") <= F.lit(attempt.started_at))
    return with_attempt(by_then, attempt)


def with_attempt(rows: DataFrame, attempt: Attempt) -> DataFrame:
    """Returns the rows with the date and start of one attempt, whichever attempt had staged them.

    By these two columns a newer row is told from an older one. Runs on the driver; lazy.
    """
    run_date, started_at = attempt
    return rows.withColumns({"run_date": F.lit(run_date), "enriched_at": F.lit(started_at)})


def delete_gone(tables: OutputTables, gone: DataFrame, attempt: Attempt, run_id: str) -> int:
    """Deletes the published rows of products that a run's attempt found gone; returns how many.

    Runs on the driver. Where a newer run has ended, be it during a MERGE that is tried again, none
    is deleted: that run has found out for itself what is gone.
    """
    rows = with_attempt(gone.select("product_id"), attempt)
    return tables.delete_published(lambda: None if has_newer_run(tables, attempt) else rows, run_id)
