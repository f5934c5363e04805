"""The gate from rows to verdict: Spark counts, Great Expectations evaluates."""

from datetime import date
from typing import NamedTuple

import numpy as np
import pytest
from drawn_answers import LABELS, join, make_answers, relabel
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

from bench.gate_runs import build_baseline, check_by_gate, find_reasons, to_spark
from enrich.errors import ConfigError
from enrich.text import build_text
from expectations.checks import NO_BASELINE
from expectations.counts import OTHER
from expectations.custom import AnswersExpectation
from expectations.distribution import Finding
from expectations.gate import Gate, shows_text
from expectations.settings import ValidationSettings
from schemas.labels import AuditedLabel
from schemas.tables import LABEL_QUALITY, CheckOutcome
from schemas.views import views

pytestmark = pytest.mark.spark


class Sample(NamedTuple):
    """A sample of images as the refresh takes it."""

    tried: int
    read: int
    problem: str | None = None
    paths: int = 0
    alike: int = 0


def check(rows, baseline=None, published=None, *, expected_rows, never_answered=(), **settings):
    allowed = ValidationSettings.model_validate(settings)
    gate = Gate(allowed, LABELS, baseline, never_answered)
    return gate.check_candidates(rows, published, expected_rows)


def find(verdict, expectation, attribute=None):
    (found,) = (
        one
        for one in verdict.quality
        if (one["expectation"], one["attribute"], one["category"]) == (expectation, attribute, None)
    )
    return found


def test_sound_rows_pass(spark, baseline):
    rows = to_spark(spark, make_answers(300).rows).withColumn("title", F.lit("a shirt"))
    verdict = check(
        rows,
        baseline,
        rows,
        expected_rows=300,
        expectations=[{"type": "expect_column_values_to_be_unique", "column": "title"}],
    )
    unique = find(verdict, "expect_column_values_to_be_unique")
    assert verdict.failures == (unique["detail"],)
    assert unique["products"][:2] == ["product-0", "product-1"]
    others = [one for one in verdict.quality if one is not unique]
    assert {one["outcome"] for one in others} == {"pass"}
    assert {one["suite"] for one in others} == {"candidates"}
    assert (verdict.baseline, verdict.notes) == ("the catalog", ())
    assert find(verdict, "expect_labels_to_agree_with_published", "color")["observed"] == 0
    # A Spark DOUBLE column takes no int.
    figures = [one[name] for one in others for name in ("observed", "threshold", "allowance")]
    assert {type(one) for one in figures} <= {float, type(None)}


def test_every_broken_row_is_counted_and_leads_to_its_product(spark, baseline):
    rows = to_spark(spark, make_answers(300).rows)
    at = F.substring("content_hash", 9, 3).cast("int")
    broken = rows.withColumns(
        {
            "product_id": F.when(at == 7, "product-8").otherwise(F.col("product_id")),
            "style": F.when(at == 5, "mauve").otherwise(F.col("style")),
            "color_confidence": F.when(at == 1, float("nan"))
            .when(at == 2, 1.01)
            .when(at != 3, F.col("color_confidence")),
        }
    )
    verdict = check(broken, baseline, expected_rows=301)
    assert verdict.failures == (
        "300 rows hold an answer, expected 301",
        "2 of 300 products (0.7%) have a product_id that another row has too",
        "color: 1 of 300 products (0.3%) have no confidence",
        "color: 2 of 300 products (0.7%) have a confidence outside [0, 1]",
        "style: 1 of 300 products (0.3%) have a label unknown to the checkpoint: found 'mauve'",
    )
    products = {one["expectation"]: one["products"] for one in verdict.quality if one["products"]}
    assert products == {
        "expect_product_ids_unique": ["product-8"],
        "expect_confidence_present": ["product-3"],
        "expect_confidence_in_unit_interval": ["product-1", "product-2"],
        "expect_known_labels": ["product-5"],
    }


