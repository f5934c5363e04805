"""What a check of the gate is: an observed figure, what it is held against, and words for both.

Knows nothing of where the figure came from nor of Great Expectations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "warning"]


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation on one attribute of one category (None: on all of them).

    Attributes:
        expectation: its name, in snake case.
        observed: rows, a share, a distance, log-odds, or a divergence in nats.
        rule: what is expected, as a sentence.
        finding: what was observed and what is allowed, as a sentence.
        at_most, at_least: what `observed` is held against; one of them is None.
        severity: "critical" blocks, "warning" is reported.
    """

    expectation: str
    observed: float
    rule: str
    finding: str
    at_most: float | None = None
    at_least: float | None = None
    attribute: str | None = None
    category: str | None = None
    severity: Severity = "critical"

    @property
    def threshold(self) -> float:
        """What `observed` is held against."""
        threshold = self.at_least if self.at_most is None else self.at_most
        assert threshold is not None
        return threshold

    @property
    def words(self) -> str:
        """Its name in words, such as "label distribution near baseline"."""
        return self.expectation.removeprefix("expect_").replace("_", " ")

    @property
    def about(self) -> str:
        """What the check is about, in words; empty for the whole table."""
        category = "" if self.category is None else f"category {self.category}"
        return " in ".join(part for part in (self.attribute, category) if part)

    @property
    def passed(self) -> bool:
        """Whether the figure is as expected."""
        if self.at_most is not None:
            return self.observed <= self.at_most
        return self.observed >= self.threshold

    @property
    def blocks(self) -> bool:
        """Whether nothing may be published because of it."""
        return not self.passed and self.severity == "critical"


# Makes a check that chance may fail, from the probability that it may: its threshold follows.
ChanceCheck = Callable[[float], Check]


def share_out(checks: Sequence[ChanceCheck], false_alarm_rate: float) -> list[Check]:
    """Returns the checks; the false alarms that are allowed are shared out evenly among them.

    Args:
        checks: what makes them.
        false_alarm_rate: the share of sound runs in which any of them may fail, in [0, 1].
    """
    return [check(false_alarm_rate / len(checks)) for check in checks]
