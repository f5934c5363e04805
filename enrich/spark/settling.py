"""What becomes of a run that waits, by a person's word: its rows are published, or dropped.

Knows nothing of images or classifiers.
"""

import time
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from schemas.tables import SUCCEEDED, Outcome

from enrich.config import JobConfig
from enrich.errors import ConfigError, NothingPublished
from enrich.settlement import Settlement
from enrich.spark.corrections import AttributeLabels
from enrich.spark.counting import COUNTS, count_fates, count_left
from enrich.spark.ledger import find_run, has_newer_run, refuse_untold, write_run
from enrich.spark.publishing import (
    delete_gone,
    is_behind,
    read_attempt,
    select_answered,
    select_publishable,
)
from enrich.spark.quarantine import quarantine_blocked, release_read, release_unreadable
from enrich.spark.records import Attempt, RunSummary, has_passed_gate, products_per_second
from enrich.spark.survey import SAME_PRODUCT
from enrich.spark.tables.history import count_deleted, read_standing
from enrich.spark.tables.output_tables import OutputTables, open_published
from enrich.spark.tables.scratch import scratch_folder
from enrich.spark.vanished import find_vanished


@dataclass(frozen=True, slots=True)
class Settled:
    """What has become of a run: its summary, and what kept it from being published.

    `row` is the ledger's as it was before.
    """

    row: dict[str, Any]
    summary: RunSummary
    error: NothingPublished | None = None

    @property
    def settled_at(self) -> datetime | None:
        """When an earlier command had settled it, None where this one has."""
        return self.row["finished_at"] if self.summary == summarise(self.row) else None


def settle(
    tables: OutputTables,
    settlement: Settlement,
    attribute_labels: AttributeLabels,
    model_version: str,
    config: JobConfig,
) -> Settled:
    """Publishes or drops a run, as a person has decided; the arguments are `publish_staged_run`'s.

    Raises:
        ConfigError: as the two that follow.
    """
    row, run_id, reason = find_run(tables, settlement.run_id), settlement.run_id, settlement.reason
    try:
        if settlement.is_drop:
            assert reason is not None  # or there would be no settlement
            return Settled(row, drop_staged_run(tables, run_id, reason))
        done = publish_staged_run(tables, attribute_labels, model_version, run_id, reason, config)
        return Settled(row, done)
    except NothingPublished as error:
        return Settled(row, replace(summarise(row), error=str(error)), error)


def publish_staged_run(
    tables: OutputTables,
    attribute_labels: AttributeLabels,
    model_version: str,
    run_id: str,
    reason: str | None,
    config: JobConfig,
) -> RunSummary:
    """Publishes what a run staged and did not publish; again, it changes nothing.

    Runs on the driver. What newer runs published since stays, and counts as withheld.

    Args:
        tables: The output tables.
        attribute_labels: The checkpoint's.
        model_version: The checkpoint's, at the target precision; the run's must be the same.
        run_id: The run.
        reason: A person's, for the ledger.
        config: The job's. It says whether rows of vanished products are deleted, how many at
            most, and what the product table calls its columns.

    Raises:
        ConfigError: there is no such run, its rows are gone, another checkpoint staged them, it
            was blocked and no reason is given, it failed before they were judged, or what it had
            found published is gone by now.
        TooManyFailures: so much is to be deleted that the product table may be cut off. Nothing is
            changed.
    """
    row = find_run(tables, run_id)
    if row["outcome"] in SUCCEEDED:
        return summarise(row)
    _refuse_unpublishable(row, model_version, reason)
    begin = time.perf_counter()
    # A rollback may have taken columns of its attributes away since.
    tables.create_missing()
    # What earlier attempts have staged answers the inputs of the last one too: it counts from then.
    staged = read_attempt(tables, run_id, Attempt.of(row))
    _refuse_incomplete(row, staged)
    _refuse_unfounded(tables, row)
    _publish_and_delete(tables, staged, attribute_labels, row, config)
    row["seconds"]["publish"] = round(time.perf_counter() - begin, 2)
    is_changed = row["enriched"] or row["deleted"]
    row["outcome"] = Outcome.PUBLISHED if is_changed else Outcome.NOTHING_TO_DO
    row["reason"] = reason
    write_run(tables, row)
    return summarise(row)


def drop_staged_run(tables: OutputTables, run_id: str, reason: str) -> RunSummary:
    """Deletes what a run staged and did not publish; again, it changes nothing.

    Runs on the driver. What it could not read is asked about again by the next run. What an earlier
    attempt has published stands, and stays staged: after a rollback it is published from there.

    Raises:
        ConfigError: there is no such run, all of it is published, or it was killed before it could
            say what it published or deleted.
    """
    row = find_run(tables, run_id)
    if row["outcome"] == Outcome.DROPPED:
        return summarise(row)
    if row["outcome"] in SUCCEEDED:
        raise ConfigError(f"run '{run_id}' is {row['outcome']}: nothing of it waits to be dropped")
    # Of a run that was killed between its MERGE and the ledger no row need be left: it may have
    # deleted only, or other runs have replaced what it published.
    refuse_untold(tables, read_standing(tables, run_id))
    # By its own attributes: the caller's checkpoint may be another one.
    open_published(tables.spark, tables.database).create_missing()
    tables.replace_run("staged_attributes", _select_standing(tables, run_id), run_id)
    release_unreadable(tables, run_id)
    # Also where rows of it stand: "published" beside a reason would say that a person has published
    # what the gate had stopped. `published` counts them, and `succeeded_at` tells of their attempt.
    row |= {"outcome": Outcome.DROPPED, "reason": reason}
    write_run(tables, row)
    return summarise(row)


