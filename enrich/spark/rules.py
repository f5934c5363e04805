"""Rules of the refresh: newer, due, held back, and how long an encoding holds.

Each rule is a pure function that takes plain Python values or Spark columns; `may_update` takes
terms of SQL too. The refresh applies rules to columns, and the in-memory model of the tests to
values.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import reduce
from typing import Any, NamedTuple

from pyspark.sql import Column
from pyspark.sql import functions as F
from schemas.tables import DiffKind, Outcome, State, Status

# A worker may have died for another reason than the row: the row is tried again after this time.
CRASH_HOLDS = timedelta(days=7)
# A younger open intent may still be carried out by a live process.
INTENT_TIMEOUT = timedelta(minutes=15)
# A run that began earlier is not at work any more.
LONGEST_RUN = timedelta(days=7)
# Candidates of failed runs are kept for this time after the run's last event.
_KEEP_FAILED = timedelta(days=7)
# A checkpoint that no run has used for this time is out of use, and so are its encodings.
KEEP_UNUSED_ENCODINGS = timedelta(days=90)

# A run that was killed before its MERGE leaves its intent open: it is still `publishing`.
_HAS_NOT_ENDED = (State.STARTED, State.PUBLISHING, State.FAILED)
# The picture of such a row was read, or there is none to read: a listing shows if that changes.
_IMAGE_WAS_READ = (Status.OK, Status.TEXT_EMPTY, Status.IMAGE_CORRUPT)
# Operations on a table that leave its rows as they are.
_KEEPS_ROWS = (
    *("OPTIMIZE", "REORG", "VACUUM START", "VACUUM END", "COMPUTE STATS"),
    *("SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "ADD COLUMNS", "CLUSTER BY", "UPGRADE PROTOCOL"),
)


# Time for which an encoding or a finding holds (R3).
LIFETIMES: Mapping[Status, str] = {
    Status.OK: "for ever",
    Status.TEXT_EMPTY: "for ever",
    Status.IMAGE_MISSING: "for ever",
    Status.IMAGE_CORRUPT: "for ever",
    Status.IMAGE_TOO_LARGE: "same limits",
    Status.IMAGE_FORBIDDEN: "same limits",
    Status.WORKER_CRASHED: "a week",
    Status.IMAGE_UNREADABLE: "one run",
}


class Attempt(NamedTuple):
    """Sort key of runs: the larger triple is newer (R1).

    Fields are values of one run, or columns of the runs that wrote some rows.
    """

    run_date: Any
    started_at: Any
    run_id: Any


def is_newer(one: Attempt, other: Attempt) -> Any:
    """Tell whether `one` is newer than `other` (R1)."""
    # Spelled out: Spark does not compare structs with fields that may be NULL on one side.
    return (one.run_date > other.run_date) | (
        (one.run_date == other.run_date)
        & (
            (one.started_at > other.started_at)
            | ((one.started_at == other.started_at) & (one.run_id > other.run_id))
        )
    )


class Comparison(NamedTuple):
    """Comparison of a product with its published row: booleans, or columns of them.

    Columns are never NULL. `is_listed`: the product table has the product. `is_published`:
    product_attributes has it. Other fields about the published row are false without such a row.
    """

    is_listed: Any
    is_malformed: Any
    has_id: Any
    is_repeated: Any
    is_published: Any
    is_newer: Any  # the published row is of a newer run
    has_same_content: Any
    has_same_model: Any
    has_same_details: Any  # category and corrections
    was_unreadable: Any  # the published row rests on a picture that was, but is not out of reach
    is_held_back: Any
    is_quarantined: Any  # an accepted finding about this content holds
    was_retried: Any  # an accepted finding does not hold: the store had failed
    is_renewed: Any  # a full refresh


def outcome_of(found: Comparison) -> Any:
    """Return the outcome of a product (R2, R6): an `Outcome`, or a column of them."""
    is_same = found.is_published & found.has_same_content & found.has_same_model
    is_current = is_same & not_(found.was_unreadable)
    return case_when(
        (not_(found.is_listed) & found.is_newer, Outcome.SUPERSEDED),
        (not_(found.is_listed), Outcome.MISSING),
        (found.is_malformed, Outcome.MALFORMED),
        (not_(found.has_id), Outcome.NULL_ID),
        (found.is_repeated, Outcome.DUPLICATE_ID),
        (is_current & found.has_same_details & not_(found.is_renewed), Outcome.UNCHANGED),
        (found.is_newer, Outcome.SUPERSEDED),
        (is_current & not_(found.is_renewed), Outcome.REVISED),
        # A restored row keeps its labels. Its category and corrections are still renewed.
        (
            found.is_held_back & found.is_published & not_(found.has_same_details),
            Outcome.REVISED,
        ),
        (found.is_held_back, Outcome.HELD_BACK),
        (found.is_quarantined & not_(found.is_renewed), Outcome.QUARANTINED),
        (is_same & found.was_unreadable, Outcome.RETRIED),
        (found.is_published & found.has_same_content, Outcome.REANSWERED),
        (found.is_published, Outcome.CHANGED),
        (found.was_retried, Outcome.RETRIED),
        otherwise=Outcome.NEW,
    )


def holds(status: Any, *, has_same_limits: Any, is_own: Any, is_recent: Any) -> Any:
    """Return whether an encoding or a finding holds (R3).

    It holds while reading the content again would give the same.

    Args:
        status: the `Status` of what was read.
        has_same_limits: the image limits and allowed roots are those of today.
        is_own: this very run wrote it.
        is_recent: it is younger than `CRASH_HOLDS`.
    """

    def lasts(lifetime: str) -> Any:
        return _is_one_of(status, [one for one, its in LIFETIMES.items() if its == lifetime])

    return (
        lasts("for ever")
        | (lasts("same limits") & has_same_limits)
        | (lasts("a week") & is_recent)
        | (lasts("one run") & is_own)
    )


def row_holds(time: str, limits: str, at: datetime, run_id: str = "") -> Column:
    """Return `holds` for rows of `encodings` or `quarantine`.

    Args:
        time: column with the time at which the row was written.
        limits: digest of today's image limits and allowed roots.
        at: when the row has to hold.
        run_id: the run that asks; "": no row is its own.
    """
    return holds(
        F.col("status"),
        has_same_limits=F.col("limits") == limits,
        is_own=F.col("run_id") == run_id,
        is_recent=F.col(time) > F.lit(at - CRASH_HOLDS),
    )


def may_update(new: Attempt, old: Attempt, replaces: Any, *, is_superseded: bool) -> Any:
    """Return whether a candidate replaces its published row (R1, R4).

    Args:
        new: the run of the candidate.
        old: the run of the published row.
        replaces: run_id of the published row that the candidate's run saw.
        is_superseded: a newer whole run is accepted.
    """
    if is_superseded:
        return (old.run_id == replaces) & is_newer(new, old)
    return is_newer(new, old)


class Run(NamedTuple):
    """Last event of a run, with the fields that rules use.

    A run that has just begun has the columns that all of its events share.
    """

    run_id: str
    number: int
    state: str
    at: datetime
    trigger: str | None
    run_date: date
    started_at: datetime
    is_whole: bool
    full_refresh: bool
    model_version: str
    caused_by: str | None
    published_version: int | None
    source: str = ""
    answered: int | None = None
    source_version: str = ""
    encoder_version: str = ""
    settings: str = ""
    compared_version: int | None = None
    diff: str = DiffKind.FULL
    missing: int | None = None
    deleted: int | None = None

    @property
    def attempt(self) -> Attempt:
        """The run's sort key."""
        return Attempt(self.run_date, self.started_at, self.run_id)

    @property
    def is_accepted(self) -> bool:
        """True for a run that came to its end and was not rolled back (R1)."""
        return self.state in (State.PUBLISHED, State.NOTHING_TO_DO)

    @property
    def is_waiting(self) -> bool:
        """True for a run that a person may approve or discard."""
        return self.state in (State.STAGED, State.BLOCKED, State.APPROVED)

    @property
    def holds_back(self) -> bool:
        """True for a run that a rollback named: its published rows are held back (R6)."""
        return self.state == State.ROLLED_BACK and self.caused_by is None

    @property
    def has_open_intent(self) -> bool:
        """True for a run whose last event is an intent without an outcome (R5)."""
        return self.state in (State.PUBLISHING, State.ROLLING_BACK)


