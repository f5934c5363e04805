"""Ledger of runs: numbered events in run_events, append-only (R5, R10).

An act on product_attributes is an intent event, the commit, and an outcome event. The next process
completes an open intent from the table's history.
"""

import logging
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from typing import Any

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F
from schemas.tables import COUNTS, DiffKind, State

from enrich.errors import ConfigError, TableContended
from enrich.spark.rules import INTENT_TIMEOUT, LONGEST_RUN, NEXT_STATES, Run
from enrich.spark.session import in_utc
from enrich.spark.tables import Tables, now, retried_on_conflict

log = logging.getLogger(__name__)

Event = dict[str, Any]


@dataclass(slots=True)
class RunSummary:
    """Summary of a run: source of its events and of the last line on standard output.

    read = published + unchanged + withheld + quarantined.
    """

    run_id: str = ""
    outcome: str = ""
    diff: str = DiffKind.FULL
    counts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    products_per_second: float | None = None
    model_version: str = ""
    encoder_version: str = ""
    source_profile: dict[str, Any] | None = None
    validation: dict[str, Any] = field(default_factory=lambda: {"outcome": "not_run", "notes": []})
    table_versions: dict[str, int] = field(default_factory=dict)
    report: str | None = None
    engine_loads: dict[str, int] = field(default_factory=dict)
    encoding: dict[str, float] = field(default_factory=dict)
    error: str | None = None
    reason: str | None = None

    @property
    def had_nothing_to_do(self) -> bool:
        """True for a run with nothing to do, also after a rollback of another run."""
        has_ended = self.outcome in (State.NOTHING_TO_DO, State.ROLLED_BACK)
        has_published = "product_attributes" in self.table_versions
        return has_ended and not has_published and not self.counts.get("due")


def make_run_id(run_date: date) -> str:
    """Return a new run's id: `<run_date>-<random>`."""
    return f"{run_date:%Y%m%d}-{secrets.token_hex(4)}"


def read_runs(tables: Tables) -> list[Run]:
    """Return the last event of every run. One action."""
    events = tables.read_or_empty("run_events").select(*Run._fields)
    return [Run(**_to_event(row)) for row in select_last_events(events).collect()]


def select_last_events(events: DataFrame) -> DataFrame:
    """Return the last event of each run; lazy."""
    # Two outcomes may share a number: one of the process itself, one of the process that completed
    # the intent.
    latest = F.max_by(F.struct("*"), F.struct("number", "at"))
    return events.groupBy("run_id").agg(latest.alias("last")).select("last.*")


def read_event(tables: Tables, run_id: str, number: int | None = None) -> Event:
    """Return a run's last event, or the event of a number, with all columns.

    One action.
    """
    events = tables.read_run("run_events", run_id)
    if number is not None:
        events = events.where(F.col("number") == number)
    row = events.orderBy(F.desc("number"), F.desc("at")).first()
    if row is None:
        raise ConfigError(f"{tables.name('run_events')} has no run '{run_id}'.")
    return _to_event(row)


def find_run(tables: Tables, name: str, runs: Sequence[Run]) -> Run:
    """Return a run by its id, or by a trigger with a single waiting run (R10).

    Raises:
        ConfigError: no run has the id or trigger, or a trigger has several waiting runs.
    """
    for run in runs:
        if run.run_id == name:
            return run
    triggered = [run for run in runs if run.trigger == name]
    waiting = [run for run in triggered if run.is_waiting]
    if len(waiting) == 1:
        return waiting[0]
    if waiting:
        listed = ", ".join(run.run_id for run in waiting)
        raise ConfigError(f"Trigger '{name}' has several waiting runs: {listed}. Name one of them.")
    # A run that was decided before is returned too, so that a command may be repeated.
    if triggered:
        return max(triggered, key=lambda run: run.attempt)
    raise ConfigError(
        f"No run '{name}': found neither a run_id nor a trigger of that name in "
        f"{tables.name('run_events')}."
    )


def make_event(header: Run, state: State, summary: RunSummary, number: int) -> Event:
    """Return an event of a live run, with the summary so far."""
    counts = {name: summary.counts.get(name) for name in COUNTS}
    return {
        **header._asdict(),
        **counts,
        "number": number,
        "state": state,
        "at": now(),
        "caused_by": None,
        "abstained": summary.counts.get("abstained") or None,
        "seconds": summary.seconds,
        "products_per_second": summary.products_per_second,
        "encoding": summary.encoding or None,
        "published_version": summary.table_versions.get("product_attributes"),
        "error": summary.error,
        "reason": summary.reason,
    }


