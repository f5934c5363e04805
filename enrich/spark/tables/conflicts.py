"""Makes a cheap commit again when another process committed to the same table meanwhile."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from delta import exceptions as delta
from py4j.protocol import Py4JJavaError
from pyspark.errors import AnalysisException
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    wait_random_exponential,
)

from enrich.errors import TableContended, first_line

log = logging.getLogger(__name__)

_ATTEMPTS = 8
_ATTEMPTS_AT_CREATION = 5
_LONGEST_WAIT_S = 30
# Another process changed columns or properties.
CHANGED_TABLE = (delta.MetadataChangedException, delta.ProtocolChangedException)
# Delta's errors about conflicts have no class of their own in common.
CONFLICTS = (
    *CHANGED_TABLE,
    delta.ConcurrentAppendException,
    delta.ConcurrentDeleteDeleteException,
    delta.ConcurrentDeleteReadException,
    delta.ConcurrentTransactionException,
    delta.ConcurrentWriteException,
    delta.DeltaConcurrentModificationException,
)
# Errors about a table or view that another process is creating at this moment: Spark replaces a
# view by dropping it first. They may also mean that somebody else's files are in its place, or that
# it is gone: so it is tried again a few times only.
_IN_CREATION = (
    "DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION",
    "TABLE_OR_VIEW_ALREADY_EXISTS",
    "TABLE_OR_VIEW_NOT_FOUND",
)

_IN_HIVE = "AlreadyExistsException(message:Table"

P = ParamSpec("P")
R = TypeVar("R")


def retried_on_conflict(
    commit: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """Returns a method of the output tables that begins anew after a Delta conflict.

    Runs on the driver. For commits that cost seconds: never for one that asks the classifier.

    Raises:
        TableContended: others were faster eight times in a row.
    """

    @wraps(commit)
    def persistent(tables: Any, *arguments: P.args, **named: P.kwargs) -> R:
        attempts = Retrying(
            retry=retry_if_exception(lambda error: _is_conflict(error) or _is_in_creation(error)),
            stop=_has_tried_enough,
            # Random: two that collided must not meet again.
            wait=wait_random_exponential(multiplier=1, max=_LONGEST_WAIT_S),
            before_sleep=_log,
            reraise=True,
        )
        try:
            return attempts(commit, tables, *arguments, **named)
        except CONFLICTS as conflict:
            raise TableContended(
                f"other processes wrote to the tables of {tables.database} at the same time, "
                f"{_ATTEMPTS} times in a row ({first_line(conflict)}). Nothing is lost: start the "
                "same run again when they have ended, and it goes on from what it has staged"
            ) from conflict

    return persistent


def _is_conflict(error: BaseException) -> bool:
    return isinstance(error, CONFLICTS)


def _is_in_creation(error: BaseException) -> bool:
    if isinstance(error, Py4JJavaError):
        # A process that took an unfinished creation for abandoned has removed its folder.
        return "_delta_log does not exist" in first_line(error)
    if not isinstance(error, AnalysisException):
        return False
    # Hive was quicker than Spark to notice that the table is there by now.
    return error.getCondition() in _IN_CREATION or _IN_HIVE in first_line(error)


def _has_tried_enough(attempt: RetryCallState) -> bool:
    error = attempt.outcome.exception() if attempt.outcome else None
    limit = _ATTEMPTS if error and _is_conflict(error) else _ATTEMPTS_AT_CREATION
    return attempt.attempt_number >= limit


def _log(attempt: RetryCallState) -> None:
    conflict = attempt.outcome.exception() if attempt.outcome else None
    log.warning(
        "another process wrote at the same time, trying again (after %s): %s",
        attempt.attempt_number,
        first_line(conflict),
    )
