"""Makes a cheap commit again when another process committed to the same table meanwhile."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from delta import exceptions as delta
from tenacity import (
    RetryCallState,
    RetryError,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from enrich.errors import TableContended

log = logging.getLogger(__name__)

_ATTEMPTS = 8
_LONGEST_WAIT_S = 30
# What Delta raises has no class in common.
CONFLICTS = (
    delta.ConcurrentAppendException,
    delta.ConcurrentDeleteDeleteException,
    delta.ConcurrentDeleteReadException,
    delta.ConcurrentTransactionException,
    delta.ConcurrentWriteException,
    delta.DeltaConcurrentModificationException,
    delta.MetadataChangedException,
    delta.ProtocolChangedException,
)

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
            retry=retry_if_exception_type(CONFLICTS),
            stop=stop_after_attempt(_ATTEMPTS),
            # Random: two that collided must not meet again.
            wait=wait_random_exponential(multiplier=1, max=_LONGEST_WAIT_S),
            before_sleep=_log,
        )
        try:
            return attempts(commit, tables, *arguments, **named)
        except RetryError as error:
            conflict = error.last_attempt.exception()
            raise TableContended(
                f"other processes wrote to the tables of {tables.database} at the same time, "
                f"{_ATTEMPTS} times in a row ({_first_line(conflict)}). Nothing is lost: start the "
                "same run again when they have ended, and it goes on from what it has staged"
            ) from conflict

    return persistent


def _log(attempt: RetryCallState) -> None:
    conflict = attempt.outcome.exception() if attempt.outcome else None
    log.warning(
        "another process wrote at the same time, trying again (%s of %s): %s",
        attempt.attempt_number,
        _ATTEMPTS,
        _first_line(conflict),
    )


def _first_line(error: BaseException | None) -> str:
    return (str(error).splitlines() or [""])[0]
