"""Finds out what a run has to do: every product's state, against what is published already.

The survey reads every image, and all that follows asks for it several times: so it is written to a
scratch folder once. That also keeps its Python UDF out of the plan that stages answers, which has
one of its own.
"""

import hashlib
import math
from dataclasses import dataclass
from enum import StrEnum

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from schemas.images import ImageSample
from schemas.tables import Reason

from enrich.images.store import IMAGES_TRIED, ImageStore, read_image_sample
from enrich.records import Status
from enrich.spark.settings import bytes_of
from enrich.spark.tables.scratch import write_aside
from enrich.spec import versions_of_checkpoint

INPUT_FIELDS = ("title", "description", "image_path")
# Rows that are alike in these are of one product, unchanged: the hash is of its text and image.
SAME_PRODUCT = ["product_id", "content_hash"]
# A megabyte of a product table is some thousand products, whose images take seconds to read.
_BYTES_PER_TASK = 1 << 20


class State(StrEnum):
    """Where a row of the product table stands at the start of a run."""

    NEW = "new"  # or changed, or answered by another checkpoint
    AGAIN = "again"  # asked about before, in vain: the store of its image had failed
    REVISED = "revised"  # the published answer holds, but not its category, corrections or labels
    UNCHANGED = "unchanged"
    OVERTAKEN = "overtaken"  # a run of a later date has published another answer, which stays
    QUARANTINED = "quarantined"  # by an earlier run, and the product is as it was
    NULL_ID = Reason.NULL_ID
    SURPLUS_FIELDS = Reason.SURPLUS_FIELDS  # of a CSV row: which of them is which nobody knows
    DUPLICATE_ID = Reason.DUPLICATE_ID
    VANISHED = "vanished"  # published, and no longer in the product table


# What the classifier is asked about.
ASKED = (State.NEW, State.AGAIN)
# Whose row the run writes: the ledger's `pending`.
PENDING = (*ASKED, State.REVISED)
# Whose published answers stay as they are.
STANDING = (State.UNCHANGED, State.OVERTAKEN)
# Rows that are of no use, whatever was found out earlier.
BROKEN = (State.NULL_ID, State.SURPLUS_FIELDS, State.DUPLICATE_ID)
USABLE = (*PENDING, *STANDING, State.QUARANTINED)


@dataclass(frozen=True, slots=True)
class Survey:
    """All rows with their content_hash and state, and the published rows that are gone.

    `fingerprint` is of all rows that were read, in any order. Of these `undecodable` counts those
    that hold bytes which are no UTF-8, and `lost_ids` those whose id cannot be told: each may be of
    a product that seems to have vanished. Runs on the driver.
    """

    rows: DataFrame
    counts: dict[State, int]
    fingerprint: str
    undecodable: int
    lost_ids: int

    @property
    def read(self) -> int:
        """How many rows the product table had."""
        return sum(self.counts.values()) - self.counts[State.VANISHED]

    def count(self, *states: State) -> int:
        """Returns how many rows are in one of the states."""
        return sum(self.counts[state] for state in states)

    def select(self, *states: State) -> DataFrame:
        """Returns the rows that are in one of the states."""
        return self.rows.where(F.col("state").isin(*states))


def with_states(
    hashed: DataFrame,
    published: DataFrame,
    corrections: DataFrame,
    quarantined: DataFrame,
    *,
    is_whole: bool,
) -> DataFrame:
    """Gives every row its `state`, beside what is published of its product.

    Runs on the driver; lazy.

    Args:
        hashed: The products with `content_hash`.
        published: The published rows with `is_of_this_checkpoint`, `is_of_this_version` (the same
            target precision as well) and `is_newer` (than this run).
        corrections: Rows (product_id, corrections) of what people set.
        quarantined: Rows (product_id, content_hash) that this checkpoint could not read, and
            `store_failed`, where an image's store may answer by now.
        is_whole: Whether `hashed` are all products, so that what it lacks has vanished.
    """
    return (
        hashed.withColumns({"place": _place_among_duplicates(), "is_read": F.lit(True)})
        .join(_prefixed(published), "product_id", "full" if is_whole else "left")
        # What a newer run published has not vanished from an older table.
        .where(F.col("is_read") | ~F.col("is_newer"))
        .join(corrections, "product_id", "left")
        .join(
            quarantined.groupBy(SAME_PRODUCT).agg(F.every("store_failed").alias("store_failed")),
            SAME_PRODUCT,
            "left",
        )
        .withColumn("state", _state())
        .withColumn("revision", F.xxhash64("product_category", "corrections"))
    )


def is_of_checkpoint(model_version: str) -> Column:
    """Tells whether a row is of the version's checkpoint, at whatever target precision.

    Runs on the driver; lazy.
    """
    return F.col("model_version").isin(*versions_of_checkpoint(model_version))


