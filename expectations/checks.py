"""Checks of the gate and the verdict on a run."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from schemas.tables import CheckOutcome, Suite

# Value of `baseline` in a verdict and in `label_quality` where no baseline was compared with.
NO_BASELINE = "none"

# Ids kept of the products that a failed check is about.
MAX_PRODUCTS = 1_000


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation on one attribute of one category; a row of `label_quality`.

    A check fails where `observed` is above `threshold` + `allowance`. All three are in the same
    unit, mostly shares of products in [0, 1]; None where an expectation has no such figure.

    Attributes:
        suite: "input" before inference, "candidates" before publication.
        expectation: name of its type in Great Expectations.
        attribute: None for the whole table.
        category: None for all products.
        observed: None where Great Expectations could not evaluate it.
        threshold: what the settings allow.
        allowance: what chance adds to that in a run of this size.
        detail: finding and limit as a sentence.
        products: ids of products that a failed check is about, at most MAX_PRODUCTS.
    """

    suite: Suite
    expectation: str
    attribute: str | None
    category: str | None
    observed: float | None
    threshold: float | None
    allowance: float | None
    outcome: CheckOutcome
    detail: str
    products: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Decision on a run, and what is kept of how it was made.

    A sentence of `failures` tells of each check that blocks the run; `notes` block nothing.
    `baseline` is the catalog whose baseline was used, or NO_BASELINE. `quality` are rows of
    `label_quality`, without the columns that say of which run they are.
    """

    failures: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    baseline: str = NO_BASELINE
    quality: tuple[dict[str, Any], ...] = ()

    @property
    def passed(self) -> bool:
        """True if the run may go on."""
        return not self.failures


def reach_verdict(checks: Iterable[Check], notes: Iterable[str], baseline: str) -> Verdict:
    """Return the verdict that follows from a run's checks.

    Where a check of all products fails, those of its categories are in `quality` alone.
    """
    checks = tuple(checks)
    return Verdict(
        failures=_sentences(checks, CheckOutcome.FAIL),
        notes=(*notes, *_sentences(checks, CheckOutcome.WARN)),
        baseline=baseline,
        quality=tuple(asdict(one) | {"products": list(one.products)} for one in checks),
    )


def _sentences(checks: Iterable[Check], outcome: CheckOutcome) -> tuple[str, ...]:
    ended = [one for one in checks if one.outcome is outcome]
    of_all = {(one.expectation, one.attribute) for one in ended if one.category is None}
    return tuple(
        one.detail
        for one in ended
        if one.category is None or (one.expectation, one.attribute) not in of_all
    )


def say_limit(setting: str, threshold: float, allowance: float) -> str:
    """Return the limit in words, the setting and what chance adds apart."""
    most = f"allowed {threshold:.1%} (validation.{setting})"
    if allowance <= 0:
        return most
    return f"{most} and {allowance:.1%} by chance in a run of this size"
