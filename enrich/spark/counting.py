"""The counts of a run, which add up: read = published + unchanged + quarantined + withheld."""

from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from schemas.quoting import quote_part

from enrich.records import NO_IMAGE_PATH
from enrich.spark.survey import ASKED, BROKEN, PENDING, SAME_PRODUCT, STANDING, State, Survey

# In the order of a product's way; the ledger has a column for each.
COUNTS = (
    "read",
    "pending",
    "carried",
    "enriched",
    "published",
    "unchanged",
    "quarantined",
    "withheld",
    "vanished",
    "deleted",
)


def count_surveyed(survey: Survey) -> dict[str, Any]:
    """Returns the counts before any answer: all that is pending is withheld.

    Runs on the driver.
    """
    pending = survey.count(*PENDING)
    return {
        "read": survey.read,
        "pending": pending,
        "carried": survey.count(State.REVISED),
        "enriched": 0,
        "published": 0,
        "unchanged": survey.count(*STANDING),
        "quarantined": survey.count(State.QUARANTINED, *BROKEN),
        "withheld": pending,
        "vanished": survey.count(State.VANISHED),
        "deleted": 0,
        "abstained": {},
    }


def count_staged(
    survey: Survey, staged: DataFrame, attributes: Sequence[str], *, is_resumed: bool
) -> dict[str, Any]:
    """Returns the counts of staged rows: those with an answer are withheld, until published.

    Runs on the driver; one action, two for a run that is resumed and has staged rows.
    """
    abstained = [
        F.count_if(F.col("modalities").isNotNull() & F.col(quote_part(a)).isNull()).alias(f"no {a}")
        for a in attributes
    ]
    found = staged.agg(
        F.count("*").alias("staged"),
        F.count("modalities").alias("answered"),
        F.count_if("is_carried").alias("carried"),
        *abstained,
    ).collect()[0]
    unchanged = survey.count(*STANDING)
    if is_resumed and found["staged"]:
        # An earlier attempt at this run may have merged its rows.
        unchanged -= survey.select(*STANDING).join(staged, SAME_PRODUCT, "left_semi").count()
    return count_surveyed(survey) | {
        "pending": found["staged"],
        "carried": found["carried"],
        "enriched": found["answered"],
        "unchanged": unchanged,
        "quarantined": survey.read - unchanged - found["answered"],
        "withheld": found["answered"],
        "abstained": {a: found[f"no {a}"] for a in attributes},
    }


def count_failed_images(staged: DataFrame) -> tuple[int, int]:
    """Returns how many images could not be read, and of how many products that name one.

    Runs on the driver; one action. The images of the answers that were carried over were not asked
    for in this run. One that was read, and had changed since the run began, did not fail.
    """
    is_named = F.coalesce(F.col("error") != NO_IMAGE_PATH, F.lit(True))
    was_read = F.coalesce(F.col("modalities").startswith("image"), F.lit(False))
    is_failed = F.col("status").startswith("image_") & ~was_read
    asked = staged.where(is_named & F.col("is_carried").isNull())
    failed, named = asked.agg(F.count_if(is_failed), F.count("*")).collect()[0]
    return failed, named


def count_nothing_new(survey: Survey, staged: DataFrame, published: DataFrame) -> dict[str, Any]:
    """Returns the counts of a run that is done already.

    Runs on the driver; two actions if products are pending: those that could not be read, and those
    that are not brought back because a newer run has seen a product table without them.
    """
    counts = count_surveyed(survey)
    unreadable = withheld = 0
    if survey.count(*ASKED):
        to_ask, tried = survey.select(*ASKED), staged.where(F.col("modalities").isNull())
        unreadable = to_ask.join(tried, SAME_PRODUCT, "left_semi").count()
        answered = to_ask.join(tried, SAME_PRODUCT, "left_anti")
        withheld = answered.join(published, "product_id", "left_anti").count()
    quarantined = counts["quarantined"] + unreadable
    return counts | {
        "pending": 0,
        "unchanged": survey.read - quarantined - withheld,
        "quarantined": quarantined,
        "withheld": withheld,
    }
