"""Rules of the refresh: what is newer, due, held back, and what an encoding is worth.

Each rule is a pure function that takes either plain Python values or Spark columns. The refresh
applies it to columns, and the in-memory model of the tests to values.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import reduce
from typing import Any, NamedTuple

from pyspark.sql import Column
from pyspark.sql import functions as F
from schemas.tables import DiffKind, Outcome, State, Status

# A worker may have died of something else than the row: after so long it is tried again.
CRASH_HOLDS = timedelta(days=7)
# An open intent that is younger may still be carried out by a live process.
INTENT_IS_FRESH = timedelta(minutes=15)

# Of a run that was killed before its MERGE the intent stays open.
_HAS_NOT_ENDED = (State.STARTED, State.PUBLISHING, State.FAILED)
_HOLDS_FOR_EVER = (Status.OK, Status.TEXT_EMPTY, Status.IMAGE_MISSING, Status.IMAGE_CORRUPT)
_HOLDS_UNDER_LIMITS = (Status.IMAGE_TOO_LARGE, Status.IMAGE_FORBIDDEN)
# Of rows whose picture was read, or has none to be read: a listing tells if it changes.
_LOOKED_AT = (Status.OK, Status.TEXT_EMPTY, Status.IMAGE_CORRUPT)
# Operations on a table that leave its rows as they are.
_KEEPS_ROWS = (
    *("OPTIMIZE", "REORG", "VACUUM START", "VACUUM END", "COMPUTE STATS"),
    *("SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "ADD COLUMNS", "CLUSTER BY", "UPGRADE PROTOCOL"),
)


class Attempt(NamedTuple):
    """What orders runs (R1): of two the one with the larger triple is newer.

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


