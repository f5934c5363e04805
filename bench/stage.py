"""Something that is timed, in a process that may be used again."""

from collections.abc import Callable
from dataclasses import dataclass


def _nothing() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Stage:
    """`run` does the work once and returns how many products that was; `warm` comes before it.

    Start-up is not what is compared: `warm` is not timed, and leaves models loaded. Spark ends
    Python workers after a minute without work, so once at the start is not enough.

    What starts its workers anew with every run cannot be warmed. There `start_up` does the same
    work for next to no products and returns how many; its products and its time are taken off.
    """

    run: Callable[[], int]
    warm: Callable[[], object] = _nothing
    start_up: Callable[[], int] = _nothing
