"""Publish candidates by one MERGE, and roll a publication back.

Four acts change product_attributes: a run publishes, and a person approves a run, rolls a run back,
or releases a rolled-back run. Each is an intent event, a commit and an outcome event.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from schemas.tables import DUE, Op, Outcome, State, quote, quote_literal, quote_part

from enrich.errors import ConfigError, TableContended
from enrich.spark.corrections import AttributeLabels, select_corrections, with_corrections
from enrich.spark.failures import messages_of
from enrich.spark.rules import (
    INTENT_TIMEOUT,
    SETTINGS_SUFFIX,
    Attempt,
    Run,
    checkpoint_of,
    is_superseded,
    may_update,
)
from enrich.spark.runs import (
    Event,
    append_exclusively,
    append_outcome,
    append_publication,
    append_rollback_outcomes,
    complete_intents,
    find_run,
    next_event,
    read_event,
    read_runs,
)
from enrich.spark.tables import (
    CONFLICTS,
    Tables,
    now,
    published_attributes,
    retried_on_conflict,
    schema_of,
)

log = logging.getLogger(__name__)

# Delta's words; the exception's class is as general as can be.
_FILES_ARE_MISSING = "Not all files from version"


class MergeResult(NamedTuple):
    """Rows that a MERGE wrote and deleted, and its version, None where none was found."""

    written: int
    deleted: int
    version: int | None


@retried_on_conflict
def merge_candidates(tables: Tables, run: Run, labels: AttributeLabels) -> MergeResult:
    """Merge a run's candidates into product_attributes, with people's corrections.

    After a conflict, all tables are read again: a newer run may have been accepted meanwhile.
    Merging the same candidates again changes nothing.
    """
    runs = [other for other in read_runs(tables) if other.run_id != run.run_id]
    superseded = is_superseded(run.attempt, runs)
    rows = tables.read_run("candidates", run.run_id)
    # A run that began before a rollback, or waited for a person, may have the same candidates.
    held = select_held_back(tables, runs, checkpoint_of(run.model_version))
    if held is not None:
        keys = ("product_id", "content_hash")
        is_held = [F.col(f"new.{key}") == F.col(f"held.{key}") for key in keys]
        is_held.append(F.col("new.reason") != Outcome.REVISED)
        rows = rows.alias("new").join(held.alias("held"), is_held, "left_anti")
    corrections = select_corrections(tables.read("attribute_corrections"), labels)
    rows = with_corrections(rows, corrections, tuple(labels))
    # Attributes of other checkpoints become NULL. Columns that users have added are not named, and
    # so keep their values.
    attributes = published_attributes(tables.spark, tables.database)
    columns = schema_of("product_attributes", attributes).fieldNames()
    answered = set(rows.columns)
    values = {quote_part(c): f"new.{quote_part(c)}" if c in answered else "NULL" for c in columns}
    may = may_update(
        _attempt_of("new"), _attempt_of("old"), _Sql("new.replaces"), is_superseded=superseded
    )
    upsert, assigned = quote_literal(Op.UPSERT), ", ".join(f"{c} = {v}" for c, v in values.items())
    clauses = [
        "ON old.product_id = new.product_id",
        f"WHEN MATCHED AND new.op = {upsert} AND {may} THEN UPDATE SET {assigned}",
    ]
    if not superseded:
        listed = f"({', '.join(values)}) VALUES ({', '.join(values.values())})"
        clauses.append(f"WHEN MATCHED AND new.op <> {upsert} AND {may} THEN DELETE")
        clauses.append(f"WHEN NOT MATCHED AND new.op = {upsert} THEN INSERT {listed}")
    with tables.tag_commits(run.run_id):
        done = tables.merge("product_attributes", rows, " ".join(clauses))
    written = int(done["num_updated_rows"]) + int(done["num_inserted_rows"])
    commit = tables.find_commit(run.run_id, "MERGE")
    version = None if commit is None else commit.version
    return MergeResult(written, int(done["num_deleted_rows"]), version)


def publish(tables: Tables, intent: Event, labels: AttributeLabels) -> Event:
    """Carry out an open intent to publish, and return the outcome event.

    Args:
        intent: the run's last event, `publishing`.
        labels: the checkpoint's labels by attribute.
    """
    run = Run(**{name: intent[name] for name in Run._fields})
    done = merge_candidates(tables, run, labels)
    return append_publication(tables, intent, done.written, done.deleted, done.version)


def approve(
    tables: Tables, name: str, reason: str | None, labels: AttributeLabels, model_version: str
) -> Event:
    """Publish the candidates of a waiting run, or release a rolled-back run (R6).

    A repetition changes nothing.

    Args:
        name: the run's id, or a trigger with one waiting run.
        reason: why; needed for a blocked and for a rolled-back run.
        labels: the checkpoint's labels by attribute.
        model_version: the checkpoint's; the run's must be of the same checkpoint.

    Raises:
        ConfigError: the run cannot be published.
        TableContended: another process publishes it, or commits to the table again and again.
    """
    runs = complete_intents(tables, read_runs(tables))
    run = find_run(tables, name, runs)
    event = read_event(tables, run.run_id)
    if run.is_accepted:
        return event
    if run.state == State.PUBLISHING:
        until = run.at + INTENT_TIMEOUT
        raise TableContended(
            f"Run '{run.run_id}' is being published by another process, or was by one that was "
            f"killed. Repeat the command after {until:%H:%M} UTC if it is not published by then."
        )
    if run.state not in (*_WAITING, State.ROLLED_BACK, State.RELEASED):
        raise ConfigError(
            f"Run '{run.run_id}' is {run.state} ({event['error'] or event['reason'] or 'no reason'}"
            "), and has nothing that waits to be published. Run the job again: what is encoded is "
            "not encoded again."
        )
    if checkpoint_of(run.model_version) != checkpoint_of(model_version):
        raise ConfigError(
            f"Run '{run.run_id}' was made by {run.model_version}, and this is {model_version}. "
            "Give the checkpoint that it ran with."
        )
    if run.state in (State.BLOCKED, State.ROLLED_BACK) and not reason:
        raise ConfigError(
            f"Run '{run.run_id}' is {run.state} ({event['error'] or event['reason']}). To publish "
            'it all the same, say why: --reason "...".'
        )
    tables.create_missing(has_encodings=False)
    found = tables.read_run("candidates", run.run_id).count()
    if not found:
        raise ConfigError(
            f"Run '{run.run_id}' has no candidates: it was stopped before it had any "
            f"({event['error']}), or maintenance has deleted them. Run the job again."
        )
    is_rolled_back = run.state in (State.ROLLED_BACK, State.RELEASED)
    decided = next_event(
        event,
        State.RELEASED if is_rolled_back else State.APPROVED,
        reason=reason or event["reason"],
        caused_by=None,
    )
    intent = next_event(decided, State.PUBLISHING)
    append_exclusively(tables, [decided, intent])
    log.info("publishing the candidates of run %s", run.run_id)
    try:
        published = publish(tables, intent, labels)
    except Exception:
        _withdraw(tables, intent, "MERGE", decided["state"], error=decided["error"])
        raise
    if not (published["published"] or published["deleted"]):
        log.warning(
            "the table is as it was: newer runs have answered all products of run '%s'. To have "
            "its answers again, run the job again with its checkpoint and settings",
            run.run_id,
        )
    return published


def _withdraw(tables: Tables, intent: Event, operation: str, before: State, **changes: Any) -> None:
    """Return to the state before an intent whose commit failed, for a repetition."""
    # Else the next command completes the intent from the table's history.
    if not may_have_committed(tables, intent["run_id"], operation, since=intent["at"]):
        with suppress(Exception):
            append_outcome(tables, intent, before, **changes)


def may_have_committed(tables: Tables, run_id: str, operation: str, since: datetime) -> bool:
    """Return whether a run's act was committed; True if the history cannot be read."""
    with suppress(Exception):
        return tables.find_commit(run_id, operation, since=since) is not None
    return True


