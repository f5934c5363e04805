"""Times as Spark hands them out, and as they may be handed back."""

from datetime import UTC, datetime
from typing import TypeVar

from pyspark.sql import Column
from pyspark.sql import functions as F

Value = TypeVar("Value")


def is_to_come(run_date: str) -> Column:
    """Returns whether the date in a column is to come: a clock was wrong when it was written.

    What such a run did would stand as newer than all others until that day. With a day to spare,
    because a session may have any time zone.
    """
    return F.col(run_date) > F.date_add(F.current_date(), 2)


def in_utc(value: Value) -> Value | datetime:
    """Returns a time with its zone, anything else as it is.

    Spark hands out times in this machine's zone, without saying so. Arrow takes such for UTC, and
    what Spark makes of them is an hour late after clocks have gone back.
    """
    return value.astimezone(UTC) if isinstance(value, datetime) else value