def next_event(event: Event, state: State, **changes: Any) -> Event:
    """Return the event after `event`, which enters a state.

    Raises:
        ConfigError: the run cannot enter the state from its last one.
    """
    if state not in NEXT_STATES.get(event["state"], ()):
        raise ConfigError(
            f"Run '{event['run_id']}' cannot become {state}: it is {event['state']}. Look at the "
            "view enrichment_runs."
        )
    return {**event, "number": event["number"] + 1, "state": state, "at": now(), **changes}


def append_event(tables: Tables, event: Event) -> None:
    """Append an event of a run whose events this process alone writes."""
    tables.append("run_events", tables.to_rows("run_events", [event]), event["run_id"])


@retried_on_conflict
def append_exclusively(tables: Tables, events: Sequence[Event]) -> None:
    """Append events, unless another process has written the same number of a run.

    One MERGE that inserts only: of two writers of a number Delta lets one commit.

    Raises:
        TableContended: another process has written the number; the event is not written.
    """
    rows = tables.to_rows("run_events", events)
    is_same = "old.run_id = new.run_id AND old.number = new.number"
    with tables.tag_commits(events[0]["run_id"]):
        done = tables.merge("run_events", rows, f"ON {is_same} WHEN NOT MATCHED THEN INSERT *")
    if int(done["num_inserted_rows"]) < len(events):
        named = ", ".join(sorted({event["run_id"] for event in events}))
        raise TableContended(
            f"Another process decided about {named} at the same time. Look at "
            f"{tables.name('enrichment_runs')} and repeat the command if it is still needed."
        )


def append_outcome(tables: Tables, event: Event, state: State, **changes: Any) -> Event:
    """Append the outcome of an act, and return it.

    If another process has completed the act from the table's history, both events have the same
    number and content. So a check for the other event is not needed.
    """
    outcome = next_event(event, state, **changes)
    append_event(tables, outcome)
    return outcome


def complete_intents(tables: Tables, runs: Sequence[Run]) -> list[Run]:
    """Write the outcomes of acts whose process ended too early (R5).

    Returns:
        All runs with their new last event.
    """
    left_open = [run for run in runs if run.has_open_intent]
    if not left_open:
        return list(runs)
    # Publications first: a rollback may have undone them.
    for run in sorted(left_open, key=lambda run: run.state == State.ROLLING_BACK):
        event = read_event(tables, run.run_id)
        operation = "MERGE" if run.state == State.PUBLISHING else "RESTORE"
        commit = tables.find_commit(run.run_id, operation, since=run.at)
        if commit is not None:
            log.warning("run %s was killed after its commit: its last event is added", run.run_id)
        if commit is not None and run.state == State.ROLLING_BACK:
            append_rollback_outcomes(tables, event, read_runs(tables), until=commit.made_at)
        elif commit is not None:
            append_publication(tables, event, commit.written, commit.deleted, commit.version)
        elif now() - run.at > INTENT_TIMEOUT:
            before = read_event(tables, run.run_id, run.number - 1)
            is_started = before["state"] == State.STARTED
            state = State.FAILED if is_started else State(before["state"])
            changes = {"error": event["error"] or "the process ended before it published"}
            if run.state == State.ROLLING_BACK:
                # Nothing happened to the run: it is as good as before.
                changes = {name: before[name] for name in ("error", "reason")}
            # Exclusively: a process that is alive after all may have written its outcome.
            with suppress(TableContended):
                append_exclusively(tables, [next_event(event, state, **changes)])
    return read_runs(tables)


def append_publication(
    tables: Tables, intent: Event, written: int, deleted: int, version: int | None
) -> Event:
    """Append the outcome of a publication, and return it.

    Until then, all answers of the run count as withheld.
    """
    return append_outcome(
        tables,
        intent,
        State.PUBLISHED,
        published=written,
        deleted=deleted,
        withheld=max(0, (intent["withheld"] or 0) - written),
        published_version=version,
        # The error that had stopped the run does not count any more; the reason says why.
        error=None,
    )


