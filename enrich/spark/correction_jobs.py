"""Brings people's labels into the table of corrections, and out of it again.

How runs apply them is in `enrich.spark.corrections`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from enrich.spark.corrections import (
    AttributeLabels,
    select_known,
    select_last,
    select_last_spelled,
)
from enrich.spark.tables.output_tables import OutputTables

_ATTRIBUTE = ["product_id", "attribute"]


def record_corrections(
    tables: OutputTables,
    labels: pd.DataFrame,
    attribute_labels: AttributeLabels,
    corrected_by: str,
    note: str | None,
) -> int:
    """Appends the labels that differ from a product's last correction; returns how many those are.

    Runs on the driver; at most one Delta commit.

    Args:
        tables: The output tables.
        labels: product_id and one column an attribute, in the checkpoint's spelling. NULL: nobody
            has labelled this one.
        attribute_labels: The checkpoint's.
        corrected_by: Who says so.
        note: Kept beside them, for people.

    Raises:
        ConfigError: the database has no corrections table.
    """
    tables.require("attribute_corrections")
    filled = [
        (product_id, attribute, label)
        for attribute in labels.columns.drop("product_id")
        for product_id, label in zip(labels["product_id"], labels[attribute], strict=True)
        if pd.notna(label)
    ]
    given = tables.spark.createDataFrame(
        filled, "product_id STRING, attribute STRING, label STRING"
    )
    # What the checkpoint does not know counts too, as NULL: a later word puts it right, and stands
    # with a checkpoint that does know it.
    last = select_last_spelled(tables.read("attribute_corrections"), attribute_labels).select(
        *_ATTRIBUTE, F.col("label").alias("last_label"), F.col("corrected_at").alias("last_at")
    )
    # Of one that is dated ahead, by a clock or by hand, this is still the later one.
    after_last = F.col("last_at") + F.expr("INTERVAL 1 MICROSECOND")
    new = (
        given.join(last, _ATTRIBUTE, "left")
        .where("NOT label <=> last_label")
        .withColumn("corrected_by", F.lit(corrected_by))
        .withColumn("corrected_at", F.greatest(F.lit(datetime.now(UTC)), after_last))
        .withColumn("note", F.lit(note).cast("string"))
        .drop("last_label", "last_at")
        .persist()
    )
    if count := new.count():
        tables.append("attribute_corrections", new.coalesce(1))
    new.unpersist()
    return count


def find_unpublished(tables: OutputTables, product_ids: Sequence[str]) -> list[str]:
    """Returns those of the products that have no row in `product_attributes`, in order.

    Runs on the driver; one action.
    """
    asked = tables.spark.createDataFrame([(one,) for one in product_ids], "product_id STRING")
    missing = asked.join(tables.read("product_attributes"), "product_id", "left_anti")
    return [row["product_id"] for row in missing.orderBy("product_id").collect()]


def read_last_labels(tables: OutputTables, attribute_labels: AttributeLabels) -> DataFrame:
    """Returns product_id and one column an attribute: the last label that people set, or NULL.

    Runs on the driver; lazy.

    Raises:
        ConfigError: the database has no corrections table.
    """
    tables.require("attribute_corrections")
    known = select_known(tables.read("attribute_corrections"), attribute_labels)
    last = select_last(known).where(F.col("label").isNotNull())
    return last.groupBy("product_id").agg(
        *(F.max(F.when(F.col("attribute") == a, F.col("label"))).alias(a) for a in attribute_labels)
    )
