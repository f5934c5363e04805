"""Something that is timed, in a process that may be used again."""

from collections.abc import Callable
from dataclasses import dataclass


def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Stage:
    """`run` does the work once and returns how many products that was; `warm` comes before it.

    Start-up is not what is compared: `warm` is not timed, and leaves models loaded. Spark ends
    Python workers after a minute without work, so once at the start is not enough.
    """

    run: Callable[[], int]
    warm: Callable[[], object] = _nothing