_WAITING = (State.STAGED, State.BLOCKED, State.APPROVED)


def discard(tables: Tables, name: str, reason: str) -> Event:
    """Discard a waiting run's candidates. A repetition changes nothing.

    Raises:
        ConfigError: the run does not wait.
    """
    runs = complete_intents(tables, read_runs(tables))
    run = find_run(tables, name, runs)
    event = read_event(tables, run.run_id)
    if run.state == State.DISCARDED:
        return event
    if not run.is_waiting:
        raise ConfigError(f"Run '{run.run_id}' is {run.state}: it has no candidates that wait.")
    decided = next_event(event, State.DISCARDED, reason=reason)
    append_exclusively(tables, [decided])
    return decided


def roll_back(tables: Tables, run_id: str, reason: str) -> list[str]:
    """Restore product_attributes as it was before a run, in one commit (R6).

    The products that the run had published are held back from then on. Rows of later runs are due
    again, and the next run publishes them without reading a picture. A repetition changes nothing.

    Returns:
        The runs that are rolled back: this one, and those that came to their end after it.

    Raises:
        ConfigError: there is no such run, it has published nothing, or its candidates or files of
            that version are gone.
        TableContended: another process committed meanwhile.
    """
    runs = complete_intents(tables, read_runs(tables))
    run = next((one for one in runs if one.run_id == run_id), None)
    if run is None:
        raise ConfigError(f"{tables.name('run_events')} has no run '{run_id}'.")
    event = read_event(tables, run_id)
    if run.state == State.ROLLED_BACK:
        return [run_id, *(one.run_id for one in runs if one.caused_by == run_id)]
    has_published = run.state == State.PUBLISHED and (event["published"] or event["deleted"])
    if not has_published or run.published_version is None:
        raise ConfigError(f"Run '{run_id}' is {run.state}: it has published nothing to roll back.")
    # Without them nothing would be held back, and the next run would publish the same rows again.
    if event["published"] and tables.read_run("candidates", run_id).isEmpty():
        raise ConfigError(
            f"Run '{run_id}' cannot be rolled back: found 0 candidates of it, expected "
            f"{event['published']:,} or more. Maintenance has deleted them. Roll back a later run, "
            "or correct the cause and run with --full-refresh."
        )
    if busy := [one.run_id for one in runs if one.has_open_intent]:
        raise TableContended(
            f"Run {busy[0]} is changing {tables.name('product_attributes')} at this moment. Repeat "
            "the command when it has ended."
        )
    intent = next_event(event, State.ROLLING_BACK, reason=reason)
    version = run.published_version - 1
    append_exclusively(tables, [intent])
    log.info("restoring %s to version %s", tables.name("product_attributes"), version)
    try:
        _restore(tables, run_id, version)
    except Exception:
        _withdraw(tables, intent, "RESTORE", State.PUBLISHED, reason=event["reason"])
        raise
    # Read again: others may have published or ended meanwhile.
    undone = append_rollback_outcomes(tables, intent, read_runs(tables), until=now())
    # RESTORE removes the columns of attributes that were added since.
    tables.create_views()
    return [run_id, *undone]


