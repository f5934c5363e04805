"""What the fault tests count together."""

from dataclasses import dataclass, field

COUNTED = (
    "kill_points",
    "kills",
    "kills_survived",
    "images_tried",
    "rows_tried",
    "rows_in",
    "rows_out",
)


@dataclass
class Drill:
    """The counts of one pytest session."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTED, 0))