def _select_standing(tables: OutputTables, run_id: str) -> DataFrame:
    """Returns the staged rows of a run that are published as its own. Runs on the driver; lazy.

    What a later attempt has staged of the same product may say something else.
    """
    staged = tables.read_rows("staged_attributes", run_id).alias("staged")
    published = tables.read_rows("product_attributes", run_id).alias("published")
    is_it = [F.col(f"staged.{name}") == F.col(f"published.{name}") for name in SAME_PRODUCT]
    is_it.append(F.col("staged.enriched_at") <= F.col("published.enriched_at"))
    return staged.join(published, is_it, "left_semi")


def _publish_and_delete(
    tables: OutputTables,
    staged: DataFrame,
    attribute_labels: AttributeLabels,
    row: dict[str, Any],
    config: JobConfig,
) -> None:
    """Publishes a run's answers, deletes what vanished, and counts both in the run's row.

    Runs on the driver.
    """
    with scratch_folder(tables) as scratch:
        vanished = None
        if config.deletes_missing and row["vanished"]:
            # Before anything is published: a product table that is cut off stops all of it.
            vanished = find_vanished(tables, config, row, scratch)
        if row["enriched"]:
            _publish_answers(tables, staged, attribute_labels, row, config)
        quarantine_blocked(tables, staged, row)
        release_read(tables, staged, row["model_version"])
        if vanished is not None:
            delete_gone(tables, vanished, Attempt.of(row), row["run_id"])
            # Counts what an attempt deleted that was killed before the ledger said so, too.
            row["deleted"] = count_deleted(tables, row["run_id"], since=row["started_at"])


def _publish_answers(
    tables: OutputTables,
    staged: DataFrame,
    attribute_labels: AttributeLabels,
    row: dict[str, Any],
    config: JobConfig,
) -> None:
    """Merges a run's answers, and counts them in its row. Runs on the driver."""

    def select_rows() -> DataFrame:
        behind = is_behind(tables, config, Attempt.of(row))
        return select_publishable(tables, staged, attribute_labels, is_behind=behind)

    merged = tables.publish(select_rows, row["run_id"], full_refresh=True)
    row |= count_fates(row, merged)


def _refuse_unpublishable(row: dict[str, Any], model_version: str, reason: str | None) -> None:
    """Raises ConfigError where the ledger says that this run is not to be published, or not yet."""
    run_id, is_staged = row["run_id"], row["outcome"] == Outcome.STAGED
    if row["model_version"] != model_version:
        raise ConfigError(
            f"run '{run_id}' was staged by {row['model_version']}, and this is {model_version}: "
            "give the checkpoint and target_precision that it ran with"
        )
    if row["outcome"] == Outcome.DROPPED:
        raise ConfigError(
            f"the rows of run '{run_id}' were dropped ({row['reason']}): run it again"
        )
    if row["outcome"] == Outcome.FAILED and not has_passed_gate(row["seconds"]):
        raise ConfigError(
            f"run '{run_id}' failed ({row['error'] or 'it did not end'}), and no gate has let its "
            "answers pass: run it again, it goes on from what it has staged"
        )
    if not is_staged and not reason:
        raise ConfigError(
            f"run '{run_id}' is {row['outcome']} "
            f"({row['error'] or row['reason'] or 'it did not end'}); to publish it all the same, "
            'say why: --reason "..."'
        )
    if not is_staged and row["pending"] and not row["enriched"]:
        raise ConfigError(
            f"the last attempt at run '{run_id}' staged no answer ({row['error']}): run it again, "
            "it goes on from what was staged before"
        )


def _refuse_incomplete(row: dict[str, Any], staged: DataFrame) -> None:
    """Raises ConfigError where not all answers are there. Runs on the driver; one action."""
    if (found := select_answered(staged).count()) != row["enriched"]:
        raise ConfigError(
            f"run '{row['run_id']}' staged {row['enriched']} answers, and {found} are there now: "
            "they were deleted, or the run was started again and has not ended. Run it again"
        )


def _refuse_unfounded(tables: OutputTables, row: dict[str, Any]) -> None:
    """Raises ConfigError where fewer rows are published than the run had left or carried over.

    Somebody has taken runs back since. Published now, this run would count as the newest that has
    seen the whole product table, and the older ones that staged those rows could no longer publish
    them. But where a newer run has ended, that may have deleted the rows. Runs on the driver; one
    action, two where rows are missing.
    """
    # An older version did not carry anything over.
    found = count_left(row) + (row["carried"] or 0)
    there = tables.read("product_attributes").count()
    if there < found and not has_newer_run(tables, Attempt.of(row)):
        raise ConfigError(
            f"run '{row['run_id']}' had found {found} products published and did not ask about "
            f"them, and {there} are published now: were runs before it taken back? Publish those "
            "first, or run it again"
        )


def summarise(row: dict[str, Any]) -> RunSummary:
    """Returns what a row of the ledger says of its run; an older version counted less."""
    seconds = row["seconds"] or {}
    return RunSummary(
        run_id=row["run_id"],
        outcome=row["outcome"],
        counts={name: row[name] or 0 for name in COUNTS} | {"abstained": row["abstained"] or {}},
        seconds=seconds,
        products_per_second=products_per_second(row["asked"], seconds),
        model_version=row["model_version"],
        error=row["error"],
        reason=row["reason"],
    )