def is_superseded(attempt: Attempt, runs: Sequence[Run]) -> bool:
    """Return whether a newer whole run is accepted (R4)."""
    return any(run.is_whole and run.is_accepted and is_newer(run.attempt, attempt) for run in runs)


def list_latest_runs(runs: Sequence[Run], answers: int) -> list[str]:
    """Return the newest accepted runs that have `answers` answers together, or all."""
    listed, found = [], 0
    for run in sorted(runs, key=lambda run: run.attempt, reverse=True):
        if found < answers and run.is_accepted and run.answered:
            listed.append(run.run_id)
            found += run.answered
    return listed


def list_unneeded_candidates(
    runs: Sequence[Run], now: datetime, *, keep: timedelta, retention: timedelta
) -> list[str]:
    """Return the runs whose candidates are not needed any more (R11).

    Args:
        runs: all runs.
        now: the time.
        keep: candidates are kept for this time after a run's last event.
        retention: a published run may be rolled back for this time.
    """
    recent = [run for run in runs if now - run.at < KEEP_UNUSED_ENCODINGS]
    in_use = {checkpoint_of(run.model_version) for run in recent}

    def time_to_keep(run: Run) -> timedelta:
        if run.has_open_intent or run.state == State.RELEASED:
            return timedelta.max
        if run.is_waiting:
            # A person may decide, until a newer run has answered all products.
            return keep if is_superseded(run.attempt, runs) else timedelta.max
        if run.state == State.ROLLED_BACK:
            # Candidates say what is held back, while a checkpoint with the same answers is in use.
            return timedelta.max if checkpoint_of(run.model_version) in in_use else keep
        if run.state == State.PUBLISHED:
            return max(keep, retention)
        is_failed = run.state in (State.DISCARDED, State.FAILED, State.SUPERSEDED, State.STARTED)
        return _KEEP_FAILED if is_failed else keep

    return [run.run_id for run in runs if now - run.at > time_to_keep(run)]


