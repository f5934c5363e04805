"""Staged rows that must not be published, and staged rows that may."""

from itertools import cycle, islice
from pathlib import Path

import pytest
from pyspark.sql import DataFrame, SparkSession

from expectations.baseline import ABSTAINED, BaselineError, LabelBaseline
from expectations.report import QualityCheck, ValidationReport
from expectations.settings import ValidationSettings
from expectations.validation import validate_staged

pytestmark = pytest.mark.spark

LABELS = {"color": ("red", "blue", "green"), "style": ("casual", "formal")}
COLORS = ("red", "red", "blue", "green", None)
COLOR_SHARES = {"red": 0.4, "blue": 0.2, "green": 0.2, ABSTAINED: 0.2}
SCHEMA = (
    "product_id STRING, title STRING, color STRING, color_confidence DOUBLE, "
    "style STRING, style_confidence DOUBLE"
)
SECRET_TITLE = "<b>unreleased product</b>"
ROWS = 300


def staged(
    spark: SparkSession,
    rows: int = ROWS,
    *,
    colors: tuple[str | None, ...] = COLORS,
    confidences: tuple[float | None, ...] = (0.8,),
) -> DataFrame:
    """Staged rows that repeat `colors` and `confidences` in turn."""
    values = zip(range(rows), cycle(colors), cycle(confidences), strict=False)
    return spark.createDataFrame(
        [
            (f"product-{number}", SECRET_TITLE, color, confidence, "casual", 0.5)
            for number, color, confidence in values
        ],
        SCHEMA,
    )


def baseline(color_shares: dict[str, float] = COLOR_SHARES) -> LabelBaseline:
    return LabelBaseline(
        catalog="demo",
        model_version=None,
        source="tests",
        rows=ROWS,
        attributes={"color": color_shares, "style": {"casual": 1.0}},
    )


def validate(
    frame: DataFrame,
    expected: LabelBaseline | None = None,
    *,
    rows: int = ROWS,
    docs_dir: Path | None = None,
    **settings: float,
) -> ValidationReport:
    return validate_staged(
        frame,
        LABELS,
        expected,
        run_id="demo-2026-11-24",
        expected_rows=rows,
        docs_dir=docs_dir,
        settings=ValidationSettings.model_validate(settings),
    )


def color_check(report: ValidationReport, expectation: str) -> QualityCheck:
    return next(
        check
        for check in report.checks
        if check.attribute == "color" and check.expectation == expectation
    )


def test_rows_like_the_baseline_pass_every_check(spark: SparkSession) -> None:
    report = validate(staged(spark), baseline())
    assert report.passed
    assert report.baseline == "demo"
    assert report.notes == report.warnings == ()
    assert len(report.checks) == 2 + 5 * len(LABELS)
    divergence = color_check(report, "expect_label_distribution_near_baseline")
    assert divergence.observed == pytest.approx(0, abs=1e-9)
    assert divergence.threshold == 0.3
    assert color_check(report, "expect_abstained_share_below").observed == 0.2
    # A Spark DOUBLE column takes no int.
    assert {type(check.observed) for check in report.checks} == {float}


def test_half_the_labels_gone_fails(spark: SparkSession) -> None:
    every_other_gone = tuple(
        color if number % 2 else None for number, color in enumerate(islice(cycle(COLORS), 10))
    )
    report = validate(staged(spark, colors=every_other_gone), baseline())
    assert not report.passed
    (failure,) = report.failures
    assert failure == (
        "color: label distribution is 0.38 from the baseline 'demo' (KL), allowed 0.3; "
        "largest shifts: (abstained) 0.20 -> 0.60, red 0.40 -> 0.20, blue 0.20 -> 0.10"
    )


@pytest.mark.parametrize("shares", [{"red": 0.6, ABSTAINED: 0.4}, {**COLOR_SHARES, "green": 0.0}])
def test_label_unseen_in_the_baseline_fails_with_a_number(
    spark: SparkSession, shares: dict[str, float]
) -> None:
    total = sum(shares.values())
    expected = baseline({label: share / total for label, share in shares.items()})
    check = color_check(
        validate(staged(spark), expected), "expect_label_distribution_near_baseline"
    )
    assert check.outcome == "fail"
    assert check.observed is not None
    assert 0.3 < check.observed < 10


def test_label_absent_from_the_rows_still_gives_a_number(spark: SparkSession) -> None:
    report = validate(staged(spark, colors=("red", "red", "blue", None)), baseline())
    check = color_check(report, "expect_label_distribution_near_baseline")
    assert check.outcome == "pass"
    assert check.observed == pytest.approx(0.2231, abs=1e-3)


def test_doctored_baseline_fails(spark: SparkSession) -> None:
    doctored = baseline({"red": 0.01, "blue": 0.01, "green": 0.97, ABSTAINED: 0.01})
    assert not validate(staged(spark), doctored).passed


def test_setting_overrides_what_the_baseline_allows(spark: SparkSession) -> None:
    doctored = baseline({"red": 0.01, "blue": 0.01, "green": 0.97, ABSTAINED: 0.01})
    report = validate(staged(spark), doctored, max_divergence=10)
    assert report.passed
    assert color_check(report, "expect_label_distribution_near_baseline").threshold == 10


def test_baseline_of_another_checkpoint_is_refused(spark: SparkSession) -> None:
    with pytest.raises(BaselineError, match="names color 'mauve'"):
        validate(staged(spark), baseline({"mauve": 1.0}))


