"""Times as Spark hands them out, and as they may be handed back."""

from datetime import UTC, datetime
from typing import TypeVar

Value = TypeVar("Value")


def is_to_come(run_date: str) -> str:
    """Returns SQL: whether the date in a column is still to come. Then that run's clock was wrong.

    Without this, what such a run wrote would count as newer than all else until that day. Two days
    are allowed for, because a session may have any time zone.
    """
    return f"{run_date} > date_add(current_date(), 2)"


def in_utc(value: Value) -> Value | datetime:
    """Returns a time with its zone, anything else as it is.

    Spark hands out times in this machine's zone, without saying so. Arrow takes such for UTC, and
    what Spark makes of them is an hour late after clocks have gone back.
    """
    return value.astimezone(UTC) if isinstance(value, datetime) else value