def find_full_refresh_start(
    trigger: str | None, run_date: date, runs: Sequence[Run]
) -> datetime | None:
    """Return the first start of a full refresh that never ended (R9), or None.

    Younger encodings belong to that refresh and are not made again. Without a trigger only runs of
    the same run date count: a full refresh on a later day is a new one.
    """
    same = [run for run in runs if run.full_refresh and run.trigger == trigger]
    if trigger is None:
        same = [run for run in same if run.run_date == run_date]
    ended = [run.started_at for run in same if run.state not in _HAS_NOT_ENDED]
    since = max(ended, default=None)
    left = [run.started_at for run in same if since is None or run.started_at > since]
    return min(left, default=None)


def find_base(own: Run, runs: Sequence[Run], full_since: datetime, *, deletes: bool) -> Run | None:
    """Return the run since which changes are compared (R13), None for a full diff.

    That is the newest accepted whole run, if it had the same product table, settings and model.
    One such run must have compared all products since `full_since`.

    Args:
        own: the run that asks.
        runs: the others.
        full_since: a full diff that began earlier is too old.
        deletes: rows of missing products are deleted.
    """
    if not own.is_whole or own.full_refresh or is_superseded(own.attempt, runs):
        return None
    whole = [run for run in runs if run.is_whole and run.is_accepted]
    base = max(whole, key=lambda run: run.attempt, default=None)
    if base is None or not _has_same_inputs(base, own):
        return None
    if int(base.source_version) > int(own.source_version):
        return None
    # Its versions began anew: somebody has dropped product_attributes since.
    if (own.compared_version or 0) < (base.published_version or base.compared_version or 0):
        return None
    same = [run for run in whole if run.diff == DiffKind.FULL and _has_same_inputs(run, own)]
    if not any(run.started_at > full_since for run in same):
        return None
    # While an intent is open, nobody knows which runs are accepted. After a release, products that
    # were held back may be due again.
    if any(run.has_open_intent or run.state == State.RELEASED for run in runs):
        return None
    # The base has left rows that are to be deleted, and no feed names them again.
    if deletes and (base.missing or 0) > (base.deleted or 0):
        return None
    return base


