"""What people said about attributes, laid over what the classifier said.

A person's label replaces the classifier's in the published row. What the classifier said stays in
`predictions`, so a correction that is withdrawn leaves no trace.
"""

from collections.abc import Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from schemas.tables import CORRECTIONS

from enrich.spark.catalog import quote_part

AttributeLabels = Mapping[str, Sequence[str]]


def select_corrections(table: DataFrame, attribute_labels: AttributeLabels) -> DataFrame:
    """Returns one row (product_id, corrections) for every product that a person corrected.

    Runs on the driver; lazy. Of several corrections of one attribute the last one counts. What
    names an attribute or a label that the checkpoint does not know is left out.
    """
    newest_first = [F.col("corrected_at").desc(), F.col("label").asc_nulls_last()]
    place = F.row_number().over(
        Window.partitionBy("product_id", "attribute").orderBy(*newest_first)
    )
    last = table.withColumn("place", place).where(F.col("place") == 1)
    said = F.struct("attribute", "label", "corrected_by")
    return (
        last.where(_is_known(attribute_labels))
        .groupBy("product_id")
        .agg(F.array_sort(F.collect_list(said)).cast(CORRECTIONS).alias("corrections"))
    )


def count_unknown(table: DataFrame, attribute_labels: AttributeLabels) -> int:
    """Returns how many corrections name what the checkpoint does not know.

    Runs on the driver; one action.
    """
    return table.where(~_is_known(attribute_labels)).count()


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


def _label(attribute: str) -> Column:
    mine = _of("corrections", attribute)
    return F.when(mine.isNotNull(), mine["label"]).otherwise(F.col(quote_part(attribute)))


def _own_label(attribute: str) -> Column:
    mine = _of("predictions", attribute)
    return F.when(~mine["abstained"], mine["label"])


def _of(column: str, attribute: str) -> Column:
    """Returns the one entry of an array of structs that speaks of the attribute, else NULL."""
    return F.get(F.filter(column, lambda entry: entry["attribute"] == attribute), F.lit(0))


def _is_known(attribute_labels: AttributeLabels) -> Column:
    known = F.lit(False)
    for attribute, labels in attribute_labels.items():
        fits = F.col("label").isNull() | F.col("label").isin(list(labels))
        known = known | ((F.col("attribute") == attribute) & fits)
    return known
