"""Times as Spark hands them out, and as they may be handed back."""

from datetime import UTC, datetime
from typing import TypeVar

Value = TypeVar("Value")


def in_utc(value: Value) -> Value | datetime:
    """Returns a time with its zone, anything else as it is.

    Spark hands out times in this machine's zone, without saying so. Arrow takes such for UTC, and
    what Spark makes of them is an hour late after clocks have gone back.
    """
    return value.astimezone(UTC) if isinstance(value, datetime) else value