def _has_same_inputs(run: Run, own: Run) -> bool:
    """Return whether both runs would get the same outcome for the same product."""
    if run.compared_version is None or not run.source_version.isdecimal():
        return False
    names = ("source", "settings", "model_version")
    return all(getattr(run, name) == getattr(own, name) for name in names)


def is_unchanged_since(base: Run, commits: Iterable[tuple[int, str | None, str]]) -> bool:
    """Return whether the rows of product_attributes are those right after a run (R13).

    Args:
        base: the run.
        commits: version, run_id and operation of commits to the table.
    """
    later = [one for one in commits if one[0] > (base.compared_version or 0)]
    own = (base.run_id, "MERGE")
    return all((run, what) == own or what in _KEEPS_ROWS for _, run, what in later)


class PublishedRow(NamedTuple):
    """Published row, for `must_be_compared`: booleans or columns, and its status."""

    is_newer: Any  # a run wrote it that is newer than the base of the comparison
    has_same_model: Any
    has_same_corrections: Any
    status: Any


def must_be_compared(row: PublishedRow, *, has_images: bool) -> Any:
    """Return whether a published row may be due although no feed names it (R13).

    Args:
        row: the row.
        has_images: the product table names images, and a listing covers them.
    """
    was_unread = row.status == Status.IMAGE_UNREADABLE
    if has_images:
        was_unread = not_(_is_one_of(row.status, _IMAGE_WAS_READ))
    return row.is_newer | not_(row.has_same_model) | not_(row.has_same_corrections) | was_unread


# End of a model version, after its checkpoint, as `name_model_version` writes it.
SETTINGS_SUFFIX = r"-p\d+(-[0-9a-f]{6})?$"


def checkpoint_of(model_version: str) -> str:
    """Return the checkpoint of a model version, without target precision and settings."""
    return re.sub(SETTINGS_SUFFIX, "", model_version)


def not_(condition: Any) -> Any:
    """Negate a boolean or a column."""
    return ~condition if isinstance(condition, Column) else not condition


def case_when(*cases: tuple[Any, Any], otherwise: Any) -> Any:
    """Return the value of the first condition that holds."""
    if not any(isinstance(condition, Column) for condition, _ in cases):
        return next((value for condition, value in cases if condition), otherwise)
    first, *rest = cases
    chain = reduce(lambda chain, case: chain.when(*case), rest, F.when(*first))
    return chain.otherwise(otherwise)


def _is_one_of(value: Any, values: Sequence[str]) -> Any:
    return value.isin(*values) if isinstance(value, Column) else value in values


# States that may follow each state; None: the run has no event yet.
NEXT_STATES: Mapping[str | None, tuple[State, ...]] = {
    None: (State.STARTED, State.NOTHING_TO_DO, State.BLOCKED, State.FAILED),
    State.STARTED: (
        State.STAGED,
        State.BLOCKED,
        State.PUBLISHING,
        State.NOTHING_TO_DO,
        State.FAILED,
    ),
    State.STAGED: (State.APPROVED, State.DISCARDED, State.SUPERSEDED),
    State.BLOCKED: (State.APPROVED, State.DISCARDED, State.SUPERSEDED),
    State.APPROVED: (State.PUBLISHING, State.APPROVED, State.DISCARDED, State.SUPERSEDED),
    # Without a commit in the table's history the state before the intent comes back.
    State.PUBLISHING: (State.PUBLISHED, State.FAILED, State.APPROVED, State.RELEASED),
    # A process that was taken for dead may still end well.
    State.FAILED: (State.PUBLISHED,),
    State.PUBLISHED: (State.ROLLING_BACK, State.ROLLED_BACK),
    State.NOTHING_TO_DO: (State.ROLLED_BACK,),
    State.ROLLING_BACK: (State.ROLLED_BACK, State.PUBLISHED),
    State.ROLLED_BACK: (State.RELEASED,),
    State.RELEASED: (State.PUBLISHING, State.RELEASED),
}