def test_catalog_without_baseline_passes_and_says_so(spark: SparkSession) -> None:
    report = validate(staged(spark))
    assert report.passed
    assert report.baseline == "none"
    assert report.notes == ("no baseline for this catalog: label distributions are not checked",)
    assert "expect_label_distribution_near_baseline" not in {
        check.expectation for check in report.checks
    }


def test_attribute_missing_from_the_baseline_is_noted(spark: SparkSession) -> None:
    only_style = baseline().model_copy(update={"attributes": {"style": {"casual": 1.0}}})
    report = validate(staged(spark), only_style)
    assert report.passed
    (note,) = report.notes
    assert note.startswith("color: the baseline 'demo' has no shares of it")


@pytest.mark.parametrize("rows", [ROWS, 0])
def test_empty_staged_table_fails(spark: SparkSession, rows: int) -> None:
    report = validate(staged(spark).limit(0), baseline(), rows=rows)
    assert not report.passed
    assert f"0 rows are staged, expected {max(rows, 1)}" in report.failures


def test_lost_row_fails(spark: SparkSession) -> None:
    report = validate(staged(spark, ROWS - 1), baseline())
    assert report.failures == (
        "299 rows are staged, expected 300",
        "299 distinct product_id are staged, expected 300",
    )


def test_repeated_product_fails_without_naming_it(spark: SparkSession) -> None:
    one_twice = staged(spark, ROWS - 1).union(staged(spark, 1))
    assert validate(one_twice, baseline()).failures == (
        "299 distinct product_id are staged, expected 300",
    )


def test_small_run_is_reported_but_not_blocked(spark: SparkSession) -> None:
    report = validate(staged(spark, 100, colors=(None,)), baseline(), rows=100)
    assert report.passed
    shares, distribution = report.warnings
    assert shares == "color: 100.0% of rows abstained, allowed 90.0%"
    assert distribution.startswith("color: label distribution is 1.61 from the baseline 'demo'")


def test_unknown_label_fails_also_in_a_small_run(spark: SparkSession) -> None:
    report = validate(staged(spark, 20, colors=(*COLORS, "crimson")), rows=20)
    assert report.failures == ("color: 3 rows hold a label unknown to the checkpoint ('crimson')",)


@pytest.mark.parametrize("confidence", [1.01, -0.01, float("nan")])
def test_confidence_outside_the_unit_interval_fails(spark: SparkSession, confidence: float) -> None:
    report = validate(staged(spark, confidences=(0.0, 1.0, confidence)), baseline())
    assert report.failures == ("color: 100 rows have a confidence outside [0, 1]",)


def test_missing_confidence_fails(spark: SparkSession) -> None:
    report = validate(staged(spark, confidences=(0.8, None)), baseline())
    assert report.failures == ("color: 150 rows have no confidence",)


def test_abstained_share_at_the_threshold_passes_and_above_it_fails(spark: SparkSession) -> None:
    seven_of_ten_gone = staged(spark, colors=("red",) * 3 + (None,) * 7)
    assert validate(seven_of_ten_gone, max_abstained_share=0.7).passed
    assert validate(seven_of_ten_gone, max_abstained_share=0.69).failures == (
        "color: 70.0% of rows abstained, allowed 69.0%",
    )


def test_data_docs_are_written_without_product_text(spark: SparkSession, tmp_path: Path) -> None:
    report = validate(staged(spark), baseline(), docs_dir=tmp_path)
    assert report.docs_path is not None
    index = Path(report.docs_path)
    assert index == tmp_path / "demo-2026-11-24" / "index.html"
    (page,) = index.parent.glob("validations/**/*.html")
    text = page.read_text()
    assert "KL Divergence" in text
    assert "At least 10% of rows have a color" in text
    assert "A confidence is a probability between 0 and 1." in text
    for written in index.parent.rglob("*.html"):
        assert "unreleased product" not in written.read_text()
        assert "product-1" not in written.read_text()


def test_label_with_markup_is_validated_and_stays_text_on_the_page(
    spark: SparkSession, tmp_path: Path
) -> None:
    known, unknown = "</script><b>known", "</script><b>unknown"
    report = validate_staged(
        staged(spark, colors=(known, known, unknown)),
        {**LABELS, "color": (known,)},
        baseline({known: 1.0}),
        run_id="markup",
        expected_rows=ROWS,
        docs_dir=tmp_path,
        settings=ValidationSettings(),
    )
    assert color_check(report, "expect_known_labels").observed == ROWS / 3
    for page in tmp_path.rglob("*.html"):
        assert "<b>known" not in page.read_text()
        assert "<b>unknown" not in page.read_text()


def test_run_id_cannot_leave_the_docs_folder(spark: SparkSession, tmp_path: Path) -> None:
    report = validate_staged(
        staged(spark),
        LABELS,
        None,
        run_id="../../nightly",
        expected_rows=ROWS,
        docs_dir=tmp_path / "docs",
        settings=ValidationSettings(),
    )
    assert report.docs_path is not None
    assert Path(report.docs_path).is_relative_to(tmp_path / "docs")


def test_validation_prints_nothing_and_keeps_nothing_cached(
    spark: SparkSession, capfd: pytest.CaptureFixture[str]
) -> None:
    frame = staged(spark)
    frame.count()
    capfd.readouterr()
    validate(frame, baseline())
    printed = capfd.readouterr()
    assert printed.out == ""
    assert "Calculating Metrics" not in printed.err
    assert spark.sparkContext._jsc.sc().getPersistentRDDs().size() == 0