def test_moved_labels_lead_to_their_products_in_a_view_too(spark, baseline):
    spoilt = relabel(make_answers(900), "color", "blue", 0.18)
    verdict = check(to_spark(spark, spoilt.rows), baseline, expected_rows=900)
    (failure,) = verdict.failures
    assert failure.startswith("color: 1") and "% more blue (" in failure
    assert failure.endswith("; allowed 8.0% (validation.max_label_shift)")
    found = find(verdict, "expect_label_shares_near_baseline", "color")
    assert (found["threshold"], found["allowance"]) == (0.08, 0)
    assert found["observed"] > 0.1
    blue = {f"product-{place}" for place in np.flatnonzero(spoilt.rows["color"] == "blue")}
    assert sorted(found["products"]) == sorted(blue)

    run = {"run_id": "1", "run_date": date(2026, 11, 30), "model_version": "model-1"}
    rows = [run | {"baseline": verdict.baseline} | one for one in verdict.quality]
    spark.sql("CREATE DATABASE IF NOT EXISTS gate_checks")
    try:
        table = spark.createDataFrame(rows, StructType.fromDDL(LABEL_QUALITY))
        table.write.mode("overwrite").saveAsTable("gate_checks.label_quality")
        view = views("gate_checks", LABELS)["failed_check_products"]
        spark.sql(f"CREATE OR REPLACE VIEW gate_checks.failed {view}")
        asked = "SELECT * FROM gate_checks.failed WHERE expectation LIKE '%shares%'"
        listed = {(row["attribute"], row["product_id"]) for row in spark.sql(asked).collect()}
    finally:
        spark.sql("DROP DATABASE gate_checks CASCADE")
    assert listed == {("color", product_id) for product_id in blue}


def test_all_that_moved_leads_to_its_products(spark, baseline):
    odd = make_answers(200, color_shares={"red": 1.0}, text_only=1.0, sureness=2)
    rows = to_spark(spark, odd.rows)
    best = F.transform("predictions", lambda one: one.withField("label", F.lit("green")))
    verdict = check(rows, baseline, rows.withColumn("predictions", best), expected_rows=200)
    sizes = {
        (one["expectation"], one["attribute"]): len(one["products"])
        for one in verdict.quality
        if one["outcome"] == "fail"
    }
    assert sizes[("expect_modalities_near_baseline", None)] == 200
    assert sizes[("expect_label_shares_near_baseline", "color")] == 200
    assert sizes[("expect_labels_to_agree_with_published", "style")] == 200
    # Those that are less sure than they should be.
    assert 0 < sizes[("expect_confidences_near_baseline", "style")] < 200


def test_the_gate_blocks_by_the_checks_of_the_benchmark(spark):
    parts = [make_answers(200, seed=seed, category=name) for seed, name in enumerate("ab")]
    catalog = join(*parts)
    baseline = build_baseline(catalog)
    spoilt = relabel(catalog, "color", "green", 0.3)
    expected = set(find_reasons(spoilt, baseline, ValidationSettings()))
    assert None in {one.category for one in expected}
    assert check_by_gate(spark, spoilt, baseline, ValidationSettings()) == expected


def test_categories_are_told_apart_and_their_failures_are_not_repeated(spark):
    name = "</script><b>$bold & co"
    shoes, hats = make_answers(300, category=name), make_answers(300, seed=1, category="hats")
    run = join(relabel(shoes, "color", "red"), hats)
    baseline = build_baseline(join(shoes, hats))
    verdict = check(to_spark(spark, run.rows), baseline, expected_rows=600)
    failed = [one for one in verdict.quality if one["outcome"] == "fail"]
    of_shares = [one for one in failed if one["expectation"].startswith("expect_label_shares")]
    assert [one["category"] for one in of_shares] == [None, name]
    assert len(of_shares[1]["products"]) == 300
    assert len(verdict.failures) == len({one["expectation"] for one in failed})


def test_sizes_of_one_dress_are_one_answer(spark, baseline):
    sizes = to_spark(spark, make_answers(1).rows.loc[np.zeros(30, dtype=int)])
    as_many = check(sizes, baseline, expected_rows=30).failures
    assert "color: 1 different confidences occur, expected at least 2" in as_many
    one_dress = sizes.withColumn("content_hash", F.lit("one dress"))
    assert check(one_dress, baseline, one_dress, expected_rows=30).failures == ()


def test_too_few_labels_block_without_a_baseline(spark):
    rows = to_spark(spark, make_answers(200).rows).withColumn("color", F.lit(None).cast("string"))
    verdict = check(rows, expected_rows=200)
    (failure,) = verdict.failures
    assert failure.startswith("color: 200 of 200 products (100.0%) have no label; allowed 90.0% ")
    assert verdict.baseline == NO_BASELINE
    assert verdict.notes == ("label shares are not compared: this catalog has no baseline",)
    found = find(verdict, "expect_abstained_share_below", "color")
    assert found["threshold"] == pytest.approx(0.9)
    assert 0 < found["allowance"] < 0.1
    assert len(found["products"]) == 200


