"""People's corrections of labels, applied to the classifier's answers.

A person's label replaces the classifier's in the published row. The classifier's answer stays in
`predictions`, so a withdrawn correction leaves no trace.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from schemas.labels import NOT_APPLICABLE, RESERVED
from schemas.tables import CORRECTIONS, quote_literal, quote_part

from enrich.spark.tables import Tables
from enrich.text import spell_without_case

AttributeLabels = Mapping[str, Sequence[str]]


def select_corrections(table: DataFrame, attribute_labels: AttributeLabels) -> DataFrame:
    """Return product_id and corrections of all products that people corrected; lazy.

    Corrections with attributes or labels that the checkpoint does not know are left out.
    """
    entry = F.struct("attribute", "label", "corrected_by")
    return (
        select_last(select_known(table, attribute_labels))
        .groupBy("product_id")
        .agg(F.array_sort(F.collect_list(entry)).cast(CORRECTIONS).alias("corrections"))
    )


def select_last(table: DataFrame) -> DataFrame:
    """Return the last correction of each attribute of each product; lazy."""
    newest_first = [F.col("corrected_at").desc(), F.col("label").asc_nulls_last()]
    window = Window.partitionBy("product_id", "attribute").orderBy(*newest_first)
    placed = table.withColumn("place", F.row_number().over(window))
    return placed.where(F.col("place") == 1).drop("place")


def select_known(table: DataFrame, attribute_labels: AttributeLabels) -> DataFrame:
    """Return the corrections that the checkpoint knows, in its spelling; lazy."""
    return _with_spelling(table, attribute_labels).where("is_known").drop("is_known")


def select_last_spelled(table: DataFrame, attribute_labels: AttributeLabels) -> DataFrame:
    """Return the last correction by product and attribute, spelled by the checkpoint.

    Lazy. If the checkpoint does not know a label, the label is NULL and `is_known` is false.
    """
    return select_last(_with_spelling(table, attribute_labels))


def count_unknown(table: DataFrame, attribute_labels: AttributeLabels) -> int:
    """Count the corrections whose attribute or label the checkpoint does not know.

    Only the last correction of a product's attribute counts: the table also keeps mistakes that
    people have corrected since. One action.
    """
    return select_last_spelled(table, attribute_labels).where("NOT is_known").count()


def with_corrections(
    rows: DataFrame, corrections: DataFrame, attributes: Sequence[str]
) -> DataFrame:
    """Return the rows with people's labels in place of the classifier's.

    Lazy. Confidences stay the classifier's own.

    Args:
        rows: Rows with product_id and a label column for each attribute.
        corrections: As `select_corrections` returns them.
    """
    joined = rows.join(corrections, "product_id", "left")
    labels = {
        a: corrected_label(find_entry("corrections", a), F.col(quote_part(a))) for a in attributes
    }
    return joined.withColumns(labels)


def with_classifier_labels(rows: DataFrame, attributes: Sequence[str]) -> DataFrame:
    """Return rows with the classifier's labels, without any correction; lazy."""
    return rows.withColumns({a: classifier_label(find_entry("predictions", a)) for a in attributes})


def find_entry(column: str, attribute: str | Column) -> Column:
    """Return the attribute's entry of an array of structs, or NULL."""
    return F.get(F.filter(column, lambda entry: entry["attribute"] == attribute), F.lit(0))


def classifier_label(prediction: Column) -> Column:
    """Return the classifier's label of a `predictions` entry, NULL if it abstained."""
    return F.when(~prediction["abstained"], prediction["label"])


def is_inapplicable(prediction: Column) -> Column:
    """Return a column: the classifier's answer is that the attribute does not apply."""
    return prediction["abstention"].eqNullSafe(NOT_APPLICABLE)


def corrected_label(correction: Column, own: Column) -> Column:
    """Return a person's label, or `own` without a correction.

    `correction` is an entry of `corrections`, or NULL. For RESERVED labels the result is NULL: a
    person says that none of the labels fits.
    """
    label = F.when(~correction["label"].isin(*RESERVED), correction["label"])
    return F.when(correction.isNotNull(), label).otherwise(own)


def _with_spelling(table: DataFrame, attribute_labels: AttributeLabels) -> DataFrame:
    """Return attributes and labels as the checkpoint spells them, and `is_known`.

    RESERVED labels go with each attribute. Blanks around a name do not count. Capitals count only
    if two names differ in capitals alone. An unknown attribute keeps its own name.
    """
    label = F.lit(None)
    for attribute, labels in attribute_labels.items():
        meant = _spell("label", (*labels, *RESERVED))
        label = F.when(F.col("attribute") == attribute, meant).otherwise(label)
    is_label = F.col("label").isNull() | label.isNotNull()
    spelled = table.withColumn(
        "attribute", F.coalesce(_spell("attribute", attribute_labels), "attribute")
    )
    is_known = F.col("attribute").isin(list(attribute_labels)) & is_label
    return spelled.withColumns({"is_known": is_known, "label": label})


