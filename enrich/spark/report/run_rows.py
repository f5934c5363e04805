"""The rows of one run as its page sees them: each answer beside the label published before it."""

from collections.abc import Sequence

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from schemas.labels import ABSTAINED
from schemas.quoting import quote_part

from enrich.spark.corrections import corrected_label, entry_of, own_label


def select_run_rows(
    staged: DataFrame, corrections: DataFrame, before: DataFrame, attributes: Sequence[str]
) -> DataFrame:
    """Returns a run's rows with an array `answers`, one entry an attribute.

    Runs on the driver; lazy. An answer has `attribute`, `label` (as published, ABSTAINED for none),
    `is_corrected`, `candidates`, `confidence`, `abstained`, `image_weight` and `old`: the label
    published before, ABSTAINED for none, NULL for a product that had not been published.
    `is_changed` is NULL where none had been.

    Args:
        staged: The run's rows in `staged_attributes`.
        corrections: What `select_corrections` returns.
        before: The published table before the run.
        attributes: The checkpoint's.
    """
    labels = F.map_from_arrays(
        F.array(*map(F.lit, attributes)), F.array(*(published_label(a) for a in attributes))
    )
    # First those of the run's products: on most nights few, and the table need not be sorted.
    before = before.join(staged.select("product_id"), "product_id", "left_semi")
    joined = staged.join(corrections, "product_id", "left").join(
        before.select("product_id", labels.alias("labels_before")), "product_id", "left"
    )
    answers = joined.select(
        "product_id",
        "product_category",
        "status",
        "modalities",
        "error",
        F.transform("predictions", _answer).alias("answers"),
    )
    is_changed = F.exists("answers", lambda answer: answer["old"] != answer["label"])
    had_been = F.exists("answers", lambda answer: answer["old"].isNotNull())
    return answers.withColumn("is_changed", F.when(had_been, F.coalesce(is_changed, F.lit(False))))


def published_label(attribute: str) -> Column:
    """Returns a published row's label, ABSTAINED for none, NULL in rows older than the attribute.

    Such rows have no confidence in it.
    """
    is_answered = F.col(quote_part(f"{attribute}_confidence")).isNotNull()
    return F.when(is_answered, F.coalesce(F.col(quote_part(attribute)), F.lit(ABSTAINED)))


def _answer(prediction: Column) -> Column:
    correction = entry_of("corrections", prediction["attribute"])
    label = corrected_label(correction, own_label(prediction))
    best = F.struct(
        prediction["label"].alias("label"), prediction["confidence"].alias("confidence")
    )
    return F.struct(
        prediction["attribute"].alias("attribute"),
        F.coalesce(label, F.lit(ABSTAINED)).alias("label"),
        correction.isNotNull().alias("is_corrected"),
        F.concat(F.array(best), prediction["alternatives"]).alias("candidates"),
        prediction["confidence"].alias("confidence"),
        prediction["abstained"].alias("abstained"),
        prediction["image_weight"].alias("image_weight"),
        F.element_at("labels_before", prediction["attribute"]).alias("old"),
    )
