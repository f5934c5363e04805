"""Something that is timed, in a process that may be used again."""

from collections.abc import Callable
from dataclasses import dataclass


def _nothing() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Stage:
    """What is timed once in every repetition; start-up is not what is compared.

    Attributes:
        run: does the work once, and returns how many products that was.
        warm: loads models before each run, and is not timed. Before each, because Spark ends Python
            workers after a minute without work.
        start_up: for what starts its workers anew with every run, and so cannot be warmed, or runs
            over fewer products than the others: does the same work for next to no products, and
            returns how many. Its products and its time are subtracted from those of the run.
    """

    run: Callable[[], int]
    warm: Callable[[], object] = _nothing
    start_up: Callable[[], int] = _nothing
