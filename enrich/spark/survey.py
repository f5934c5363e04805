"""Finds out what a run has to do: every product's state, against what is published already.

The survey is written once, to a scratch folder, because it reads every image and everything after
it asks for it several times. It also keeps the Python nodes apart: the staged write has one.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum

from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

INPUT_FIELDS = ("title", "description", "image_path")


class State(StrEnum):
    """Where a row of the product table stands at the start of a run."""

    PENDING = "pending"
    UNCHANGED = "unchanged"
    QUARANTINED = "quarantined"  # by an earlier run, and the product is as it was
    NULL_ID = "null_id"
    DUPLICATE_ID = "duplicate_id"


@dataclass(frozen=True, slots=True)
class Survey:
    """All rows with their content_hash and state; `fingerprint` is of all of them, in any order."""

    rows: DataFrame
    counts: dict[State, int]
    fingerprint: str

    @property
    def read(self) -> int:
        """How many rows the product table had."""
        return sum(self.counts.values())

    @property
    def pending(self) -> DataFrame:
        """The products that the classifier is asked about."""
        return self.rows.where(F.col("state") == State.PENDING)

    @property
    def broken(self) -> DataFrame:
        """The rows without a usable key."""
        return self.rows.where(F.col("state").isin(State.NULL_ID, State.DUPLICATE_ID))


def survey_products(
    hashed: DataFrame, published: DataFrame, quarantined: DataFrame, scratch: str
) -> Survey:
    """Gives every row its state, writes them to `scratch` and counts.

    Runs on the driver; one pass over the products.

    Args:
        hashed: The products with `content_hash`.
        published: Rows (product_id, content_hash) that still hold for this model_version.
        quarantined: The same of products that could not be read.
        scratch: A folder that the caller removes.
    """
    same_product = ["product_id", "content_hash"]
    rows = (
        hashed.withColumn("place", _place_among_duplicates())
        .join(
            published.select(*same_product, F.lit(True).alias("is_published")), same_product, "left"
        )
        .join(
            quarantined.select(*same_product, F.lit(True).alias("is_quarantined")).distinct(),
            same_product,
            "left",
        )
        .withColumn("state", _state())
    )
    # The texts of products that nothing is to be done about stay where they are.
    kept = [
        F.when(F.col("state") != State.UNCHANGED, F.col(field)).alias(field)
        for field in INPUT_FIELDS
    ]
    rows.select("product_id", *kept, "content_hash", "state").write.parquet(scratch)
    return _read_survey(rows.sparkSession, scratch)


def _read_survey(spark: SparkSession, scratch: str) -> Survey:
    rows = spark.read.parquet(scratch)
    pair = F.xxhash64("product_id", "content_hash").cast("decimal(38,0)")
    by_state = rows.groupBy("state").agg(F.count("*").alias("rows"), F.sum(pair).alias("pairs"))
    found = by_state.collect()
    counts = dict.fromkeys(State, 0) | {State(row["state"]): row["rows"] for row in found}
    # Over all states: what is pending depends on earlier runs, the inputs do not.
    fingerprint = hashlib.sha256(str(sum(row["pairs"] for row in found)).encode()).hexdigest()
    return Survey(rows, counts, fingerprint[:8])


def _place_among_duplicates() -> Column:
    """Returns 1 for the row that is kept of those with one id, the same one every time."""
    order = [F.col(field).asc_nulls_last() for field in INPUT_FIELDS]
    return F.row_number().over(Window.partitionBy("product_id").orderBy(*order))


def _state() -> Column:
    return (
        F.when(F.col("product_id").isNull(), State.NULL_ID)
        .when(F.col("place") > 1, State.DUPLICATE_ID)
        .when(F.col("is_published"), State.UNCHANGED)
        .when(F.col("is_quarantined"), State.QUARANTINED)
        .otherwise(State.PENDING)
    )
