"""What the quality gate says of a run: written by the expectations, obeyed by the refresh."""

from dataclasses import dataclass
from typing import Any

# What a run's verdict, and `label_quality`, call a baseline that there was not.
NO_BASELINE = "none"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a run may go on, and what is to be kept of how that was found out.

    Attributes:
        failures: a sentence for each check that stops the run.
        notes: sentences that a person should read and that stop nothing.
        baseline: name of the catalog whose baseline was used, or NO_BASELINE.
        quality: rows of `label_quality`, without the columns that say of which run they are.
        docs_path: Great Expectations' page about the checks, None where none was written.
    """

    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    baseline: str = NO_BASELINE
    quality: tuple[dict[str, Any], ...] = ()
    docs_path: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the run may go on."""
        return not self.failures
