"""The checks that need no baseline: rows are whole, values are sound, most rows are answered."""

from collections.abc import Iterator, Mapping, Sequence
from math import log

from schemas.digits import tell_apart
from schemas.labels import ABSTAINED

from expectations import chance
from expectations.checks import Check
from expectations.figures import ConfidenceFigures, StagedFigures
from expectations.summary import AttributeSummary

NAMED_LABELS = 20

# So many different products with one and the same confidence are no chance.
MIN_ROWS_FOR_SPREAD = 20
# In log-odds, because a classifier that is very sure differs in the digits behind many nines. At
# one half it is a thousandth.
MIN_CONFIDENCE_SPREAD = 0.004
_NEAREST_TO_SURE = 1e-9


def check_rows(figures: StagedFigures, expected_rows: int) -> Iterator[Check]:
    """Yields the checks of the table as a whole; an empty one fails, whatever was expected."""
    wanted = max(expected_rows, 1)
    yield Check(
        expectation="expect_all_rows_staged",
        observed=abs(figures.rows - wanted),
        at_most=0,
        rule="As many rows are staged as the run answered; the figure is the difference.",
        finding=f"{figures.rows} rows are staged, expected {wanted}",
    )
    yield Check(
        expectation="expect_one_row_per_product",
        observed=figures.rows - figures.distinct_products,
        at_most=0,
        rule="Every row has a product_id that no other row has; the figure counts the others.",
        finding=f"{figures.rows} rows hold {figures.distinct_products} distinct product_id",
    )


def check_values(
    attribute: str,
    labels: Sequence[str],
    summary: AttributeSummary,
    label_rows: Mapping[str, int],
    confidences: ConfidenceFigures,
) -> Iterator[Check]:
    """Yields the checks of one attribute's values, row by row."""
    unknown = {x: n for x, n in label_rows.items() if x not in labels}
    named = f" ({', '.join(map(repr, list(unknown)[:NAMED_LABELS]))})" if unknown else ""
    yield _no_row(
        "expect_known_labels",
        attribute,
        sum(unknown.values()),
        "Labels come from the checkpoint's set; an abstention is allowed.",
        f"hold a label unknown to the checkpoint{named}",
    )
    yield _no_row(
        "expect_confidence_present",
        attribute,
        confidences.missing,
        "A confidence is there also where the classifier abstained.",
        "have no confidence",
    )
    yield _no_row(
        "expect_confidence_in_unit_interval",
        attribute,
        confidences.outside,
        "A confidence is a probability between 0 and 1.",
        "have a confidence outside [0, 1]",
    )
    # With a single label to choose from, every answer is equally certain.
    if sum(summary.confidences) >= MIN_ROWS_FOR_SPREAD and len(labels) > 1:
        yield _check_spread(attribute, confidences)


def check_abstained_share(
    attribute: str,
    summary: AttributeSummary,
    max_share: float,
    answered: float | None,
    alpha: float,
) -> Check:
    """Returns the check that an attribute is answered for often enough to be of use.

    Args:
        attribute: its name.
        summary: what is counted of it.
        max_share: how large a part of what the baseline answers may be abstained on, in [0, 1].
        answered: the share of such products that the baseline answers; None takes it for all.
        alpha: the probability with which a sound run may fail the check.
    """
    rows = sum(summary.labels.values())
    abstained = summary.labels.get(ABSTAINED, 0) / rows
    tolerance = 1 - (1 - max_share) * (1 if answered is None else answered)
    allowed = chance.allowed_share(tolerance, rows, alpha)
    found, most = tell_apart(abstained, allowed, ".1%")
    of = "" if answered is None else f", of the {answered:.1%} that the baseline answers"
    return Check(
        expectation="expect_abstained_share_below",
        attribute=attribute,
        observed=abstained,
        at_most=allowed,
        rule=f"At most {tolerance:.1%} of rows have no label, and what chance adds to that.",
        finding=f"{found} of {rows:,} different products abstained, allowed {most} "
        f"(validation.max_abstained_share{of})",
    )


def _no_row(expectation: str, attribute: str, found: int, rule: str, finding: str) -> Check:
    return Check(
        expectation=expectation,
        attribute=attribute,
        observed=found,
        at_most=0,
        rule=f"{rule} The figure counts the rows that break this.",
        finding=f"{found} rows {finding}",
    )


def _check_spread(attribute: str, confidences: ConfidenceFigures) -> Check:
    lowest, highest = confidences.lowest or 0.0, confidences.highest or 0.0
    return Check(
        expectation="expect_confidence_to_vary",
        attribute=attribute,
        observed=_log_odds(highest) - _log_odds(lowest),
        at_least=MIN_CONFIDENCE_SPREAD,
        rule="Products differ, and so do their confidences: highest less lowest, in log-odds.",
        finding=f"confidences range from {lowest:.6g} to {highest:.6g}, "
        f"expected to differ by {MIN_CONFIDENCE_SPREAD:g} in log-odds at least",
    )


def _log_odds(confidence: float) -> float:
    inside = min(max(confidence, _NEAREST_TO_SURE), 1 - _NEAREST_TO_SURE)
    return log(inside / (1 - inside))