def _spell(column: str, names: Iterable[str]) -> Column:
    """Return the one of the names that a column means, NULL for an unknown one."""
    names = list(names)
    same = ", ".join(map(quote_literal, names))
    pairs = (quote_literal(word) for pair in spell_without_case(names).items() for word in pair)
    # In SQL, because each literal of a Column is a call into Java.
    meant = F.try_element_at(F.expr(f"map({', '.join(pairs)})"), _fold(column))
    return F.when(F.expr(f"{quote_part(column)} IN ({same})"), F.col(column)).otherwise(meant)


def _fold(column: str) -> Column:
    """Fold a text like `enrich.text.fold_label`, in small letters, without NFC.

    Spark has no NFC. White space is Unicode's: a pasted label may end in a no-break space.
    """
    return F.lower(F.trim(F.regexp_replace(column, r"(?U)\s+", " ")))


_ATTRIBUTE = ["product_id", "attribute"]


class ImportCounts(NamedTuple):
    """Counts of new labels, and of labels that a later correction replaces already."""

    new: int
    outdated: int


def record_corrections(
    tables: Tables, labels: pd.DataFrame, attribute_labels: AttributeLabels, note: str | None
) -> ImportCounts:
    """Append labels that differ from a product's last correction and are not older.

    At most one Delta commit.

    Args:
        labels: As `enrich.files.labels.read_labels` returns them, each with `by`. Labels without
            `at` count as given now.
        attribute_labels: The checkpoint's.
        note: Kept beside them, for people.

    Raises:
        ConfigError: the database has no corrections table.
    """
    tables.require("attribute_corrections")
    given = pa.Table.from_pandas(
        labels[["product_id", "attribute", "label", "by", "at"]],
        pa.schema(
            [(name, pa.string()) for name in ("product_id", "attribute", "label", "by")]
        ).append(pa.field("at", pa.timestamp("us", "UTC"))),
        preserve_index=False,
    )
    # Unknown labels count too, as NULL: a later correction replaces them, also for a checkpoint
    # that knows them.
    last = select_last_spelled(tables.read("attribute_corrections"), attribute_labels).select(
        *_ATTRIBUTE, F.col("label").alias("last_label"), F.col("corrected_at").alias("last_at")
    )
    now = F.lit(datetime.now(UTC))
    # Later than a correction with a date in the future, by a wrong clock or by hand.
    after_last = F.col("last_at") + F.expr("INTERVAL 1 MICROSECOND")
    different = (
        tables.spark.createDataFrame(given)
        .join(last, _ATTRIBUTE, "left")
        .where("NOT label <=> last_label")
        .withColumn("is_outdated", F.coalesce(F.col("at") <= F.col("last_at"), F.lit(False)))
        .withColumn("corrected_at", F.greatest(F.least(F.coalesce("at", now), now), after_last))
        .persist()
    )
    try:
        new = different.where("NOT is_outdated").select(
            *_ATTRIBUTE,
            "label",
            F.col("by").alias("corrected_by"),
            "corrected_at",
            F.lit(note).cast("string").alias("note"),
        )
        found = Counter(row[0] for row in different.select("is_outdated").collect())
        if found[False]:
            tables.append("attribute_corrections", new.coalesce(1), "import_corrections")
        return ImportCounts(found[False], found[True])
    finally:
        different.unpersist()


def find_unpublished(tables: Tables, product_ids: Sequence[str]) -> list[str]:
    """Return the products without a row in `product_attributes`, in order; one action."""
    asked = tables.spark.createDataFrame([(one,) for one in product_ids], "product_id STRING")
    missing = asked.join(tables.read("product_attributes"), "product_id", "left_anti")
    return [row["product_id"] for row in missing.orderBy("product_id").collect()]


def read_last_labels(tables: Tables, attribute_labels: AttributeLabels) -> DataFrame:
    """Return product_id and, for each attribute, the last label that people set.

    Lazy.

    Raises:
        ConfigError: the database has no corrections table.
    """
    tables.require("attribute_corrections")
    known = select_known(tables.read("attribute_corrections"), attribute_labels)
    last = select_last(known).where(F.col("label").isNotNull())
    return last.groupBy("product_id").agg(
        *(F.max(F.when(F.col("attribute") == a, F.col("label"))).alias(a) for a in attribute_labels)
    )
