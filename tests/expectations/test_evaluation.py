"""Great Expectations decides on the figures and writes pages that people can read."""

import dataclasses
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from drawn_answers import make_answers
from great_expectations.core import ExpectationValidationResult

from expectations import suites
from expectations.baseline import LabelBaseline
from expectations.checks import Check
from expectations.drill.in_arrays import check_answers
from expectations.evaluation import evaluate
from expectations.figures import InputFigures
from expectations.input_checks import check_input
from expectations.report import ValidationReport, read_results
from expectations.settings import ValidationSettings
from schemas.images import ImageSample

KNOWN = Check("expect_known_labels", 0, "Labels are known.", "0 rows", at_most=0, attribute="color")


def report(checks: list[Check], docs_dir: Path | None = None) -> ValidationReport:
    named = suites.name_figures(checks)
    results, docs_path = evaluate("staged_rows", named, "run-1", docs_dir)
    return ValidationReport("demo", read_results("staged", named, results), (), docs_path)


def test_great_expectations_agrees_with_every_check(baseline: LabelBaseline) -> None:
    sound = make_answers(500)
    odd = make_answers(500, seed=3, sureness=2, text_only=0.6, model_version="model-2")
    checks = check_answers(odd, baseline, ValidationSettings(), before=sound)
    checks += check_input(
        InputFigures(100, 50, 0, 100, 0, ImageSample(100, 100)), ValidationSettings()
    )
    found = report(checks)
    assert [one.expectation for one in found.checks] == [one.expectation for one in checks]
    assert [one.observed for one in found.checks] == [one.observed for one in checks]
    assert [one.outcome == "pass" for one in found.checks] == [one.passed for one in checks]
    assert {one.outcome for one in found.checks} == {"pass", "warn", "fail"}


@pytest.mark.parametrize("names", [("shoes", "SHOES"), ("Straße", "STRASSE"), ("a<b", "a\u2039b")])
@pytest.mark.parametrize("odd", [0, 1])
def test_categories_that_differ_in_capitals_alone_are_judged_each_by_itself(
    names: tuple[str, str], odd: int
) -> None:
    checks = [
        dataclasses.replace(KNOWN, category=name, observed=int(at == odd))
        for at, name in enumerate(names)
    ]
    found = report(checks)
    assert [one.outcome for one in found.checks] == [
        "fail" if at == odd else "pass" for at in range(2)
    ]
    assert [one.observed for one in found.checks] == [one.observed for one in checks]


def test_outcome_is_great_expectations_own() -> None:
    missed = ExpectationValidationResult(
        success=False,
        expectation_config=suites.build_suite("s", suites.name_figures([KNOWN]))
        .expectations[0]
        .configuration,
        result={"observed_value": 0.0},
        exception_info={},
    )
    (found,) = read_results("staged", suites.name_figures([KNOWN]), [missed])
    assert KNOWN.passed and found.outcome == "fail"


def test_great_expectations_calls_an_expectation_as_its_check_does() -> None:
    vary = Check("expect_confidence_to_vary", 0.1, "r", "f", at_least=0.004)
    built = suites.build_suite("s", suites.name_figures([KNOWN, vary])).expectations
    assert [one.expectation_type for one in built] == [KNOWN.expectation, vary.expectation]
    assert [type(one).__name__ for one in built] == ["ExpectKnownLabels", "ExpectConfidenceToVary"]


RAISED = {"raised_exception": True, "exception_message": "no column\nJVM stack", "traceback": ""}


@pytest.mark.parametrize("exception_info", [RAISED, {"('column.max', '1')": RAISED}])
def test_check_that_could_not_run_blocks_even_as_a_warning(exception_info: dict) -> None:
    check = Check(
        "expect_few_labels_moved", 0.1, "r", "f", at_most=1, attribute="color", severity="warning"
    )
    result = ExpectationValidationResult(
        success=False,
        expectation_config=suites.build_suite("s", suites.name_figures([check]))
        .expectations[0]
        .configuration,
        result={},
        exception_info=exception_info,
    )
    (found,) = read_results("staged", suites.name_figures([check]), [result])
    assert (found.outcome, found.observed) == ("fail", None)
    assert found.detail == "color: expect_few_labels_moved could not be evaluated: no column"


def test_pages_say_what_is_expected_and_allowed(baseline: LabelBaseline, tmp_path: Path) -> None:
    checks = check_answers(make_answers(500), baseline, ValidationSettings())
    path = report(checks, tmp_path).docs_path
    assert path is not None and Path(path) == tmp_path / "index.html"
    (page,) = tmp_path.glob("validations/**/*.html")
    text = page.read_text()
    assert "color: label distribution near baseline" in text
    assert "A confidence is a probability between 0 and 1." in text
    assert "KL divergence, 0.1 nats and what chance adds to that. Allowed: at most" in text
    # Every night adds as much.
    written = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert 100_000 < written < 1_000_000


def test_markup_in_a_category_stays_text_on_the_page(tmp_path: Path) -> None:
    hostile = Check(
        "expect_label_distribution_near_baseline",
        0.1,
        "rule with $money and <b>",
        "f",
        at_most=0.2,
        attribute="color",
        category="</script><b>$bold & co",
    )
    found = report([hostile], tmp_path)
    assert found.checks[0].category == "</script><b>$bold & co"
    (page,) = tmp_path.glob("validations/**/*.html")
    text = page.read_text()
    assert "\u2039/script\u203a\u2039b\u203a\uff04bold \uff06 co" in text
    assert "<b>$bold" not in text and "</script><b>" not in text


def test_warning_is_reported_and_does_not_block() -> None:
    warning = Check("expect_few_labels_moved", 0.9, "r", "moved", at_most=0.1, severity="warning")
    built = suites.build_suite("s", suites.name_figures([KNOWN, warning])).expectations
    assert [one.severity for one in built] == ["critical", "warning"]
    found = report([KNOWN, warning])
    assert found.passed
    assert (found.failures, found.warnings) == ((), ("moved",))
    verdict = found.verdict
    assert verdict.passed and verdict.notes == ("moved",)
    assert [row["outcome"] for row in verdict.quality] == ["pass", "warn"]


def test_nothing_to_check_passes_without_a_page(tmp_path: Path) -> None:
    found = report([], tmp_path)
    assert found.passed and found.docs_path is None


def test_pages_that_cannot_be_written_stop_no_validation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "docs").write_text("a file")
    found = report([KNOWN], tmp_path / "docs" / "run")
    assert (found.passed, found.docs_path) == (True, None)
    assert "pages are missing" in caplog.text


@contextmanager
def full_disk() -> Iterator[None]:
    """Lets files be made, and none grow, as on a full disk; pytest's own output neither."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_under_the_pages_stops_no_validation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with full_disk():
        found = report([KNOWN], tmp_path)
    assert (found.passed, found.docs_path) == (True, None)
    assert "pages are missing" in caplog.text
