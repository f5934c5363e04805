"""What people said about attributes, laid over what the classifier said.

A person's label replaces the classifier's in the published row. What the classifier said stays in
`predictions`, so a correction that is withdrawn leaves no trace.
"""

from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from schemas.quoting import quote_part
from schemas.tables import CORRECTIONS

from enrich.text import spell_without_case

AttributeLabels = Mapping[str, Sequence[str]]


def select_corrections(table: DataFrame, attribute_labels: AttributeLabels) -> DataFrame:
    """Returns one row (product_id, corrections) for every product that a person corrected.

    Runs on the driver; lazy. Corrections of attributes, or to labels, that the checkpoint does not
    know are left out.
    """
    entry = F.struct("attribute", "label", "corrected_by")
    return (
        select_last(select_known(table, attribute_labels))
        .groupBy("product_id")
        .agg(F.array_sort(F.collect_list(entry)).cast(CORRECTIONS).alias("corrections"))
    )


def select_last(table: DataFrame) -> DataFrame:
    """Returns the last correction of each attribute of each product.

    Runs on the driver; lazy.
    """
    newest_first = [F.col("corrected_at").desc(), F.col("label").asc_nulls_last()]
    window = Window.partitionBy("product_id", "attribute").orderBy(*newest_first)
    placed = table.withColumn("place", F.row_number().over(window))
    return placed.where(F.col("place") == 1).drop("place")


def select_known(table: DataFrame, attribute_labels: AttributeLabels) -> DataFrame:
    """Returns the corrections that the checkpoint knows, in its spelling.

    Runs on the driver; lazy.
    """
    return _with_spelling(table, attribute_labels).where("is_known").drop("is_known")


def select_last_spelled(table: DataFrame, attribute_labels: AttributeLabels) -> DataFrame:
    """Returns the last correction of each attribute of each product, in the checkpoint's spelling.

    Runs on the driver; lazy. Of one that the checkpoint does not know the label is NULL, and
    `is_known` false.
    """
    return select_last(_with_spelling(table, attribute_labels))


def count_unknown(table: DataFrame, attribute_labels: AttributeLabels) -> int:
    """Returns how many corrections name what the checkpoint does not know.

    Only the last correction of a product's attribute is looked at: the table also keeps mistakes
    that people have put right since. Runs on the driver; one action.
    """
    return select_last_spelled(table, attribute_labels).where("NOT is_known").count()


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
    labels = {
        a: corrected_label(entry_of("corrections", a), F.col(quote_part(a))) for a in attributes
    }
    return joined.withColumns(labels)


def with_own_labels(rows: DataFrame, attributes: Sequence[str]) -> DataFrame:
    """Returns rows with the classifier's own labels, as they were before any correction.

    Runs on the driver; lazy.
    """
    return rows.withColumns({a: own_label(entry_of("predictions", a)) for a in attributes})


def entry_of(column: str, attribute: str | Column) -> Column:
    """Returns the one entry of an array of structs that speaks of the attribute, else NULL."""
    return F.get(F.filter(column, lambda entry: entry["attribute"] == attribute), F.lit(0))


def own_label(prediction: Column) -> Column:
    """Returns the classifier's label of an entry of `predictions`, NULL where it abstained."""
    return F.when(~prediction["abstained"], prediction["label"])


def corrected_label(correction: Column, own: Column) -> Column:
    """Returns a person's label, NULL if that says that none fits; without a correction `own`.

    `correction` is an entry of `corrections`, or NULL.
    """
    return F.when(correction.isNotNull(), correction["label"]).otherwise(own)


def _with_spelling(table: DataFrame, attribute_labels: AttributeLabels) -> DataFrame:
    """Returns attributes and labels in the checkpoint's spelling, and whether it knows both.

    Blanks around a name do not count, nor do capitals unless two names differ in nothing else. An
    unknown attribute keeps its own name.
    """
    label = F.lit(None)
    for attribute, labels in attribute_labels.items():
        label = F.when(F.col("attribute") == attribute, _spell("label", labels)).otherwise(label)
    is_label = F.col("label").isNull() | label.isNotNull()
    spelled = table.withColumn(
        "attribute", F.coalesce(_spell("attribute", attribute_labels), "attribute")
    )
    is_known = F.col("attribute").isin(list(attribute_labels)) & is_label
    return spelled.withColumns({"is_known": is_known, "label": label})


def _spell(column: str, names: Iterable[str]) -> Column:
    """Returns which of the names is meant, NULL if none is."""
    names = list(names)
    pairs = [F.lit(word) for pair in spell_without_case(names).items() for word in pair]
    return F.when(F.col(column).isin(names), F.col(column)).otherwise(
        F.try_element_at(F.create_map(*pairs), _fold(column))
    )


def _fold(column: str) -> Column:
    """Returns a text as `enrich.text.fold_label` does, in small letters, but for NFC.

    Spark has no NFC. White space is Unicode's: a label that is pasted may end in a no-break space.
    """
    return F.lower(F.trim(F.regexp_replace(column, r"(?U)\s+", " ")))
