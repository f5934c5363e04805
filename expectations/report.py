"""The outcome of a validation in the job's own words.

Turns what Great Expectations observed into numbers for the label_quality table and sentences for an
error message. Knows nothing of Spark, and puts no row's values into either, labels excepted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from great_expectations.core import ExpectationValidationResult
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

Outcome = Literal["pass", "fail", "warn"]

LARGEST_SHIFTS = 3


@dataclass(frozen=True)
class QualityCheck:
    """One expectation on one attribute (None: on the whole table).

    Attributes:
        observed: rows, distinct products, offending rows, a share, or a divergence in nats; None
            where nothing could be measured.
        threshold: what `observed` is held against, in the same unit.
        outcome: "warn" is a failure that is reported and does not block.
        detail: what was observed and what is allowed, as a sentence.
    """

    attribute: str | None
    expectation: str
    observed: float | None
    threshold: float | None
    outcome: Outcome
    detail: str


@dataclass(frozen=True)
class ValidationReport:
    """What a validation found.

    Attributes:
        baseline: name of the catalog whose baseline was used, or "none".
        notes: what was not checked, and why.
        docs_path: the Data Docs page's index.html; None where none was asked for.
    """

    baseline: str
    checks: tuple[QualityCheck, ...]
    notes: tuple[str, ...] = ()
    docs_path: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the staged rows may be published."""
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """Sentences of the checks that block."""
        return tuple(check.detail for check in self.checks if check.outcome == "fail")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences of the checks that failed and do not block."""
        return tuple(check.detail for check in self.checks if check.outcome == "warn")


@dataclass(frozen=True)
class _Reading:
    """What one expectation's result says, before it is known whether it passed."""

    observed: float | None
    threshold: float | None
    sentence: str


def check_from_result(result: ExpectationValidationResult) -> QualityCheck:
    """Read one expectation's result."""
    config = result.expectation_config
    attribute = config.meta.get("attribute")
    error = _evaluation_error(result)
    if error is None:
        reading = _READERS[config.type](config, result.result)
    else:
        reading = _Reading(None, None, f"{config.type} could not be evaluated: {error}")
    return QualityCheck(
        attribute=attribute,
        expectation=config.type,
        observed=_as_float(reading.observed),
        threshold=_as_float(reading.threshold),
        outcome=_outcome(result, evaluated=error is None),
        detail=f"{attribute}: {reading.sentence}" if attribute else reading.sentence,
    )


def _as_float(number: float | None) -> float | None:
    # Counts come as int, which Spark does not take for a DOUBLE column, divergences as numpy's.
    return None if number is None else float(number)


def _outcome(result: ExpectationValidationResult, *, evaluated: bool) -> Outcome:
    if result.success:
        return "pass"
    # A check that could not run says nothing about the data: it blocks, whatever its severity.
    blocks = not evaluated or result.expectation_config.severity == "critical"
    return "fail" if blocks else "warn"


def _evaluation_error(result: ExpectationValidationResult) -> str | None:
    """First line of the exception that kept an expectation from being evaluated."""
    # One dictionary where the expectation raised, one by metric where its metrics did.
    info = result.exception_info or {}
    raised = [info] if "raised_exception" in info else list(info.values())
    for exception in raised:
        if exception["raised_exception"]:
            return str(exception["exception_message"]).strip().split("\n", 1)[0]
    return None


def _read_rows(config: ExpectationConfiguration, result: Mapping[str, Any]) -> _Reading:
    found, wanted = result["observed_value"], config.kwargs["value"]
    return _Reading(found, wanted, f"{found} rows are staged, expected {wanted}")


def _read_products(config: ExpectationConfiguration, result: Mapping[str, Any]) -> _Reading:
    found, wanted = result["observed_value"], config.kwargs["min_value"]
    return _Reading(found, wanted, f"{found} distinct product_id are staged, expected {wanted}")


def _read_labels(_: ExpectationConfiguration, result: Mapping[str, Any]) -> _Reading:
    found = result["unexpected_count"]
    # The first offending rows' labels, repeated as they come.
    labels = ", ".join(map(repr, dict.fromkeys(result["partial_unexpected_list"])))
    named = f" ({labels})" if labels else ""
    return _Reading(found, 0, f"{found} rows hold a label unknown to the checkpoint{named}")


def _read_missing_confidence(_: ExpectationConfiguration, result: Mapping[str, Any]) -> _Reading:
    found = result["unexpected_count"]
    return _Reading(found, 0, f"{found} rows have no confidence")


def _read_confidence(_: ExpectationConfiguration, result: Mapping[str, Any]) -> _Reading:
    found = result["unexpected_count"]
    return _Reading(found, 0, f"{found} rows have a confidence outside [0, 1]")


def _read_abstained_share(config: ExpectationConfiguration, result: Mapping[str, Any]) -> _Reading:
    # The expectation measures labelled rows; rounded, because 1 - 0.9 is not 0.1.
    found = round(1 - result["observed_value"], 9)
    allowed = round(1 - config.kwargs["min_value"], 9)
    return _Reading(found, allowed, f"{found:.1%} of rows abstained, allowed {allowed:.1%}")


def _read_distribution(config: ExpectationConfiguration, result: Mapping[str, Any]) -> _Reading:
    observed, allowed = result["observed_value"], config.kwargs["threshold"]
    baseline = config.meta["baseline"]
    if observed is None:
        return _Reading(None, allowed, f"no rows to compare to the baseline {baseline!r}")
    return _Reading(
        observed,
        allowed,
        f"label distribution is {observed:.2f} from the baseline {baseline!r} (KL), "
        f"allowed {allowed:g}; largest shifts: {_largest_shifts(result['details'])}",
    )


def _largest_shifts(details: Mapping[str, Any]) -> str:
    observed, expected = details["observed_partition"], details["expected_partition"]
    shifts = zip(observed["values"], expected["weights"], observed["weights"], strict=True)
    largest_first = sorted(shifts, key=lambda shift: abs(shift[2] - shift[1]), reverse=True)
    return ", ".join(
        f"{label} {before:.2f} -> {after:.2f}"
        for label, before, after in largest_first[:LARGEST_SHIFTS]
    )


_READERS: dict[str, Callable[[ExpectationConfiguration, Mapping[str, Any]], _Reading]] = {
    "expect_all_rows_staged": _read_rows,
    "expect_one_row_per_product": _read_products,
    "expect_known_labels": _read_labels,
    "expect_confidence_present": _read_missing_confidence,
    "expect_confidence_in_unit_interval": _read_confidence,
    "expect_abstained_share_below": _read_abstained_share,
    "expect_label_distribution_near_baseline": _read_distribution,
}
