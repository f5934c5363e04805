"""Sends drilled answers through the gate as it really runs: Spark counts, GX checks.

Runs on the driver.
"""

import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from schemas.tables import CORRECTIONS

from expectations.baseline import LabelBaseline
from expectations.drill import Answers, known_labels
from expectations.report import ValidationReport
from expectations.settings import ValidationSettings
from expectations.summary import ABSTAINED
from expectations.validation import validate_staged


def validate_answers(
    spark: SparkSession,
    answers: Answers,
    before: Answers | None,
    baseline: LabelBaseline,
    settings: ValidationSettings,
) -> ValidationReport:
    """Returns what the gate says of a run, `before` being what was published."""
    return validate_staged(
        as_rows(spark, answers),
        None if before is None else as_rows(spark, before),
        known_labels(answers, baseline),
        baseline,
        run_id="drill",
        expected_rows=len(answers),
        docs_dir=None,
        settings=settings,
    )


def as_rows(spark: SparkSession, answers: Answers) -> DataFrame:
    """Returns the answers with the columns of the staged and published tables that are counted."""
    ids = [f"product-{number}" for number in range(len(answers))]
    columns = {
        "product_id": ids,
        "content_hash": ids,
        "modalities": answers.modalities.values(),
        "model_version": answers.model_version,
    }
    categories = answers.categories.values() if answers.categories is not None else None
    columns["product_category"] = pd.Series(categories, index=range(len(ids)), dtype="object")
    for attribute, column in answers.labels.items():
        labels = [None if label == ABSTAINED else str(label) for label in column.values()]
        # A column of nothing but None would have no type.
        columns[attribute] = pd.Series(labels, dtype="object")
        columns[f"{attribute}_confidence"] = answers.confidences[attribute]
    rows = spark.createDataFrame(pd.DataFrame(columns))
    return rows.withColumn("corrections", F.lit(None).cast(CORRECTIONS))