def test_an_attribute_without_a_proved_threshold_is_noted_and_blocks_nothing(spark, baseline):
    never = {"color": F.lit(None).cast("string"), "color_confidence": F.lit(0.2)}
    rows = to_spark(spark, make_answers(200).rows).withColumns(never)
    verdict = check(rows, expected_rows=200, never_answered=["color"])
    assert verdict.failures == ()
    (first, *_) = verdict.notes
    assert first.startswith("color ")


def test_a_label_that_audits_found_wrong_is_a_warning(spark):
    rows = to_spark(spark, make_answers(100).rows)
    audited = [AuditedLabel("color", "red", 40, 20, 0.9), AuditedLabel("color", "blue", 9, 8, 0.9)]
    gate = Gate(ValidationSettings(), LABELS, None)
    verdict = gate.check_candidates(rows, None, 100, audited=audited)
    assert verdict.passed
    about = [one for one in verdict.notes if "audited answers are wrong" in one]
    assert len(about) == 1 and about[0].startswith("color red: 20 of 40 ")
    found = [one for one in verdict.quality if "audited" in one["expectation"]]
    assert [one["outcome"] for one in found] == [CheckOutcome.WARN, CheckOutcome.PASS]
    assert found[1]["observed"] > found[1]["threshold"], "one wrong answer of nine is chance"


def test_rows_that_are_missing_fail(spark):
    rows = to_spark(spark, make_answers(1).rows).limit(0)
    assert check(rows, rows and None, rows, expected_rows=3).failures == (
        "0 rows hold an answer, expected 3",
    )


def test_another_model_than_the_baseline_s_is_refused_with_advice(spark, baseline):
    rows = to_spark(spark, make_answers(300, model_version="model-2").rows)
    (failure,) = check(rows, baseline, expected_rows=300).failures
    assert failure.startswith(
        "300 of 300 products (100.0%) are of another model_version than the baseline "
        "'the catalog': found 'model-2'. Look at the candidates, then build a baseline"
    )
    verdict = check(rows, baseline, expected_rows=300, baseline_of_other_model="warn")
    assert verdict.passed and failure in verdict.notes


def test_expectations_of_the_settings_gate(spark):
    rows = to_spark(spark, make_answers(100).rows)
    not_null = "expect_column_values_to_not_be_null"
    verdict = check(
        rows,
        expected_rows=100,
        expectations=[
            {"type": not_null, "column": "color", "mostly": 0.95},
            {"type": not_null, "column": "color", "mostly": 0.97, "severity": "warning"},
            {"type": "expect_column_mean_to_be_between", "column": "color_confidence"}
            | {"min_value": 0.99},
            {"type": not_null, "column": "colour", "severity": "warning"},
        ],
    )
    missing, mean, unknown = verdict.failures
    assert (
        missing.startswith("color: 2") and "break expect_column_values_to_not_be_null(" in missing
    )
    assert mean.startswith("color: expect_column_mean_to_be_between(column='color_confidence'")
    # Great Expectations' own words; what could not be evaluated blocks, whatever its severity.
    assert "could not be evaluated" in unknown and 'column "colour" in BatchData' in unknown
    assert any("mostly=0.97" in note for note in verdict.notes)
    found = [one for one in verdict.quality if one["expectation"] == not_null][:2]
    assert [one["threshold"] for one in found] == pytest.approx([0.05, 0.03])
    assert 15 < len(found[0]["products"]) < 30


def test_a_rule_of_ones_own_gates_and_leads_to_products(spark):
    class ExpectFewRedProducts(AnswersExpectation):
        max_share: float = 0.1

        def judge(self, counts):
            colors = counts.catalog.products.attributes["color"].labels  # type: ignore[union-attr]
            share = colors["red"] / sum(colors.values())
            return Finding(share, 0.0, share <= self.max_share, f"{share:.0%} are red")

        def about(self, finding):
            return F.col("color") == "red"

    rows = to_spark(spark, make_answers(100).rows)
    wanted = {"type": "expect_few_red_products", "max_share": 0.2}
    verdict = check(rows, expected_rows=100, expectations=[wanted])
    found = find(verdict, "expect_few_red_products")
    assert verdict.failures == (found["detail"],)
    assert found["detail"] == f"{found['observed']:.0%} are red"
    assert len(found["products"]) == round(100 * found["observed"]) > 20
    assert check(rows, expected_rows=100, expectations=[wanted | {"max_share": 0.9}]).passed


