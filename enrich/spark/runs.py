"""Ledger of runs: numbered events in run_events, appended and never changed (R5, R10).

An act on product_attributes is an intent event, the commit, and an outcome event. An intent that
was left open is completed from the table's history by whoever comes next.
"""

import logging
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date, datetime
from typing import Any

from pyspark.sql import Row
from pyspark.sql import functions as F
from schemas.tables import COUNTS, State

from enrich.errors import ConfigError, TableContended
from enrich.spark.rules import FOLLOWS, INTENT_IS_FRESH, Run
from enrich.spark.session import in_utc
from enrich.spark.tables import Tables, now, retried_on_conflict

log = logging.getLogger(__name__)

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RunHeader:
    """What stays the same in all events of one run."""

    run_id: str
    trigger: str | None
    run_date: date
    started_at: datetime
    is_whole: bool
    full_refresh: bool
    source: str
    source_version: str
    encoder_version: str
    model_version: str


@dataclass(slots=True)
class RunSummary:
    """What a run did; becomes its events, and the last line on standard output.

    read = published + unchanged + withheld + quarantined.
    """

    run_id: str = ""
    outcome: str = ""
    counts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    products_per_second: float | None = None
    model_version: str = ""
    encoder_version: str = ""
    validation: dict[str, Any] = field(default_factory=lambda: {"outcome": "not_run", "notes": []})
    table_versions: dict[str, int] = field(default_factory=dict)
    report: str | None = None
    data_docs: str | None = None
    engine_loads: dict[str, int] = field(default_factory=dict)
    error: str | None = None
    reason: str | None = None


def name_run(run_date: date) -> str:
    """Return a new run's id: `<run_date>-<random>`."""
    return f"{run_date:%Y%m%d}-{secrets.token_hex(4)}"


def read_runs(tables: Tables) -> list[Run]:
    """Return the last event of every run. One action."""
    names = [name for name in Run._fields if name != "run_id"]
    events = tables.read_if_there("run_events").groupBy("run_id")
    last = events.agg(F.max_by(F.struct(*names), "number").alias("last")).select("run_id", "last.*")
    return [Run(**_as_record(row)) for row in last.select(*Run._fields).collect()]


def read_event(tables: Tables, run_id: str) -> Event:
    """Return the whole last event of a run. One action."""
    row = tables.read_run("run_events", run_id).orderBy(F.desc("number")).first()
    if row is None:
        raise ConfigError(f"{tables.name('run_events')} has no run '{run_id}'.")
    return _as_record(row)