class Found(NamedTuple):
    """What the diff knows of one product: booleans, or columns of booleans without NULL.

    `is_listed`: the product table has it. `is_published`: product_attributes has it, and the other
    fields about that row are false where it has not.
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
    was_unreadable: Any  # the published row rests on a picture that was out of reach
    is_held_back: Any
    is_quarantined: Any  # an accepted finding about this content holds
    was_retried: Any  # an accepted finding does not hold: the store had failed
    is_renewed: Any  # a full refresh


def outcome_of(found: Found) -> Any:
    """Return what becomes of a product (R2, R6): an `Outcome`, or a column of them."""
    is_same = found.is_published & found.has_same_content & found.has_same_model
    is_current = is_same & not_(found.was_unreadable)
    return choose(
        (not_(found.is_listed) & found.is_newer, Outcome.SUPERSEDED),
        (not_(found.is_listed), Outcome.MISSING),
        (found.is_malformed, Outcome.MALFORMED),
        (not_(found.has_id), Outcome.NULL_ID),
        (found.is_repeated, Outcome.DUPLICATE_ID),
        (is_current & found.has_same_details & not_(found.is_renewed), Outcome.UNCHANGED),
        (found.is_newer, Outcome.SUPERSEDED),
        (is_current & not_(found.is_renewed), Outcome.REVISED),
        # What a rollback has restored keeps its labels, and still follows category and people.
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
    """Tell whether an encoding or a finding still says what reading again would say (R3).

    Args:
        status: what could be read.
        has_same_limits: the image limits and allowed roots are those of today.
        is_own: this very run wrote it.
        is_recent: it is younger than `CRASH_HOLDS`.
    """
    return (
        _is_one_of(status, _HOLDS_FOR_EVER)
        | (_is_one_of(status, _HOLDS_UNDER_LIMITS) & has_same_limits)
        | ((status == Status.WORKER_CRASHED) & is_recent)
        | ((status == Status.IMAGE_UNREADABLE) & is_own)
    )


def may_update(new: Attempt, old: Attempt, replaces: Any, *, is_outrun: bool) -> Any:
    """Tell whether a candidate replaces its published row (R1, R4).

    Args:
        new: the run of the candidate.
        old: the run of the published row.
        replaces: run_id of the published row that the candidate's run saw.
        is_outrun: a newer whole run is accepted.
    """
    if is_outrun:
        return (old.run_id == replaces) & is_newer(new, old)
    return is_newer(new, old)


class Run(NamedTuple):
    """The last event of a run, as far as rules look at it."""

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
    settings: str = ""
    compared_version: int | None = None
    diff: str = DiffKind.FULL
    missing: int | None = None
    deleted: int | None = None

    @property
    def attempt(self) -> Attempt:
        """What orders it among runs."""
        return Attempt(self.run_date, self.started_at, self.run_id)

    @property
    def is_accepted(self) -> bool:
        """Whether it came to its end and was not rolled back (R1)."""
        return self.state in (State.PUBLISHED, State.NOTHING_TO_DO)

    @property
    def is_waiting(self) -> bool:
        """Whether a person may approve or discard it."""
        return self.state in (State.STAGED, State.BLOCKED, State.APPROVED)

    @property
    def holds_back(self) -> bool:
        """Whether what it had published is held back: a rollback named this run (R6)."""
        return self.state == State.ROLLED_BACK and self.caused_by is None

    @property
    def has_open_intent(self) -> bool:
        """Whether it ended, or still is, between an intent and its outcome (R5)."""
        return self.state in (State.PUBLISHING, State.ROLLING_BACK)


def is_outrun(attempt: Attempt, runs: Sequence[Run]) -> bool:
    """Tell whether a newer whole run is accepted (R4)."""
    return any(run.is_whole and run.is_accepted and is_newer(run.attempt, attempt) for run in runs)


def find_full_refresh_start(
    trigger: str | None, run_date: date, runs: Sequence[Run]
) -> datetime | None:
    """Return when a full refresh that never ended first started (R9), None if none is open.

    Encodings that are younger belong to that refresh and need not be made again. Without a trigger
    it is one of the same run date: whoever asks for another one on a later day wants a new one.
    """
    same = [run for run in runs if run.full_refresh and run.trigger == trigger]
    if trigger is None:
        same = [run for run in same if run.run_date == run_date]
    ended = [run.started_at for run in same if run.state not in _HAS_NOT_ENDED]
    since = max(ended, default=None)
    left = [run.started_at for run in same if since is None or run.started_at > since]
    return min(left, default=None)


def find_base(own: Run, runs: Sequence[Run], full_since: datetime, *, deletes: bool) -> Run | None:
    """Return the run since which changes are to be compared (R13), None to compare all products.

    That is the newest accepted whole run, if it was over the same product table, with the same
    settings and model, and one such run has compared all products of late.

    Args:
        own: the run that asks.
        runs: the others.
        full_since: a full diff that began earlier is too old.
        deletes: rows of missing products are deleted.
    """
    if not own.is_whole or own.full_refresh or is_outrun(own.attempt, runs):
        return None
    whole = [run for run in runs if run.is_whole and run.is_accepted]
    base = max(whole, key=lambda run: run.attempt, default=None)
    if base is None or not _sees_alike(base, own):
        return None
    if int(base.source_version) > int(own.source_version):
        return None
    same = [run for run in whole if run.diff == DiffKind.FULL and _sees_alike(run, own)]
    if not any(run.started_at > full_since for run in same):
        return None
    # While another run is between intent and outcome, nobody knows what is accepted. And what was
    # held back may be due again.
    if any(run.has_open_intent or run.state == State.RELEASED for run in runs):
        return None
    # It left rows that are to be deleted, and no feed names these again.
    if deletes and (base.missing or 0) > (base.deleted or 0):
        return None
    return base


def _sees_alike(run: Run, own: Run) -> bool:
    """Tell whether both runs would find the same of the same product."""
    if run.compared_version is None or not run.source_version.isdecimal():
        return False
    names = ("source", "settings", "model_version")
    return all(getattr(run, name) == getattr(own, name) for name in names)


def is_as_left(base: Run, commits: Iterable[tuple[int, str | None, str]]) -> bool:
    """Tell whether product_attributes holds what it held behind a run (R13).

    Args:
        base: the run.
        commits: version, run_id and operation of commits to the table.
    """
    later = [one for one in commits if one[0] > (base.compared_version or 0)]
    own = (base.run_id, "MERGE")
    return all((run, what) == own or what in _KEEPS_ROWS for _, run, what in later)


class Row(NamedTuple):
    """Published row as `must_be_compared` sees it: booleans or columns, and its status."""

    is_newer: Any  # it is of a newer run than the one since which changes are compared
    has_same_model: Any
    has_same_corrections: Any
    status: Any


def must_be_compared(row: Row, *, has_images: bool) -> Any:
    """Tell whether a published row is due, or may be, though no feed names its product (R13).

    Args:
        row: the row.
        has_images: the product table names images, of which a listing says what it has.
    """
    was_unread = row.status == Status.IMAGE_UNREADABLE
    if has_images:
        was_unread = not_(_is_one_of(row.status, _LOOKED_AT))
    return row.is_newer | not_(row.has_same_model) | not_(row.has_same_corrections) | was_unread


# What a model version has behind its checkpoint, as `name_model_version` writes it.
OF_SETTINGS = r"-p\d+(-[0-9a-f]{6})?$"


def checkpoint_of(model_version: str) -> str:
    """Return the checkpoint of a model version, without target precision and settings."""
    return re.sub(OF_SETTINGS, "", model_version)


def not_(condition: Any) -> Any:
    """Return the opposite of a boolean or of a column."""
    return ~condition if isinstance(condition, Column) else not condition


def same(one: Any, other: Any) -> Any:
    """Tell whether two values are equal, or both missing."""
    return one.eqNullSafe(other) if isinstance(one, Column) else one == other


def choose(*cases: tuple[Any, Any], otherwise: Any) -> Any:
    """Return the value of the first condition that holds."""
    if not any(isinstance(condition, Column) for condition, _ in cases):
        return next((value for condition, value in cases if condition), otherwise)
    first, *rest = cases
    chain = reduce(lambda chain, case: chain.when(*case), rest, F.when(*first))
    return chain.otherwise(otherwise)


def _is_one_of(value: Any, values: Sequence[str]) -> Any:
    return value.isin(*values) if isinstance(value, Column) else value in values


# The states that may follow each state; None: the run has no event yet.
FOLLOWS: Mapping[str | None, tuple[State, ...]] = {
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