def test_wrong_expectation_is_refused_before_a_run(spark):
    settings = ValidationSettings.model_validate({"expectations": [{"type": "expect_nothing"}]})
    products = spark.createDataFrame([], "product_id STRING, title STRING, is_new BOOLEAN")
    with pytest.raises(ConfigError, match="has an unknown type: found 'expect_nothing'"):
        Gate(settings, LABELS, None).check_input(products, Sample(0, 0))


def test_what_was_not_compared_is_noted(spark, baseline):
    few = to_spark(spark, make_answers(12).rows)
    (note,) = check(few, baseline, expected_rows=12).notes
    assert note.startswith("label shares are not compared: found 12 different products")
    hats = to_spark(spark, make_answers(20, category="hats").rows)
    shoes = build_baseline(
        join(make_answers(500, category="shoes"), make_answers(9, category=OTHER))
    )
    assert check(hats, shoes, expected_rows=20).notes == (
        "20 of 20 different products are of categories that the baseline 'the catalog' does not "
        "tell apart",
    )
    known = shoes.model_copy(update={"other_categories": ()})
    (unknown,) = check(hats, known, expected_rows=20).notes
    assert "has not seen: they are expected to look like all of it" in unknown
    only_style = {"style": baseline.products.attributes["style"]}
    products = baseline.products.model_copy(update={"attributes": only_style})
    lacking = baseline.model_copy(update={"products": products})
    assert check(to_spark(spark, make_answers(20).rows), lacking, expected_rows=20).notes == (
        "shares of color are not compared: the baseline does not have it",
    )


def test_product_table_is_checked_before_inference(spark):
    rows = [
        ("1", "shirt", None, True),
        ("1", None, "shoes", True),
        (None, " ", "", True),
        ("4", "\n", "\u00a0", True),
        ("5", "\u200b\t", None, True),
        ("2", None, None, True),
        ("3", None, None, False),
    ]
    products = spark.createDataFrame(
        rows, "product_id STRING, title STRING, description STRING, is_new BOOLEAN"
    )
    gate = Gate(ValidationSettings(), LABELS, None)
    verdict = gate.check_input(products, Sample(100, 60, "no access", 60, 60))
    observed = {one["expectation"]: one["observed"] for one in verdict.quality}
    assert observed == pytest.approx(
        {
            "expect_product_ids_present": 1 / 7,
            "expect_product_ids_unique": 2 / 6,
            "expect_images_to_be_readable": 0.4,
            "expect_images_to_differ": 1.0,
        }
    )
    # Of seven rows chance explains the others, and six texts are too few.
    unread, alike = verdict.failures
    assert unread.startswith(
        "40 of 100 images of a sample could not be read (the first: no access) (40.0%); allowed "
        "20.0% (validation.max_unread_image_share) and 1"
    )
    assert alike.startswith("60 of 60 images of a sample are one and the same picture (100.0%)")
    assert {one["suite"] for one in verdict.quality} == {"input"}
    many = products.withColumn("copy", F.explode(F.sequence(F.lit(1), F.lit(40))))
    many = many.withColumn("product_id", F.concat("product_id", F.lit("-"), "copy"))
    verdict = gate.check_input(many, Sample(0, 0))
    assert verdict.notes == ("0 images were tried before inference",)
    assert [one.split(" products ")[1].split(";")[0] for one in verdict.failures] == [
        "(14.3%) have no usable product_id",
        "(33.3%) have a product_id that another row has too",
        "(66.7%) have neither title nor description",
    ]


def test_markup_around_nothing_is_not_a_text(spark):
    texts = [
        *("<p>&nbsp;</p>", "<p></p>", "<div><br></div>", "&nbsp;", "&#160;\n", '<P CLASS="a">'),
        *("<!-- wp:paragraph --><p></p>", "&lt;p&gt;&amp;nbsp;&lt;/p&gt;"),
        *("<p>shoes</p>", "5 < 6 > 4", "&#1050;&#1088;", "&amp;", "A &lt; B", "<3", "<p"),
    ]
    rows = spark.createDataFrame([(text,) for text in texts], "text STRING")
    shown = {row["text"] for row in rows.where(shows_text(F.col("text"))).collect()}
    assert shown == {text for text in texts if build_text(None, text)}
