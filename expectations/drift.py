"""The checks of a run's figures against what its baseline leads to expect.

Knows nothing of which categories are compared, nor of what was tolerated to be published.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

import numpy as np
from schemas.digits import tell_apart

from expectations import chance
from expectations.checks import ChanceCheck, Check, Severity
from expectations.expected import CountsNames, Expected, labels_of
from expectations.settings import ValidationSettings
from expectations.summary import AttributeSummary, GroupSummary

LARGEST_SHIFTS = 3
# Confidences are spread unevenly: a few sure products and one unsure one are no normal sample.
MIN_ANSWERED_FOR_MEAN = 5


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared: all products of a run (`category` None), or those of one category.

    `baseline` is its name.
    """

    category: str | None
    group: GroupSummary
    expected: Expected
    baseline: str
    severity: Severity = "critical"


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Rows by name of a run, and the shares that the baseline leads to expect."""

    names: list[str]
    counts: chance.Numbers
    shares: chance.Numbers

    def largest_shifts(self) -> str:
        """Returns what moved most, in words."""
        after = self.counts / self.counts.sum()
        order = np.argsort(-np.abs(after - self.shares), kind="stable")[:LARGEST_SHIFTS]
        return ", ".join(f"{self.names[i]} {self.shares[i]:.2f} -> {after[i]:.2f}" for i in order)


def compare(scope: Scope, settings: ValidationSettings) -> Iterator[ChanceCheck]:
    """Yields the comparisons of a scope; within a category only those that block."""
    slack = 1.0 if scope.category is None else settings.category_slack
    yield partial(_check_modalities, scope, slack * settings.max_modality_shift)
    for attribute, summary in scope.group.attributes.items():
        if not scope.expected.has(attribute):
            continue
        yield partial(_check_divergence, scope, attribute, slack * settings.max_divergence)
        if sum(summary.confidences) and scope.expected.confidence_shares(attribute).sum():
            tolerance = slack * settings.max_confidence_shift
            yield partial(_check_confidences, scope, attribute, tolerance)
        if scope.category is None:
            yield partial(_check_moved_labels, scope, attribute, settings.max_label_shift)
            if _has_mean(summary) and scope.expected.answered(attribute):
                tolerance = settings.max_mean_confidence_shift
                yield partial(_check_answered_confidence, scope, attribute, tolerance)


def _has_mean(summary: AttributeSummary) -> bool:
    enough = summary.answered >= MIN_ANSWERED_FOR_MEAN
    return enough and summary.answered_mean is not None


def _check_divergence(scope: Scope, attribute: str, tolerance: float, alpha: float) -> Check:
    labels, rows = _compare(scope, labels_of(attribute)), scope.expected.rows
    observed = chance.kl_divergence(labels.counts, labels.shares, rows)
    allowed = chance.allowed_divergence(tolerance, scope.group.rows, rows, len(labels.names), alpha)
    found, most = tell_apart(observed, allowed, ".2f")
    return Check(
        expectation="expect_label_distribution_near_baseline",
        attribute=attribute,
        category=scope.category,
        severity=scope.severity,
        observed=observed,
        at_most=allowed,
        rule="Label shares, abstentions among them, stay close to the baseline's: KL divergence, "
        f"{tolerance:g} nats and what chance adds to that.",
        finding=f"label distribution of {scope.group.rows:,} different products is {found} from "
        f"the baseline {scope.baseline!r} (KL), allowed {most} (validation.max_divergence); "
        f"largest shifts: {labels.largest_shifts()}",
    )


def _check_moved_labels(scope: Scope, attribute: str, tolerance: float, alpha: float) -> Check:
    labels, observed, allowed = _moved_rows(scope, labels_of(attribute), tolerance, alpha)
    found, most = tell_apart(observed, allowed, ".1%")
    return Check(
        expectation="expect_few_labels_moved",
        attribute=attribute,
        severity="warning",
        observed=observed,
        at_most=allowed,
        rule="Few rows would need another label to show the baseline's shares: total variation, "
        f"{tolerance:.0%} and what chance adds to that.",
        finding=f"{found} of {scope.group.rows:,} different products would need another label to "
        f"show the shares of the baseline {scope.baseline!r}, allowed {most} "
        f"(validation.max_label_shift); largest shifts: {labels.largest_shifts()}",
    )


def _check_confidences(scope: Scope, attribute: str, tolerance: float, alpha: float) -> Check:
    counts = np.array(scope.group.attributes[attribute].confidences, dtype=float)
    observed = chance.kolmogorov_distance(counts, scope.expected.confidence_shares(attribute))
    allowed = chance.allowed_kolmogorov_distance(
        tolerance, counts.sum(), scope.expected.rows, alpha
    )
    found, most = tell_apart(observed, allowed, ".2f")
    return Check(
        expectation="expect_confidence_distribution_near_baseline",
        attribute=attribute,
        category=scope.category,
        severity=scope.severity,
        observed=observed,
        at_most=allowed,
        rule="The share of rows below any confidence stays close to the baseline's: Kolmogorov's "
        f"distance, {tolerance:g} and what chance adds to that.",
        finding=f"of {counts.sum():,.0f} different products the share below some confidence "
        f"differs by {found} from the baseline {scope.baseline!r}, allowed {most} "
        "(validation.max_confidence_shift)",
    )


def _check_answered_confidence(
    scope: Scope, attribute: str, tolerance: float, alpha: float
) -> Check:
    """Compares what the classifier believes of its own precision, of 5 answered rows or more.

    Where confidences are calibrated, their mean over answered rows is the precision to expect. It
    tells that products became harder or easier for the classifier; that the classifier is wrong
    without knowing it, only labels given by people can tell.
    """
    summary, expected = scope.group.attributes[attribute], scope.expected.answered(attribute)
    assert expected is not None and summary.answered_mean is not None
    observed = abs(summary.answered_mean - expected.mean)
    allowed = chance.allowed_mean_shift(
        tolerance, summary.answered, expected.rows, expected.sd, alpha
    )
    found, most = tell_apart(observed, allowed, ".3f")
    return Check(
        expectation="expect_answered_confidence_near_baseline",
        attribute=attribute,
        severity="warning",
        observed=observed,
        at_most=allowed,
        rule="The mean confidence of answered rows, which is the precision to expect of them where "
        f"confidences are calibrated, stays near the baseline's: {tolerance:g} and what chance "
        "adds to that.",
        finding=f"{summary.answered:,} different answered products have a mean confidence of "
        f"{summary.answered_mean:.3f}, by the baseline {scope.baseline!r} {expected.mean:.3f} is "
        f"expected: a difference of {found}, allowed {most} (validation.max_mean_confidence_shift)",
    )


def _check_modalities(scope: Scope, tolerance: float, alpha: float) -> Check:
    rests_on, observed, allowed = _moved_rows(scope, attrgetter("modalities"), tolerance, alpha)
    found, most = tell_apart(observed, allowed, ".1%")
    return Check(
        expectation="expect_modalities_near_baseline",
        category=scope.category,
        severity=scope.severity,
        observed=observed,
        at_most=allowed,
        rule="Answers rest on images and texts as often as in the baseline: total variation, "
        f"{tolerance:.0%} and what chance adds to that.",
        finding=f"{found} of {scope.group.rows:,} different products rest on other modalities than "
        f"expected by the baseline {scope.baseline!r}, allowed {most} "
        f"(validation.max_modality_shift); largest shifts: {rests_on.largest_shifts()}",
    )


def _moved_rows(
    scope: Scope, count: CountsNames, tolerance: float, alpha: float
) -> tuple[_Comparison, float, float]:
    """Returns what is compared, its total variation, and how much of that is allowed."""
    compared = _compare(scope, count)
    observed = chance.total_variation(compared.counts, compared.shares)
    allowed = chance.allowed_total_variation(
        tolerance, scope.group.rows, scope.expected.rows, compared.shares, alpha
    )
    return compared, observed, allowed


def _compare(scope: Scope, count: CountsNames) -> _Comparison:
    counts, shares = count(scope.group), scope.expected.shares(count)
    names = list(dict.fromkeys([*counts, *shares]))
    return _Comparison(
        names,
        np.array([counts.get(name, 0) for name in names], dtype=float),
        np.array([shares.get(name, 0) for name in names], dtype=float),
    )
