"""What is new about a product that could not be read before."""

import pytest
from pyspark.sql import SparkSession

from enrich.spark.quarantine import NO_MODALITY, select_new_quarantine
from enrich.spark.survey import State, Survey

pytestmark = pytest.mark.spark

FOUND = "product_id STRING, content_hash STRING, reason STRING, error STRING, model_version STRING"


@pytest.mark.parametrize(
    ("before", "is_new"),
    [("image_unreadable: no answer", True), ("image_corrupt: no JPEG", False)],
)
def test_a_picture_that_proves_broken_once_its_store_answers_is_news(
    spark: SparkSession, before: str, is_new: bool
) -> None:
    rows = spark.createDataFrame(
        [("p", "h", None, None, "a.jpg", State.AGAIN)],
        "product_id STRING, content_hash STRING, title STRING, description STRING, "
        "image_path STRING, state STRING",
    )
    staged = spark.createDataFrame(
        [("p", "h", None, "image_corrupt", "no JPEG")],
        "product_id STRING, content_hash STRING, modalities STRING, status STRING, error STRING",
    )
    known = spark.createDataFrame([("p", "h", NO_MODALITY, before, "m")], FOUND)
    survey = Survey(rows, dict.fromkeys(State, 0), "f")

    new = select_new_quarantine(survey, staged, known, "m")

    assert new.count() == is_new
