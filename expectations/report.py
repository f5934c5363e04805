"""The outcome of a validation in the job's own words.

Joins what Great Expectations decided with the sentences of the checks. Knows nothing of Spark, and
holds no row's values, labels excepted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from great_expectations.core import ExpectationValidationResult
from schemas.tables import CheckOutcome, Suite
from schemas.verdict import Verdict

from expectations.checks import Check


@dataclass(frozen=True)
class QualityCheck:
    """One expectation, as a row of label_quality.

    Attributes:
        suite: "input" before inference, "staged" before publishing.
        attribute: None for the whole table.
        category: None for all products.
        observed: rows, a share, a distance, log-odds, or a divergence in nats; None where Great
            Expectations could not evaluate it.
        threshold: what `observed` is held against, in the same unit.
        detail: what was observed and what is allowed, as a sentence.
    """

    suite: Suite
    attribute: str | None
    category: str | None
    expectation: str
    observed: float | None
    threshold: float
    outcome: CheckOutcome
    detail: str


@dataclass(frozen=True)
class ValidationReport:
    """What a validation found.

    Attributes:
        baseline: name of the catalog whose baseline was used, or NO_BASELINE.
        notes: what was not checked, and why.
        docs_path: the Data Docs page's index.html; None where none was asked for.
    """

    baseline: str
    checks: tuple[QualityCheck, ...]
    notes: tuple[str, ...] = ()
    docs_path: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the run may go on."""
        return not self.failures

    @property
    def failures(self) -> tuple[str, ...]:
        """Sentences of the checks that block."""
        return tuple(check.detail for check in self.checks if check.outcome is CheckOutcome.FAIL)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences of the checks that failed and do not block."""
        return tuple(check.detail for check in self.checks if check.outcome is CheckOutcome.WARN)

    @property
    def verdict(self) -> Verdict:
        """The same as the refresh, which obeys it, understands it."""
        return Verdict(
            failures=self.failures,
            notes=(*self.notes, *self.warnings),
            baseline=self.baseline,
            quality=tuple(asdict(check) for check in self.checks),
            docs_path=self.docs_path,
        )


def read_results(
    suite: Suite, checks: Mapping[str, Check], results: Sequence[ExpectationValidationResult]
) -> tuple[QualityCheck, ...]:
    """Returns the checks, given by their figures' names, with Great Expectations' verdicts."""
    # Results come back grouped, not in the suite's order; the column tells which check one is of.
    by_figure = {result.expectation_config.kwargs["column"]: result for result in results}
    return tuple(_read_result(suite, check, by_figure[name]) for name, check in checks.items())


def _read_result(suite: Suite, check: Check, result: ExpectationValidationResult) -> QualityCheck:
    error = _evaluation_error(result)
    if error is None:
        observed, sentence = float(result.result["observed_value"]), check.finding
    else:
        observed, sentence = None, f"{check.expectation} could not be evaluated: {error}"
    return QualityCheck(
        suite=suite,
        attribute=check.attribute,
        category=check.category,
        expectation=check.expectation,
        observed=observed,
        threshold=float(check.threshold),
        outcome=_outcome(result, check, evaluated=error is None),
        detail=f"{check.about}: {sentence}" if check.about else sentence,
    )


def _outcome(result: ExpectationValidationResult, check: Check, *, evaluated: bool) -> CheckOutcome:
    if result.success:
        return CheckOutcome.PASS
    # A check that could not run says nothing about the data: it blocks, whatever its severity.
    is_warning = evaluated and check.severity == "warning"
    return CheckOutcome.WARN if is_warning else CheckOutcome.FAIL


def _evaluation_error(result: ExpectationValidationResult) -> str | None:
    """Returns the first line of what kept an expectation from being evaluated, None if nothing."""
    # One dictionary where the expectation raised, one by metric where its metrics did.
    info = result.exception_info or {}
    raised = [info] if "raised_exception" in info else list(info.values())
    for exception in raised:
        if exception["raised_exception"]:
            return str(exception["exception_message"]).strip().split("\n", 1)[0]
    return None
