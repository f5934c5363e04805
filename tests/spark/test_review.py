"""The questions that a review page asks first."""

import math

import pytest
from pyspark.sql import Row

from enrich.spark.review import select_first

pytestmark = pytest.mark.spark

SCHEMA = (
    "product_id STRING, attribute STRING, label STRING, confidence DOUBLE, named STRING, "
    "alternatives ARRAY<STRUCT<label: STRING, confidence: DOUBLE>>, abstention STRING, "
    "threshold DOUBLE"
)
LABELS = ("navy", "red", "rose", "blue")


def answer(product_id, best, *confidences, threshold=None, named=None, attribute="color"):
    others = (label for label in LABELS if label != best)
    confidence, *rest = confidences
    alternatives = [Row(*pair) for pair in zip(others, rest, strict=False)]
    abstention = "unsure" if threshold and confidence < threshold else None
    abstention = "not_applicable" if product_id == "perfume" else abstention
    at = threshold or 0.0
    return (product_id, attribute, best, confidence, named, alternatives, abstention, at)


@pytest.mark.parametrize(
    ("aim", "answers", "asked"),
    [
        (
            "unsure",
            [
                answer("far", "red", 0.3, threshold=0.8),
                answer("never", "red", 0.79, threshold=math.inf),
                answer("near", "red", 0.55, threshold=0.6),
                answer("sure", "red", 0.8, threshold=0.8),
            ],
            ["near", "far", "never"],
        ),
        (
            "attribute",
            [
                answer("red 1", "red", 0.50, 0.48),
                answer("red 2", "red", 0.50, 0.45),
                answer("blue 1", "blue", 0.60, 0.30),
                answer("blue 2", "blue", 0.90, 0.05),
                answer("rose 1", "rose", 0.99),
                answer("perfume", "red", 0.50, 0.49),
            ],
            ["red 1", "blue 1", "rose 1", "red 2", "blue 2"],
        ),
        (
            "contradictions",
            [
                answer("agrees", "red", 0.9, named="red"),
                answer("silent", "red", 0.9),
                answer("likely", "red", 0.5, 0.4, named="navy"),
                answer("unlikely", "red", 0.5, 0.05, named="navy"),
                answer("sure", "red", 0.8, named="blue"),
            ],
            ["sure", "unlikely", "likely"],
        ),
    ],
)
def test_each_aim_asks_first_what_tells_most(spark, aim, answers, asked):
    rows = spark.createDataFrame(answers, SCHEMA)
    assert [one["product_id"] for one in select_first(rows, aim, 9).collect()] == asked
    assert [one["product_id"] for one in select_first(rows, aim, 2).collect()] == asked[:2]
