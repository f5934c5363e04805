"""What people said about attributes, laid over what the classifier said.

A person's label replaces the classifier's in the published row. What the classifier said stays in
`predictions`, so a correction that is withdrawn leaves no trace.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

import pandas as pd
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from schemas.quoting import quote_part
from schemas.tables import CORRECTIONS

from enrich.spark.survey import select_kept
from enrich.spark.tables.output_tables import OutputTables
from enrich.text import spell_without_case

AttributeLabels = Mapping[str, Sequence[str]]


def select_corrections(table: DataFrame, attribute_labels: AttributeLabels) -> DataFrame:
    """Returns one row (product_id, corrections) for every product that a person corrected.

    Runs on the driver; lazy. What names an attribute or a label that the checkpoint does not know
    is left out.
    """
    said = F.struct("attribute", "label", "corrected_by")
    return (
        select_last(_select_known(table, attribute_labels))
        .groupBy("product_id")
        .agg(F.array_sort(F.collect_list(said)).cast(CORRECTIONS).alias("corrections"))
    )


def select_last(table: DataFrame) -> DataFrame:
    """Returns of several corrections of one product's attribute the last one.

    Runs on the driver; lazy.
    """
    newest_first = [F.col("corrected_at").desc(), F.col("label").asc_nulls_last()]
    window = Window.partitionBy("product_id", "attribute").orderBy(*newest_first)
    placed = table.withColumn("place", F.row_number().over(window))
    return placed.where(F.col("place") == 1).drop("place")


def count_unknown(table: DataFrame, attribute_labels: AttributeLabels) -> int:
    """Returns how many corrections name what the checkpoint does not know.

    Runs on the driver; one action.
    """
    return _with_spelling(table, attribute_labels).where("NOT is_known").count()


def with_corrections(
    rows: DataFrame, corrections: DataFrame, attributes: Sequence[str]
) -> DataFrame:
    """Returns the rows with people's labels in place of the classifier's.

    Runs on the driver; lazy. Confidences stay the classifier's own.

    Args:
        rows: Rows with product_id and a label column for each attribute.
        corrections: What `select_corrections` returns.
    """
    joined = rows.join(corrections, "product_id", "left")
    return joined.withColumns({a: _label(a) for a in attributes})


def with_own_labels(rows: DataFrame, attributes: Sequence[str]) -> DataFrame:
    """Returns rows with the classifier's own labels, as they were before any correction.

    Runs on the driver; lazy.
    """
    return rows.withColumns({a: _own_label(a) for a in attributes})


def entry_of(column: str, attribute: str | Column) -> Column:
    """Returns the one entry of an array of structs that speaks of the attribute, else NULL."""
    return F.get(F.filter(column, lambda entry: entry["attribute"] == attribute), F.lit(0))


def record_corrections(
    tables: OutputTables,
    labels: pd.DataFrame,
    attribute_labels: AttributeLabels,
    corrected_by: str,
    note: str | None,
) -> int:
    """Appends the labels that differ from the newest correction, and returns how many those are.

    Runs on the driver; at most one Delta commit.

    Args:
        tables: The output tables.
        labels: product_id and one column an attribute, in the checkpoint's spelling; NULL says
            nothing.
        attribute_labels: The checkpoint's.
        corrected_by: Who says so.
        note: Kept beside them, for people.

    Raises:
        ConfigError: the database has no corrections table.
    """
    tables.require("attribute_corrections")
    said = [
        (product_id, attribute, label)
        for attribute in labels.columns.drop("product_id")
        for product_id, label in zip(labels["product_id"], labels[attribute], strict=True)
        if pd.notna(label)
    ]
    given = tables.spark.createDataFrame(said, "product_id STRING, attribute STRING, label STRING")
    known = select_last(_select_known(tables.read("attribute_corrections"), attribute_labels))
    same = ["product_id", "attribute", "label"]
    new = (
        given.join(known, same, "left_anti")
        .withColumn("corrected_by", F.lit(corrected_by))
        .withColumn("corrected_at", F.lit(datetime.now(UTC)))
        .withColumn("note", F.lit(note).cast("string"))
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
    """Returns product_id and one column an attribute: people's last word, as far as it is a label.

    Runs on the driver; lazy.

    Raises:
        ConfigError: the database has no corrections table.
    """
    tables.require("attribute_corrections")
    known = _select_known(tables.read("attribute_corrections"), attribute_labels)
    last = select_last(known).where(F.col("label").isNotNull())
    return last.groupBy("product_id").agg(
        *(F.max(F.when(F.col("attribute") == a, F.col("label"))).alias(a) for a in attribute_labels)
    )


def with_group_id(rows: DataFrame, products: DataFrame) -> DataFrame:
    """Adds a group_id that products with the same text share; drops rows without a product.

    Runs on the driver; lazy. A product without text is alike to none: NULL. Of products with one id
    the one counts that a run enriches.
    """
    text = F.concat_ws(" ", "title", "description")
    text = F.lower(F.trim(F.regexp_replace(text, r"\s+", " ")))
    grouped = select_kept(products).select(
        "product_id", F.when(text != "", F.md5(text)).alias("group_id")
    )
    return rows.join(grouped, "product_id")


def _label(attribute: str) -> Column:
    mine = entry_of("corrections", attribute)
    return F.when(mine.isNotNull(), mine["label"]).otherwise(F.col(quote_part(attribute)))


def _own_label(attribute: str) -> Column:
    mine = entry_of("predictions", attribute)
    return F.when(~mine["abstained"], mine["label"])


def _select_known(table: DataFrame, attribute_labels: AttributeLabels) -> DataFrame:
    return _with_spelling(table, attribute_labels).where("is_known").drop("is_known")


def _with_spelling(table: DataFrame, attribute_labels: AttributeLabels) -> DataFrame:
    """Returns attributes and labels in the checkpoint's spelling, and whether it knows both.

    Blanks around do not count, nor do capitals where one name alone can be meant.
    """
    label = F.lit(None)
    for attribute, labels in attribute_labels.items():
        label = F.when(F.col("attribute") == attribute, _spell("label", labels)).otherwise(label)
    is_label = F.col("label").isNull() | label.isNotNull()
    spelled = table.withColumn("attribute", _spell("attribute", attribute_labels))
    is_known = F.col("attribute").isNotNull() & is_label
    return spelled.withColumns({"is_known": is_known, "label": label})


def _spell(column: str, names: Iterable[str]) -> Column:
    """Returns which of the names is meant, NULL if none is."""
    names = list(names)
    folded = F.lower(F.trim(F.regexp_replace(column, r"\s+", " ")))
    pairs = [F.lit(word) for pair in spell_without_case(names).items() for word in pair]
    return F.when(F.col(column).isin(names), F.col(column)).otherwise(
        F.try_element_at(F.create_map(*pairs), folded)
    )
