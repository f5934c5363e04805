"""What a run would do, and about how long it would take; writes nothing.

Reads what a survey reads, images included. What only the classifier finds out, such as products of
which neither image nor text can be read, it does not know.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from schemas.tables import Outcome

from enrich.spark.counting import COUNTS, count_surveyed
from enrich.spark.guards import explain_cut_off
from enrich.spark.inference.reuse import may_reuse, select_cut_off, select_lasting
from enrich.spark.inputs import Inputs, count_to_delete
from enrich.spark.records import products_per_second
from enrich.spark.source import refuse_replaced
from enrich.spark.survey import (
    ASKED,
    BROKEN,
    SAME_PRODUCT,
    State,
    Survey,
    take_survey,
    try_images,
)

_RUNS_READ = 50
_LOOKED_AT = (
    "product_id",
    "content_hash",
    "image_path",
    "revision",
    "has_replaced_bytes",
    "state",
    "why",
)
# Counts that nobody knows before the classifier has answered.
_UNKNOWN = ("enriched", "published", "withheld")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do; becomes the last line on standard output.

    `counts` are as in a run's summary, `reasons` says why products are pending or quarantined.
    `staged` is how many of the pending this very run has staged already, or runs that were cut off.
    `expected_seconds` is None where no earlier run tells; `expected_from` is the run that does.
    `images` is the `ImageSample` of what is new to this checkpoint. `error` is what would stop the
    run.
    """

    run_id: str
    counts: dict[str, int]
    reasons: dict[str, dict[str, int]]
    staged: int
    images: dict[str, Any]
    error: str | None
    expected_seconds: float | None
    expected_from: dict[str, Any] | None
    seconds: dict[str, float]
    model_version: str
    outcome: str = "dry_run"


def plan_refresh(inputs: Inputs) -> Plan:
    """Finds out what a refresh would do.

    Runs on the driver; one pass over the products, and small queries.

    Raises:
        NoAnswer: the product table was replaced meanwhile.
    """
    begin = time.perf_counter()
    read = inputs.tables.read_as_updated
    rows = inputs.select_states(read).withColumn("why", _why()).select(*_LOOKED_AT)
    # Kept: it is asked for several times, and each time all images would be read again.
    rows = rows.persist(StorageLevel.DISK_ONLY)
    try:
        survey = take_survey(rows)
        reasons = _count_reasons(survey)
        run_id = inputs.name_run(survey.fingerprint)
        staged = _count_staged(inputs, survey, run_id)
        images = try_images(inputs.store, survey.select(State.NEW))
    finally:
        rows.unpersist()
    refuse_replaced(inputs.catalog)
    survey_s = round(time.perf_counter() - begin, 2)
    gone = inputs.count_gone(survey)
    # Why the run would stop before it asks about any product.
    error = explain_cut_off(inputs, survey, gone)
    surveyed = count_surveyed(survey) | {"deleted": 0 if error else count_to_delete(survey, gone)}
    counts = {name: surveyed[name] for name in COUNTS if name not in _UNKNOWN}
    asked = max(0, survey.count(*ASKED) - staged)
    like = _find_like(_read_runs(read("enrichment_runs")), asked, inputs.spec.model_version)
    has_work = counts["pending"] + counts["deleted"] > 0
    return Plan(
        run_id=run_id,
        counts=counts,
        reasons=reasons,
        staged=staged,
        images=images._asdict(),
        error=error,
        expected_seconds=_expect(survey_s, like, asked) if has_work else survey_s,
        expected_from=_describe(like) if like and has_work else None,
        seconds={"survey": survey_s},
        model_version=inputs.spec.model_version,
    )


def _count_staged(inputs: Inputs, survey: Survey, run_id: str) -> int:
    """Returns how many of the products are staged, by this run or by runs that were cut off.

    Runs on the driver; one action.
    """
    read, model_version = inputs.tables.read_as_updated, inputs.spec.model_version
    found = select_lasting(read, inputs, run_id).select(SAME_PRODUCT)
    if may_reuse(inputs, survey.count(*ASKED)):
        found = found.union(select_cut_off(read, run_id, model_version).select(SAME_PRODUCT))
    return survey.select(*ASKED).join(found, SAME_PRODUCT, "left_semi").count()


def _why() -> Column:
    """Returns why a product is pending."""
    is_other = F.col("content_hash") != F.col("published_content_hash")
    return (
        # First: of what could not be read at all, nothing or something older is published.
        F.when(F.col("state") == State.AGAIN, "image_unreadable")
        .when(F.col("published_content_hash").isNull(), "new")
        .when(is_other, "changed")
        .otherwise("other_model_or_full_refresh")
    )


def _count_reasons(survey: Survey) -> dict[str, dict[str, int]]:
    """Runs on the driver; one action."""
    asked = survey.select(*ASKED).groupBy("why").count().collect()
    pending = {row["why"]: row["count"] for row in asked}
    pending["carried"] = survey.count(State.REVISED)
    # An earlier run could not read these, and they are as they were.
    quarantined = {"unreadable_before": survey.count(State.QUARANTINED)}
    quarantined |= {str(state): survey.count(state) for state in BROKEN}
    found = {"pending": pending, "quarantined": quarantined}
    return {what: {why: n for why, n in counts.items() if n} for what, counts in found.items()}


def _read_runs(ledger: DataFrame) -> list[dict[str, Any]]:
    """Returns the newest runs that asked the classifier and got to an end, newest first.

    Runs on the driver; one action.
    """
    ended = ledger.where((F.col("outcome") != Outcome.FAILED) & (F.col("seconds")["inference"] > 0))
    # An older version wrote no `asked`. Its `pending` is what all attempts at a run had staged.
    asked = F.coalesce("asked", F.col("pending") - F.coalesce("carried", F.lit(0)))
    runs = ended.withColumn("asked", asked).where(F.col("asked") > 0)
    newest = runs.orderBy(F.col("started_at").desc()).limit(_RUNS_READ)
    names = ("run_id", "model_version", "asked", "seconds")
    return [row.asDict(recursive=True) for row in newest.select(*names).collect()]


def _find_like(
    runs: Sequence[dict[str, Any]], asked: int, model_version: str
) -> dict[str, Any] | None:
    """Returns the run that is nearest in size, of the same model if there is one.

    Of another size the speed would be another: loading the model takes most of a small run's time.
    """
    same_model = [run for run in runs if run["model_version"] == model_version]
    return min(
        same_model or runs,
        key=lambda run: abs(math.log(run["asked"] / max(1, asked))),
        default=None,
    )


def _expect(survey_s: float, like: Mapping[str, Any] | None, asked: int) -> float | None:
    """Returns the seconds of the run: inference in proportion, all else as in the run `like` it."""
    if like is None:
        return None
    seconds = dict(like["seconds"])
    inference_s = seconds.pop("inference") * asked / like["asked"]
    seconds.pop("survey", None)
    return round(survey_s + inference_s + sum(seconds.values()), 1)


def _describe(like: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "run_id": like["run_id"],
        "model_version": like["model_version"],
        "products": like["asked"],
        "products_per_second": products_per_second(like["asked"], like["seconds"]),
    }
