"""Which rows of a run go to quarantine, and why; and how they leave it."""

from collections.abc import Mapping
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from schemas.tables import Reason

from enrich.records import Status
from enrich.spark.inference.key import is_answered
from enrich.spark.survey import (
    ASKED,
    BROKEN,
    INPUT_FIELDS,
    SAME_PRODUCT,
    State,
    Survey,
    is_of_checkpoint,
)
from enrich.spark.tables.output_tables import OutputTables

_UNREADABLE = (Reason.NO_MODALITY, Reason.POISON)
_SAME_FINDING = [*SAME_PRODUCT, "reason"]


def select_known_unreadable(quarantine: DataFrame) -> DataFrame:
    """Returns product_id and content_hash of what could not be read, and `store_failed`.

    Runs on the driver; lazy. While these products are as they are, it would not help to try them
    again; unless the store of their image had failed, which may answer now.
    """
    unreadable = quarantine.where(F.col("reason").isin(*_UNREADABLE))
    store_failed = _has_store_failed("error").alias("store_failed")
    return unreadable.select(*SAME_PRODUCT, store_failed)


def release_unreadable(tables: OutputTables, run_id: str) -> None:
    """Takes out of quarantine what a run could not read: its pictures may be put right by now.

    Where images are known by their paths, a picture that was put right changes no hash, so nothing
    else would have it tried again. Runs on the driver; a small query, and a Delta commit if there
    is anything.
    """
    own = tables.read_rows("quarantine", run_id)
    is_unreadable = F.col("reason").isin(*_UNREADABLE)
    if not own.where(is_unreadable).isEmpty():
        tables.replace_run("quarantine", own.where(~is_unreadable), run_id)


def release_read(tables: OutputTables, staged: DataFrame, model_version: str) -> None:
    """Takes out of quarantine what a run has read and other runs of its checkpoint could not.

    Else such a product would not be asked about when, after another text or image, it is again as
    it was. Runs on the driver; a small query, and a Delta commit for each run that has such rows.

    Args:
        tables: The output tables.
        staged: The run's staged rows.
        model_version: The run's.
    """
    is_unreadable = F.col("reason").isin(*_UNREADABLE) & is_of_checkpoint(model_version)
    found = tables.read("quarantine").where(is_unreadable)
    read = found.join(staged.where(is_answered()), SAME_PRODUCT, "left_semi")
    for row in read.select("run_id").distinct().collect():
        own = tables.read_rows("quarantine", row["run_id"])
        kept = own.join(read.select(*_SAME_FINDING), _SAME_FINDING, "left_anti")
        tables.replace_run("quarantine", kept.select(*own.columns), row["run_id"])


def quarantine_unusable(
    tables: OutputTables, survey: Survey, staged: DataFrame, lineage: Mapping[str, Any]
) -> None:
    """Puts away the rows of a run that are broken or unreadable, each once.

    Runs on the driver; a query, and a Delta commit if there is anything new.

    Args:
        tables: The output tables.
        survey: All rows of the product table with their state.
        staged: The run's staged rows.
        lineage: The run's `model_version`, `run_id` and `run_date`.
    """
    run_id = lineage["run_id"]
    quarantine, is_own = tables.read("quarantine"), F.col("run_id") == run_id
    before, own = quarantine.where(~is_own), quarantine.where(is_own)
    new = select_new_quarantine(survey, staged, before, lineage["model_version"])
    new = new.select("*", *(F.lit(value).alias(name) for name, value in lineage.items()))
    kept = _select_still_quarantined(survey, own, new)
    # Put there by an earlier attempt at this run, and not to stay as it is: found anew, or no more.
    stale = own.join(survey.select(State.QUARANTINED), SAME_PRODUCT, "left_anti")
    if not new.select("reason").union(stale.select("reason")).isEmpty():
        tables.replace_run("quarantine", new.unionByName(kept), run_id)


def quarantine_blocked(tables: OutputTables, staged: DataFrame, row: dict[str, Any]) -> None:
    """Quarantines the unreadable rows of a run that was blocked before it could.

    Runs on the driver. Else these alone would be new to the next run, which would stop at them.
    """
    if row["pending"] == row["enriched"]:
        return
    quarantine = tables.read("quarantine")
    names = [F.lit(row[name]).alias(name) for name in ("model_version", "run_id", "run_date")]
    texts = [F.lit(None).cast("string").alias(field) for field in INPUT_FIELDS]
    new = _without_known(_select_unreadable(staged), quarantine, row["model_version"])
    new = new.select("*", *texts, *names)
    if not new.isEmpty():
        # What an earlier attempt put there stays.
        own = tables.read_rows("quarantine", row["run_id"]).select(*new.columns)
        tables.replace_run("quarantine", own.unionByName(new), row["run_id"])


def select_new_quarantine(
    survey: Survey, staged: DataFrame, before: DataFrame, model_version: str
) -> DataFrame:
    """Returns the rows that are broken or unreadable, and that no run put away yet.

    Runs on the driver; lazy. What is broken is found anew in every run, and what an earlier run put
    into quarantine stays that run's.

    Args:
        survey: All rows of the product table with their state.
        staged: This run's staged rows.
        before: The quarantine of other runs.
        model_version: The run's. What another checkpoint could not read is found anew by this one.
    """
    unusable = _unreadable(survey, staged).unionByName(_broken(survey))
    return _without_known(unusable, before, model_version)


def _select_still_quarantined(survey: Survey, own: DataFrame, new: DataFrame) -> DataFrame:
    """Returns what an earlier attempt at this run put away and this one did not try again.

    Runs on the driver; lazy.
    """
    there = survey.select(State.QUARANTINED)
    kept = own.join(there, SAME_PRODUCT, "left_semi").select(*new.columns)
    return kept.join(new, _SAME_FINDING, "left_anti")


def _without_known(unusable: DataFrame, known: DataFrame, model_version: str) -> DataFrame:
    is_broken = F.col("reason").isin(*BROKEN)
    known = known.where(is_broken | is_of_checkpoint(model_version))
    same = [F.col(f"new.{c}").eqNullSafe(F.col(f"old.{c}")) for c in _SAME_FINDING]
    # It is another finding if the store had failed, and now answers with a broken image.
    same.append(_has_store_failed("new.error") == _has_store_failed("old.error"))
    return unusable.alias("new").join(known.alias("old"), same, "left_anti").select("new.*")


def _has_store_failed(error: str) -> Column:
    return F.coalesce(F.col(error).startswith(Status.IMAGE_UNREADABLE), F.lit(False))


def _unreadable(survey: Survey, staged: DataFrame) -> DataFrame:
    # Without duplicates, which may have the id and the content of the row that was kept.
    kept = survey.select(*ASKED, State.QUARANTINED)
    raw = kept.select(*SAME_PRODUCT, *INPUT_FIELDS)
    return _select_unreadable(staged).join(raw, SAME_PRODUCT)


def _select_unreadable(staged: DataFrame) -> DataFrame:
    error = F.concat_ws(": ", "status", "error").alias("error")
    has_crashed = F.col("status") == Status.WORKER_CRASHED
    reason = F.when(has_crashed, Reason.POISON).otherwise(Reason.NO_MODALITY)
    unread = staged.where(~is_answered())
    return unread.select(*SAME_PRODUCT, error, reason.alias("reason"))


def _broken(survey: Survey) -> DataFrame:
    return survey.select(*BROKEN).select(
        *SAME_PRODUCT,
        *INPUT_FIELDS,
        F.lit(None).cast("string").alias("error"),
        F.col("state").alias("reason"),
    )