def _restore(tables: Tables, run_id: str, version: int) -> None:
    """Restore the published table to a version. One commit."""
    name = tables.name("product_attributes")
    try:
        with tables.tag_commits(run_id), tables.unlimited_time_travel():
            tables.spark.sql(f"RESTORE TABLE {quote(name)} TO VERSION AS OF {int(version)}")
    except CONFLICTS as error:
        raise TableContended(
            f"Another process wrote to {name} at the same moment: nothing was rolled back. Repeat "
            "the command."
        ) from error
    except Exception as error:
        if not any(_FILES_ARE_MISSING in message for message in messages_of(error)):
            raise
        raise ConfigError(
            f"{name} as it was before run '{run_id}' (version {version}) is gone: maintenance has "
            "deleted files of it. Roll back a later run, or correct the cause and run with "
            "--full-refresh."
        ) from error


def select_held_back(tables: Tables, runs: Sequence[Run], checkpoint: str) -> DataFrame | None:
    """Return products that rollbacks hold back (R6), None without a rollback; lazy.

    Columns: product_id and content_hash. Held back are products that a rolled-back run had
    published with this checkpoint. So are later answers of the same content, which the rollback
    undid as well.
    """
    named = [run.run_id for run in runs if run.holds_back]
    if not named:
        return None
    candidates = tables.read("candidates").where(F.col("op") == Op.UPSERT)
    is_of_checkpoint = F.regexp_replace("model_version", SETTINGS_SUFFIX, "") == checkpoint
    of_checkpoint = candidates.where(is_of_checkpoint)
    key = ["product_id", "content_hash"]
    is_published = F.col("run_id").isin(named) & F.col("reason").isin(*_PUBLISHED_ANEW)
    held = of_checkpoint.where(is_published).select(*key)
    undone = [run.run_id for run in runs if run.state == State.ROLLED_BACK and run.caused_by]
    if undone:
        wrong = candidates.where(F.col("run_id").isin(named)).select(*key).distinct()
        again = of_checkpoint.where(
            F.col("run_id").isin(undone) & (F.col("reason") == Outcome.REANSWERED)
        )
        held = held.unionByName(again.select(*key).join(wrong, key, "left_semi"))
    return held


_PUBLISHED_ANEW = tuple(outcome for outcome in DUE if outcome != Outcome.REVISED)


class _Sql:
    """A term of SQL, for a rule that compares and connects terms."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    def __gt__(self, other: "_Sql") -> "_Sql":
        return _Sql(f"({self} > {other})")

    def __eq__(self, other: object) -> "_Sql":  # type: ignore[override]
        return _Sql(f"({self} = {other})")

    def __and__(self, other: "_Sql") -> "_Sql":
        return _Sql(f"({self} AND {other})")

    def __or__(self, other: "_Sql") -> "_Sql":
        return _Sql(f"({self} OR {other})")


def _attempt_of(alias: str) -> Attempt:
    return Attempt(*(_Sql(f"{alias}.{name}") for name in ("run_date", "enriched_at", "run_id")))
