"""What the fault tests count together, and whether they run in full."""

import os
from dataclasses import dataclass, field

import pytest

COUNTED = (
    "kill_points",
    "kills",
    "kills_survived",
    "images_tried",
    "rows_tried",
    "rows_in",
    "rows_out",
)


def is_long() -> bool:
    """Returns whether the fault tests run in full (`make test-faults`) or as CI's short cut."""
    return os.environ.get("FAULTS") == "long"


# What takes whole refreshes, and is not what every change must be held against within half an hour.
in_full = pytest.mark.skipif(not is_long(), reason="whole refreshes: make test-faults")


@dataclass
class Drill:
    """The counts of one pytest session."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
