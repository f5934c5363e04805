"""The counts of a run, which add up: read = published + unchanged + quarantined + withheld."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from schemas.quoting import quote_part
from schemas.tables import IMAGE_PROBLEMS

from enrich.records import NO_IMAGE_PATH
from enrich.spark.inference.key import KEY, is_answered, is_same
from enrich.spark.survey import ASKED, BROKEN, PENDING, SAME_PRODUCT, STANDING, State, Survey
from enrich.spark.tables.output_tables import PublishedCounts

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


def count_standing(survey: Survey, own: DataFrame) -> dict[str, int]:
    """Returns which of the products that are left as they are the run itself has published.

    `own` are its published rows. Runs on the driver; one action.
    """
    published = survey.select(*STANDING).join(own, SAME_PRODUCT, "left_semi").count()
    return {"published": published, "unchanged": survey.count(*STANDING) - published}


class New(NamedTuple):
    """How many products the classifier was `asked` about for the first time, and has `answered`.

    `images` counts those that name an image, and `failed_images` those whose image could not be
    read. An image that was read, but had changed since the run began, has not failed.
    """

    asked: int
    answered: int
    images: int
    failed_images: int


class StagedCounts(NamedTuple):
    """The counts of a run that has staged. All answers are withheld, until they are published.

    `new` counts products that were asked about for the first time, and `pending` how many of the
    products that are pending by the survey have a staged row.
    """

    counts: dict[str, Any]
    new: New
    pending: int


def count_staged(
    survey: Survey, staged: DataFrame, attributes: Sequence[str], *, is_resumed: bool
) -> StagedCounts:
    """Counts what a run has staged.

    Runs on the driver; one action, two for a run that is resumed and has staged rows.
    """
    of_new = _select_new(F.col("wanted.state") == State.NEW)
    has_none = {a: F.col(f"staged.{quote_part(a)}").isNull() for a in attributes}
    wanted = survey.select(*PENDING).select(*KEY, "state")
    numbers = (
        staged.alias("staged")
        .join(wanted.alias("wanted"), is_same("staged", "wanted"), "left")
        .agg(
            F.count("*").alias("staged"),
            F.count("wanted.state").alias("wanted"),
            F.count_if(is_answered()).alias("answered"),
            F.count_if("is_carried").alias("carried"),
            *(F.count_if(is_answered() & no).alias(f"no {a}") for a, no in has_none.items()),
            *(F.count_if(is_one).alias(f"new {name}") for name, is_one in of_new.items()),
        )
        .collect()[0]
    )
    unchanged = survey.count(*STANDING)
    if is_resumed and numbers["staged"]:
        # What an earlier attempt at this run has published counts as answered, not as unchanged.
        unchanged -= survey.select(*STANDING).join(staged, SAME_PRODUCT, "left_semi").count()
    counts = count_surveyed(survey) | {
        "pending": numbers["staged"],
        "carried": numbers["carried"],
        "enriched": numbers["answered"],
        "unchanged": unchanged,
        "quarantined": survey.read - unchanged - numbers["answered"],
        "withheld": numbers["answered"],
        "abstained": {a: numbers[f"no {a}"] for a in attributes},
    }
    new = New(**{name: numbers[f"new {name}"] for name in of_new})
    return StagedCounts(counts, new, numbers["wanted"])


def count_left(counts: Mapping[str, Any]) -> int:
    """Returns how many products a run has left as they were published.

    Not `unchanged`: there the run may have counted answers that it found published.
    """
    return int(counts["read"] - counts["quarantined"] - counts["enriched"])


def count_fates(counts: Mapping[str, Any], answers: PublishedCounts) -> dict[str, int]:
    """Returns what becomes of a run's usable products, by how its answers stand.

    `answers` may lack some, of products that are not brought back: they are withheld too.
    """
    return {
        "published": answers.published,
        "unchanged": count_left(counts) + answers.unchanged,
        "withheld": counts["enriched"] - answers.published - answers.unchanged,
    }


def _select_new(is_new: Column) -> dict[str, Column]:
    """Returns which staged rows each of the numbers of `New` counts."""
    names_image = is_new & F.coalesce(F.col("error") != NO_IMAGE_PATH, F.lit(True))
    # An image that was read may have such a status too: it had changed since the run began.
    was_read = F.coalesce(F.col("modalities").startswith("image"), F.lit(False))
    return {
        "asked": is_new,
        "answered": is_new & is_answered(),
        "images": names_image,
        "failed_images": names_image & F.col("status").isin(*IMAGE_PROBLEMS) & ~was_read,
    }


def count_nothing_new(survey: Survey, staged: DataFrame, published: DataFrame) -> dict[str, Any]:
    """Returns the counts of a run that is done already.

    Products that are pending all the same are quarantined if they could not be read; withheld if
    they are not published, because a newer run has read a product table without them; and else
    unchanged. Runs on the driver; two actions if there are any.
    """
    counts = count_surveyed(survey)
    unreadable = withheld = 0
    if survey.count(*ASKED):
        to_ask, tried = survey.select(*ASKED), staged.where(~is_answered())
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
