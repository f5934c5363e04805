"""Spark counts what the benchmark counts, one row a content, in one aggregation."""

import pytest
from drawn_answers import LABELS, join, make_answers
from pyspark.sql import functions as F

from bench import gate_runs
from bench.gate_runs import Answers, to_spark
from expectations.counts import (
    OTHER,
    UNKNOWN,
    MovedCounts,
    MovedKey,
    choose_categories,
    count_answers,
    list_others,
    mark_rows,
    select_answered_attributes,
)

pytestmark = pytest.mark.spark

ATTRIBUTES = list(LABELS)


def predictions(**labels):
    return [(attribute, label, None) for attribute, label in labels.items()]


def test_spark_counts_what_the_benchmark_counts(spark):
    answers = join(make_answers(200, category="shoes"), make_answers(100, category=OTHER))
    for attribute in ATTRIBUTES:
        # Rounded, so that some lie on the edge between two bins.
        answers.rows[f"{attribute}_confidence"] = answers.rows[f"{attribute}_confidence"].round(2)
    before = join(make_answers(200, seed=1), make_answers(100, seed=2)).rows
    rows = mark_rows(to_spark(spark, answers.rows), to_spark(spark, before), ATTRIBUTES, ["shoes"])
    found = count_answers(rows)
    expected = gate_runs.count_answers(Answers(answers.rows, before))
    assert found.catalog == expected.catalog
    assert found.model_versions == {"model-1": 300}
    assert found.sizes == {"shoes": 200, OTHER: 100}
    assert {k: v for k, v in found.moved.items() if k.category is None} == expected.moved
    by_category = [v for k, v in found.moved.items() if k[:2] == ("color", "shoes")]
    assert [one.compared for one in by_category] == [200]
    assert next(iter(found.moved)).category is None


def test_the_same_rows_are_counted_once(spark):
    rows = mark_rows(to_spark(spark, make_answers(20).rows), None, ATTRIBUTES)
    assert count_answers(rows) is count_answers(rows)


def test_confidences_that_are_none_lie_in_no_bin(spark):
    rows = to_spark(spark, make_answers(10).rows)
    place = F.substring("content_hash", 9, 2).cast("int")
    odd = F.when(place == 1, float("nan")).when(place == 2, 1.01).when(place > 2, 1.0)
    counted = count_answers(mark_rows(rows.withColumn("color_confidence", odd), None, ATTRIBUTES))
    assert counted.catalog is not None
    assert sum(counted.catalog.products.attributes["color"].confidences) == 7


def test_best_labels_of_unchanged_products_are_compared(spark):
    schema = (
        "product_id STRING, content_hash STRING, product_category STRING, modalities STRING, "
        "model_version STRING, color STRING, color_confidence DOUBLE, "
        "predictions ARRAY<STRUCT<attribute: STRING, label: STRING, abstention: STRING>>"
    )

    def row(name, content, best, model="m"):
        # The published label is left out: only the best one counts.
        return name, content, None, "image", model, None, 0.5, predictions(color=best)

    now = spark.createDataFrame(
        [
            *(row(str(n), f"h{n}", "red") for n in range(5)),
            # Two more sizes of the second product, of which one is new.
            *(row(f"1{size}", "h1", "red") for size in "ab"),
            row("0a", "h0", "red"),
        ],
        schema,
    )
    before = spark.createDataFrame(
        [
            row("0", "h0", "red"),
            row("1", "h1", "blue"),
            row("1b", "h1", "blue"),
            row("2", "changed", "blue"),
            row("3", "h3", "red", "another"),
        ],
        schema,
    )
    assert dict(count_answers(mark_rows(now, before, ["color"])).moved) == {
        MovedKey("color", None, same_model=True): MovedCounts(2, 1),
        MovedKey("color", None, same_model=False): MovedCounts(1, 0),
    }


def test_a_category_without_counts_is_not_the_whole_run(of_categories):
    counts = count_answers(mark_rows(of_categories, None, ATTRIBUTES, ["shoes"]))
    assert counts.group(None).rows == 4 and counts.group("shoes").rows == 1
    assert counts.group("") is None


@pytest.fixture
def of_categories(spark):
    place = F.substring("product_id", 9, 1).cast("int") + 1
    category = F.element_at(F.array(*map(F.lit, ("shoes", "belts", None, "swimwear"))), place)
    return to_spark(spark, make_answers(4).rows).withColumn("product_category", category)


@pytest.mark.parametrize(
    ("others", "groups"),
    [
        (None, {"shoes": 1, OTHER: 3}),
        (("belts",), {"shoes": 1, OTHER: 1, UNKNOWN: 2}),
        ((None, "belts"), {"shoes": 1, OTHER: 2, UNKNOWN: 1}),
    ],
)
def test_a_category_that_a_baseline_has_not_seen_is_unknown(of_categories, others, groups):
    rows = mark_rows(of_categories, None, ATTRIBUTES, ["shoes"], others)
    assert count_answers(rows).sizes == groups


def test_the_largest_categories_are_told_apart(of_categories):
    rows = of_categories.unionByName(of_categories.where("product_category = 'shoes'"))
    rows = rows.withColumn("content_hash", F.monotonically_increasing_id().cast("string"))
    assert choose_categories(rows, 2, 1) == ["shoes", "belts"]
    assert choose_categories(rows, 5, 2) == ["shoes"]
    assert list_others(rows, ["shoes"]) == (None, "belts", "swimwear")
    assert list_others(rows, []) is None


def test_attributes_of_an_earlier_checkpoint_are_left_out(spark):
    rows = to_spark(spark, make_answers(3).rows)
    nothing = F.lit(None)
    old = {"size": nothing.cast("string"), "size_confidence": nothing.cast("double")}
    rows = rows.withColumns(old)
    assert select_answered_attributes(rows) == ATTRIBUTES
    marked = mark_rows(rows, None, ATTRIBUTES)
    assert not {"size", "size_confidence", "predictions"} & set(marked.columns)
    assert count_answers(marked).group(None) is not None


def test_an_attribute_may_be_called_as_the_gate_calls_its_own_columns(spark):
    rows = spark.createDataFrame(
        [("1", "h1", "image", "m", None, "kids", 0.9, "yes", 0.8, None)],
        "product_id STRING, content_hash STRING, modalities STRING, model_version STRING, "
        "product_category STRING, category STRING, category_confidence DOUBLE, `a.b c` STRING, "
        "`a.b c_confidence` DOUBLE, predictions ARRAY<STRUCT<attribute: STRING, label: STRING, "
        "abstention: STRING>>",
    )
    counted = count_answers(mark_rows(rows, None, ["category", "a.b c"], ["shoes"])).catalog
    assert counted is not None
    assert counted.label_counts == {"category": {"kids": 1}, "a.b c": {"yes": 1}}