def spread(products: DataFrame) -> DataFrame:
    """Returns the products, dealt to one task for each megabyte if their files are too few.

    Runs on the driver; lazy. Spark reads a CSV file, or a Parquet file of one row group, in a
    single task, however many it plans for it, and that task would look for or read every image.
    """
    cores = products.sparkSession.sparkContext.defaultParallelism
    wanted = math.ceil(bytes_of(products) / _BYTES_PER_TASK)
    if wanted <= 1:
        return products
    # Of many files, too, there are few tasks where a limit has left few rows.
    tasks = min(len(products.inputFiles()), products.rdd.getNumPartitions())
    if tasks >= min(wanted, cores):
        return products
    return products.repartition(min(wanted, 4 * cores))


def survey_products(rows: DataFrame, scratch: str) -> Survey:
    """Writes the rows with their states to `scratch`, a folder that the caller removes, and counts.

    Runs on the driver; one pass over the products.
    """
    # Texts of products that nobody will ask about, nor quarantine, would only take space here.
    keeps_texts = ~F.col("state").isin(*STANDING, State.REVISED, State.VANISHED)
    kept = [F.when(keeps_texts, F.col(field)).alias(field) for field in INPUT_FIELDS]
    key = ("product_id", "product_category", "priority")
    found = ("content_hash", "revision", "has_replaced_bytes", "state")
    surveyed = rows.select(*key, *kept, *found)
    written = write_aside(surveyed, scratch)
    return take_survey(written)


def try_images(store: ImageStore, products: DataFrame) -> ImageSample:
    """Tries to read a sample of the products' images, the same ones for the same products.

    Runs on the driver; one action.
    """
    # White space of any kind is no path, as to the image store; SQL's `trim` only knows the space.
    is_given = F.col("image_path").rlike(r"(?U)\S")
    shuffled = products.where(is_given).orderBy(F.xxhash64("product_id"))
    chosen = shuffled.limit(IMAGES_TRIED).select("image_path").collect()
    return read_image_sample(store, [row["image_path"] for row in chosen])


def _prefixed(published: DataFrame) -> DataFrame:
    told_apart = ("content_hash", "product_category", "corrections")
    renamed = [F.col(name).alias(f"published_{name}") for name in (*told_apart, "status")]
    flags = ("is_of_this_checkpoint", "is_of_this_version", "is_newer")
    return published.select("product_id", *flags, *renamed)


def take_survey(rows: DataFrame) -> Survey:
    """Returns the survey of rows with their states. Runs on the driver; one action."""
    row = F.xxhash64("product_id", "content_hash", "revision").cast("decimal(38,0)")
    by_state = rows.groupBy("state").agg(
        F.count("*").alias("rows"),
        F.sum(row).alias("digests"),
        F.count_if("has_replaced_bytes").alias("undecodable"),
    )
    states = by_state.collect()
    counts = dict.fromkeys(State, 0) | {State(row["state"]): row["rows"] for row in states}
    # Whatever their state: it depends on earlier runs, and the fingerprint is of the inputs alone.
    read = sum(row["digests"] for row in states if row["state"] != State.VANISHED)
    fingerprint = hashlib.sha256(str(read).encode()).hexdigest()[:8]
    undecodable = {row["state"]: row["undecodable"] for row in states}
    lost_ids = counts[State.SURPLUS_FIELDS] + undecodable.get(State.NULL_ID, 0)
    return Survey(rows, counts, fingerprint, sum(undecodable.values()), lost_ids)


def select_kept(products: DataFrame) -> DataFrame:
    """Returns of the rows with one id the one that a run enriches. Runs on the driver; lazy."""
    return products.withColumn("place", _place_among_duplicates()).where(F.col("place") == 1)


def _place_among_duplicates() -> Column:
    """Returns 1 for the row that is kept of those with one id, the same one every time."""
    return F.row_number().over(Window.partitionBy("product_id").orderBy(*order_of_duplicates()))


def order_of_duplicates() -> list[Column]:
    """Returns by what rows with one id are ordered: the first one is kept."""
    fields = (*INPUT_FIELDS, "product_category", "priority")
    return [F.col("has_surplus_fields"), *(F.col(field).asc_nulls_last() for field in fields)]


def _state() -> Column:
    is_published = F.col("is_of_this_checkpoint") & (
        F.col("content_hash") == F.col("published_content_hash")
    )
    # The store did not answer then; its image may be there now.
    answer_holds = is_published & (F.col("published_status") != Status.IMAGE_UNREADABLE)
    is_as_published = F.col("is_of_this_version")
    for name in ("product_category", "corrections"):
        is_as_published &= F.col(name).eqNullSafe(F.col(f"published_{name}"))
    return (
        F.when(F.col("is_read").isNull(), State.VANISHED)
        # Before the next: where fields are shifted, the one that is read as the id may be empty.
        .when(F.col("has_surplus_fields"), State.SURPLUS_FIELDS)
        .when(F.col("product_id").isNull(), State.NULL_ID)
        .when(F.col("place") > 1, State.DUPLICATE_ID)
        .when(answer_holds & is_as_published, State.UNCHANGED)
        .when(F.col("is_newer"), State.OVERTAKEN)
        .when(answer_holds, State.REVISED)
        .when(~F.col("store_failed"), State.QUARANTINED)
        .when(is_published | F.col("store_failed"), State.AGAIN)
        .otherwise(State.NEW)
    )