def append_rollback_outcomes(
    tables: Tables, intent: Event, runs: Sequence[Run], until: datetime
) -> list[str]:
    """Mark a run, and the runs that ended after it, as rolled back (R6).

    One commit, so that no run counts as accepted after its rows are gone.

    Args:
        intent: the last event of the rolled-back run.
        runs: all runs.
        until: when the table was restored.

    Returns:
        The other runs.
    """
    run_id, reason = intent["run_id"], intent["reason"]
    undone = [run.run_id for run in runs if _is_undone(run, intent, until)]
    why = f"with run {run_id}: {reason}"
    events = [_make_rollback_event(intent, caused_by=None, reason=reason)]
    for event in _read_last_events(tables, undone):
        events.append(_make_rollback_event(event, caused_by=run_id, reason=why))
    tables.append("run_events", tables.to_rows("run_events", events), run_id)
    return undone


def _read_last_events(tables: Tables, run_ids: Sequence[str]) -> list[Event]:
    """Return the last event of each run, with all columns. One action."""
    if not run_ids:
        return []
    events = tables.read("run_events").where(F.col("run_id").isin(*run_ids))
    return [_to_event(row) for row in select_last_events(events).collect()]


def _is_undone(run: Run, intent: Event, until: datetime) -> bool:
    """Return whether a rollback of the intent's run undoes another run."""
    if not run.is_accepted or run.run_id == intent["run_id"] or run.at > until:
        return False
    # A run with nothing to do has no version: its start shows which rows it saw.
    if run.published_version is None:
        return run.started_at > intent["started_at"]
    return run.published_version > (intent["published_version"] or 0)


def _make_rollback_event(event: Event, **changes: Any) -> Event:
    withheld = (event["withheld"] or 0) + (event["published"] or 0)
    counts = {"withheld": withheld, "published": 0, "deleted": 0}
    return next_event(event, State.ROLLED_BACK, **counts, **changes)


def supersede_waiting(tables: Tables, header: Run, runs: Sequence[Run]) -> None:
    """Mark waiting runs of the same trigger as superseded by this run (R10)."""
    if not header.trigger:
        return
    replaced = {run.run_id for run in runs if run.trigger == header.trigger and run.is_waiting}
    if not replaced:
        return
    # Read again: a person may have decided meanwhile.
    for run in read_runs(tables):
        if run.run_id in replaced and run.is_waiting:
            with suppress(TableContended):
                append_exclusively(
                    tables, [next_event(read_event(tables, run.run_id), State.SUPERSEDED)]
                )


def warn_of_concurrent_runs(tables: Tables, runs: Sequence[Run]) -> None:
    """Log a warning for each other run that has committed in the last minutes (R10)."""
    # A run that was killed is `started` for ever.
    oldest = now() - LONGEST_RUN
    started = [run for run in runs if run.state == State.STARTED and run.started_at > oldest]
    if not started:
        return
    since = now() - INTENT_TIMEOUT
    fresh = {run.run_id for run in started if run.at > since}
    others = [run.run_id for run in started if run.run_id not in fresh]
    if others:
        encoded = tables.read("encodings").where(F.col("run_id").isin(others))
        recent = encoded.where(F.col("encoded_at") > F.lit(since)).select("run_id").distinct()
        fresh |= {row["run_id"] for row in recent.collect()}
    for run_id in sorted(fresh):
        log.warning(
            "run %s is at work on the same tables: both may encode the same products", run_id
        )


def summarise(event: Event) -> RunSummary:
    """Return the summary of a run from its last event."""
    counts = {name: event[name] or 0 for name in COUNTS}
    known = {f.name for f in fields(RunSummary)} - {
        "counts",
        "encoding",
        "validation",
        "table_versions",
    }
    values = {name: event[name] for name in known if name in event}
    version = event["published_version"]
    return RunSummary(
        **{**values, "seconds": dict(event["seconds"] or {})},
        outcome=event["state"],
        encoding=dict(event["encoding"] or {}),
        counts=counts | {"abstained": dict(event["abstained"] or {})},
        table_versions={} if version is None else {"product_attributes": version},
    )


def _to_event(row: Row) -> Event:
    return {name: in_utc(value) for name, value in row.asDict(recursive=True).items()}
