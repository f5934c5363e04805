"""Spark counts what the drill counts, and a run's rows are validated from end to end."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from drawn_answers import join, make_answers
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from enrich.text import build_text
from expectations.baseline import LabelBaseline
from expectations.counting import (
    count_agreements,
    count_figures,
    count_input,
    select_counted,
    shows_text,
)
from expectations.drill.answers import DrawnAnswers
from expectations.drill.in_arrays import build_baseline, count_answers
from expectations.drill.in_spark import as_rows
from expectations.figures import Agreement, ConfidenceFigures
from expectations.report import ValidationReport
from expectations.settings import ValidationSettings
from expectations.summary import OTHER, UNKNOWN, OtherCategories
from expectations.validation import Validation
from schemas.images import ImageSample

pytestmark = pytest.mark.spark

LABELS = {"color": ("red", "blue", "green"), "style": ("casual", "formal")}
SECRET_TITLE = "<b>unreleased product</b>"


def validate(
    rows: DataFrame,
    published: DataFrame | None = None,
    baseline: LabelBaseline | None = None,
    *,
    expected_rows: int,
    run_id: str = "demo-2026-11-24",
    docs_dir: Path | None = None,
) -> ValidationReport:
    validation = Validation(run_id, ValidationSettings(), docs_dir)
    return validation.validate_staged(rows, published, LABELS, baseline, expected_rows)


def test_spark_counts_what_the_drill_counts(spark: SparkSession) -> None:
    answers = join(make_answers(200, category="shoes"), make_answers(100, category=OTHER))
    # Rounded, so that some lie on the edge between two bins.
    on_edges = {a: values.round(2) for a, values in answers.confidences.items()}
    answers = dataclasses.replace(answers, confidences=on_edges)
    rows = select_counted(as_rows(spark, answers), list(LABELS), ["shoes"])
    found, drilled = count_figures(rows, list(LABELS)), count_answers(answers)
    assert found.summary == drilled.summary
    assert found.label_rows == drilled.label_rows
    assert found.confidences == drilled.confidences
    assert (found.rows, found.distinct_products) == (300, 300)
    assert found.model_versions == {"model-1": 300}


def test_odd_confidences_and_repeated_ids_are_counted(spark: SparkSession) -> None:
    rows = as_rows(spark, make_answers(10)).withColumn("product_id", F.lit("same"))
    place = F.substring("content_hash", 9, 2).cast("int")
    odd = (
        F.when(place == 0, F.lit(None))
        .when(place == 1, F.lit(float("nan")))
        .when(place == 2, F.lit(1.01))
        .when(place == 3, F.lit(1.0))
        .otherwise(F.lit(0.25))
    )
    rows = rows.withColumn("color_confidence", odd)
    found = count_figures(select_counted(rows, list(LABELS), []), list(LABELS))
    assert found.confidences["color"] == ConfidenceFigures(1, 2, 0.25, 1.0)
    assert found.summary is not None
    assert sum(found.summary.products.attributes["color"].confidences) == 7
    assert (found.rows, found.distinct_products) == (10, 1)


def test_agreement_is_counted_on_unchanged_products_and_never_on_corrected_labels(
    spark: SparkSession,
) -> None:
    now = spark.createDataFrame(
        [(str(n), f"h{n}", "red", "image", "m", None) for n in range(6)]
        # Two more sizes of the second product.
        + [(f"1{size}", "h1", "red", "image", "m", None) for size in "ab"],
        "product_id STRING, content_hash STRING, color STRING, modalities STRING, "
        "model_version STRING, _group STRING",
    )
    before = spark.createDataFrame(
        [
            ("0", "h0", "red", "m", None),
            ("1", "h1", "blue", "m", [("style", "casual")]),
            ("1a", "h1", "blue", "m", None),
            ("1b", "h1", "blue", "m", None),
            ("2", "h2", "blue", "m", [("color", "blue")]),
            ("3", "changed", "blue", "m", None),
            ("4", "h4", None, "m", None),
            ("5", "h5", "red", "another", None),
        ],
        "product_id STRING, content_hash STRING, color STRING, model_version STRING, "
        "corrections ARRAY<STRUCT<attribute: STRING, label: STRING>>",
    )
    assert set(count_agreements(now, before, ["color"])) == {
        Agreement("color", None, True, compared=2, agreeing=1),
        Agreement("color", None, False, compared=1, agreeing=1),
    }


def test_spark_counts_the_agreements_that_the_drill_counts(spark: SparkSession) -> None:
    def catalog(seed: int) -> DrawnAnswers:
        shoes, hats = (make_answers(60, seed=seed, category=one) for one in ("shoes", "hats"))
        return join(shoes, hats)

    now, before = catalog(0), catalog(1)
    rows = select_counted(as_rows(spark, now), list(LABELS), ["shoes", "hats"])
    found = count_agreements(rows, as_rows(spark, before), list(LABELS))
    assert set(found) == set(count_answers(now, before).agreements)
    assert {one.category for one in found} == {None, "shoes", "hats"}


def test_ten_sizes_of_one_dress_are_no_stuck_classifier(
    spark: SparkSession, baseline: LabelBaseline
) -> None:
    one = make_answers(1)
    sizes = as_rows(spark, one.take(np.zeros(30, dtype=int)))
    other_products = validate(sizes, None, baseline, expected_rows=30)
    assert "color: confidences range" in " ".join(other_products.failures)

    sizes = sizes.withColumn("content_hash", F.lit("one dress"))
    assert validate(sizes, sizes, baseline, expected_rows=30).failures == ()
    figures = count_figures(select_counted(sizes, list(LABELS), []), list(LABELS))
    assert (figures.rows, figures.distinct_products) == (30, 30)
    assert figures.summary is not None and figures.summary.products.rows == 1


def test_a_bad_row_is_seen_in_any_size_of_a_dress(spark: SparkSession) -> None:
    sizes = as_rows(spark, make_answers(1).take(np.zeros(3, dtype=int)))
    sizes = sizes.withColumn("content_hash", F.lit("one dress"))
    is_last = F.col("product_id") == "product-2"
    bad = sizes.withColumns(
        {
            "style": F.when(is_last, "mauve").otherwise(F.col("style")),
            "color_confidence": F.when(is_last, F.lit(float("nan"))).otherwise(0.5),
        }
    )
    failures = " ".join(validate(bad, expected_rows=3).failures)
    assert "style: 1 rows hold a label unknown to the checkpoint ('mauve')" in failures
    assert "color: 1 rows have a confidence outside [0, 1]" in failures


@pytest.mark.parametrize(
    ("others", "groups"),
    [
        (None, {"shoes": 1, OTHER: 3}),
        (("belts",), {"shoes": 1, OTHER: 1, UNKNOWN: 2}),
        ((None, "belts"), {"shoes": 1, OTHER: 2, UNKNOWN: 1}),
    ],
)
def test_category_that_is_new_to_a_baseline_is_none_of_its_small_ones(
    spark: SparkSession,
    others: OtherCategories,
    groups: dict[str, int],
) -> None:
    place = F.substring("product_id", 9, 1).cast("int") + 1
    category = F.element_at(F.array(*map(F.lit, ("shoes", "belts", None, "swimwear"))), place)
    rows = as_rows(spark, make_answers(4)).withColumn("product_category", category)
    counted = count_figures(select_counted(rows, list(LABELS), ["shoes"], others), list(LABELS))
    assert counted.summary is not None
    assert {name: group.rows for name, group in counted.summary.categories.items()} == groups


def test_an_attribute_may_be_called_as_the_gate_calls_its_own_columns(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [("1", "h1", "image", "m", None, "kids", 0.9, "yes", 0.8)],
        "product_id STRING, content_hash STRING, modalities STRING, model_version STRING, "
        "product_category STRING, group STRING, group_confidence DOUBLE, is_first STRING, "
        "is_first_confidence DOUBLE",
    )
    names = ["group", "is_first"]
    counted = count_figures(select_counted(rows, names, ["shoes"]), names)
    assert counted.summary is not None
    attributes = counted.summary.products.attributes
    assert [dict(attributes[name].labels) for name in names] == [{"kids": 1}, {"yes": 1}]


def test_product_table_is_counted_and_validated(spark: SparkSession) -> None:
    products = spark.createDataFrame(
        [
            ("1", "shirt", None, True),
            ("1", None, "shoes", True),
            (None, " ", "", True),
            ("4", "\n", "\u00a0", True),
            ("5", "\u200b\t", None, True),
            ("2", None, None, True),
            ("3", None, None, False),
        ],
        "product_id STRING, title STRING, description STRING, is_new BOOLEAN",
    )
    found = count_input(products, ImageSample(9, 8))
    assert (found.rows, found.without_id, found.repeated_id) == (7, 1, 1)
    assert (found.new, found.without_text) == (6, 4)
    report = Validation("r", ValidationSettings()).validate_input(products, ImageSample(100, 0))
    assert report.failures == (
        "100 of 100 images of a sample could not be read (100.0%), allowed 34.0% "
        "(validation.max_unread_image_share)",
    )
    assert {check.suite for check in report.checks} == {"input"}


def test_markup_around_nothing_is_no_text(spark: SparkSession) -> None:
    texts = [
        *("<p>&nbsp;</p>", "<p></p>", "<div><br></div>", "&nbsp;", "&#160;\n", '<P CLASS="a">'),
        *("<!-- wp:paragraph --><p></p>", "&lt;p&gt;&amp;nbsp;&lt;/p&gt;"),
        *("<p>shoes</p>", "5 < 6 > 4", "&#1050;&#1088;", "&amp;", "A &lt; B", "<3", "<p"),
    ]
    rows = spark.createDataFrame([(text,) for text in texts], "text STRING")
    shown = {row["text"] for row in rows.where(shows_text(F.col("text"))).collect()}
    assert shown == {text for text in texts if build_text(None, text)}


def test_sound_rows_pass_and_their_pages_name_no_product(
    spark: SparkSession, baseline: LabelBaseline, tmp_path: Path
) -> None:
    rows = as_rows(spark, make_answers(300)).withColumn("title", F.lit(SECRET_TITLE))
    report = validate(
        rows, rows, baseline, expected_rows=300, run_id="../../nightly", docs_dir=tmp_path / "docs"
    )
    assert report.passed and report.baseline == "drill" and report.notes == ()
    assert {check.outcome for check in report.checks} == {"pass"}
    assert {check.suite for check in report.checks} == {"staged"}
    assert "expect_agreement_with_published" in {check.expectation for check in report.checks}
    # A Spark DOUBLE column takes no int.
    assert {type(check.observed) for check in report.checks} == {float}
    assert {type(check.threshold) for check in report.checks} == {float}
    assert report.docs_path is not None
    assert Path(report.docs_path).is_relative_to(tmp_path / "docs")
    for page in tmp_path.rglob("*.html"):
        assert "unreleased product" not in page.read_text()
        assert "product-1" not in page.read_text()


def test_broken_rows_fail_with_sentences(spark: SparkSession, baseline: LabelBaseline) -> None:
    broken = make_answers(300, color_shares={"red": 1.0}, text_only=1.0)
    report = validate(as_rows(spark, broken), None, baseline, expected_rows=301)
    assert not report.passed
    rows, modalities, labels = report.failures
    assert rows == "300 rows are staged, expected 301"
    assert modalities.startswith(
        "95.6% of 300 different products rest on other modalities than expected by the baseline "
        "'drill'"
    )
    assert labels.startswith("color: label distribution of 300 different products is 0.9")
    assert "(KL)" in labels and "red 0.41 -> 1.00" in labels


def test_empty_staged_table_fails(spark: SparkSession) -> None:
    rows = as_rows(spark, make_answers(1)).limit(0)
    assert validate(rows, rows, expected_rows=0).failures == ("0 rows are staged, expected 1",)


def test_what_was_not_compared_is_noted(spark: SparkSession, baseline: LabelBaseline) -> None:
    rows = as_rows(spark, make_answers(20, category="hats"))
    assert validate(rows, expected_rows=20).notes == (
        "no baseline for this catalog: labels and confidences are compared to nothing",
    )
    shoes = build_baseline(make_answers(500, category="shoes"))
    assert validate(rows, None, shoes, expected_rows=20).notes == (
        "20 of 20 rows are of categories that the baseline 'drill' does not tell apart",
    )
    assert validate(
        rows, None, shoes.model_copy(update={"other_categories": ()}), expected_rows=20
    ).notes == (
        "20 of 20 rows are of categories that the baseline 'drill' has not seen: they are expected "
        "to look like the whole of it",
    )
    only_style = {"style": baseline.products.attributes["style"]}
    products = baseline.products.model_copy(update={"attributes": only_style})
    lacking = baseline.model_copy(update={"products": products})
    (note,) = validate(rows, None, lacking, expected_rows=20).notes
    assert note.startswith("color: the baseline 'drill' does not have it")