def find_waiting(tables: Tables, name: str, runs: Sequence[Run]) -> Run:
    """Return the run that a person names by its id, or by a trigger with one waiting run (R10).

    Raises:
        ConfigError: there is none, or a trigger has several.
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
    # What was decided before is answered again, so that a command may be repeated.
    if triggered:
        return max(triggered, key=lambda run: run.attempt)
    raise ConfigError(
        f"No run '{name}': found neither a run_id nor a trigger of that name in "
        f"{tables.name('run_events')}."
    )


def make_event(header: RunHeader, state: State, summary: RunSummary, number: int) -> Event:
    """Return an event of a live run, with what its summary says by now."""
    counts = {name: summary.counts.get(name) for name in COUNTS}
    return {
        **asdict(header),
        **counts,
        "number": number,
        "state": state,
        "at": now(),
        "caused_by": None,
        "abstained": summary.counts.get("abstained") or None,
        "seconds": summary.seconds,
        "products_per_second": summary.products_per_second,
        "published_version": summary.table_versions.get("product_attributes"),
        "error": summary.error,
        "reason": summary.reason,
    }


def follow(event: Event, state: State, **changes: Any) -> Event:
    """Return the event after `event`.

    Raises:
        ConfigError: a run in that state cannot enter the new one.
    """
    if state not in FOLLOWS.get(event["state"], ()):
        raise ConfigError(
            f"Run '{event['run_id']}' is {event['state']}, and cannot be {state} from there."
        )
    return {**event, "number": event["number"] + 1, "state": state, "at": now(), **changes}


def append_event(tables: Tables, event: Event) -> None:
    """Append an event of a run that no other process writes events of."""
    tables.append("run_events", tables.make_rows("run_events", [event]), event["run_id"])


@retried_on_conflict
def contend(tables: Tables, events: Sequence[Event]) -> None:
    """Append events, unless another process has written the same number of a run.

    One MERGE that inserts only: Delta lets one of two writers of a number commit.

    Raises:
        TableContended: a number was taken; none of the events is written for that run.
    """
    rows = tables.make_rows("run_events", events)
    is_same = "old.run_id = new.run_id AND old.number = new.number"
    with tables.commit_of(events[0]["run_id"]):
        done = (
            tables.target("run_events")
            .alias("old")
            .merge(rows.alias("new"), is_same)
            .whenNotMatchedInsertAll()
            .execute()
        )
    if int(done.first()["num_inserted_rows"]) < len(events):
        named = ", ".join(sorted({event["run_id"] for event in events}))
        raise TableContended(
            f"Another process decided about {named} at the same time. Look at "
            f"{tables.name('enrichment_runs')} and repeat the command if it is still needed."
        )


def conclude(tables: Tables, event: Event, state: State, **changes: Any) -> Event:
    """Append the outcome of an act.

    It says what the table says, so it is written whatever came between: where another process has
    completed the act from the table's history, both events say the same under one number.
    """
    outcome = follow(event, state, **changes)
    append_event(tables, outcome)
    return outcome


def complete_intents(tables: Tables, runs: Sequence[Run]) -> list[Run]:
    """Write the outcomes of acts whose process ended before it could (R5).

    Returns:
        All runs as they are then.
    """
    left_open = [run for run in runs if run.has_open_intent]
    if not left_open:
        return list(runs)
    commits = tables.read_commits(since=min(run.at for run in left_open))
    for run in left_open:
        event = read_event(tables, run.run_id)
        operation = "MERGE" if run.state == State.PUBLISHING else "RESTORE"
        mine = [c for c in commits if c.run_id == run.run_id and c.made_at >= run.at]
        mine = [c for c in mine if c.operation == operation]
        if mine:
            _complete(tables, event, mine[-1].version, mine[-1].written, mine[-1].deleted)
        elif now() - run.at > INTENT_IS_FRESH:
            conclude(tables, event, _state_before(event), error=event["error"] or _NOT_CARRIED_OUT)
    return read_runs(tables)


_NOT_CARRIED_OUT = "the process ended before it published"


def _complete(tables: Tables, event: Event, version: int, written: int, deleted: int) -> None:
    log.warning("run %s ended before it said what it had committed", event["run_id"])
    if event["state"] == State.ROLLING_BACK:
        conclude(tables, event, State.ROLLED_BACK)
        return
    withheld = (event["withheld"] or 0) + (event["published"] or 0) - written
    conclude(
        tables,
        event,
        State.PUBLISHED,
        published=written,
        deleted=deleted,
        withheld=max(0, withheld),
        published_version=version,
        error=None,
    )


def _state_before(event: Event) -> State:
    """Return the state that an intent without a commit goes back to."""
    if event["state"] == State.ROLLING_BACK:
        return State.PUBLISHED
    # Only a person gives a reason; the run's own intent has none.
    return State.APPROVED if event["reason"] else State.FAILED


def supersede(tables: Tables, header: RunHeader, runs: Sequence[Run]) -> None:
    """Mark waiting attempts of the same trigger: this one has taken their place (R10)."""
    for run in runs:
        if header.trigger and run.trigger == header.trigger and run.is_waiting:
            event = read_event(tables, run.run_id)
            contend(tables, [follow(event, State.SUPERSEDED)])


def warn_of_others(tables: Tables, runs: Sequence[Run]) -> None:
    """Log which other runs have committed within the last minutes (R10)."""
    started = [run for run in runs if run.state == State.STARTED]
    if not started:
        return
    since = now() - INTENT_IS_FRESH
    fresh = {run.run_id for run in started if run.at > since}
    others = [run.run_id for run in started if run.run_id not in fresh]
    if others:
        encoded = tables.read("encodings").where(F.col("run_id").isin(others))
        recent = encoded.where(F.col("encoded_at") > F.lit(since)).select("run_id").distinct()
        fresh |= {row["run_id"] for row in recent.collect()}
    for run_id in sorted(fresh):
        log.warning("run %s is at work on the same tables: both pay for what they encode", run_id)


def summarise(event: Event) -> RunSummary:
    """Return what the last event of a run says of the run."""
    counts = {name: event[name] or 0 for name in COUNTS}
    known = {f.name for f in fields(RunSummary)} - {"counts", "validation", "table_versions"}
    said = {name: event[name] for name in known if name in event}
    version = event["published_version"]
    return RunSummary(
        **{**said, "seconds": dict(event["seconds"] or {})},
        outcome=event["state"],
        counts=counts | {"abstained": dict(event["abstained"] or {})},
        table_versions={} if version is None else {"product_attributes": version},
    )


def _as_record(row: Row) -> Event:
    return {name: in_utc(value) for name, value in row.asDict(recursive=True).items()}
