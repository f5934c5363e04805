"""Sends drilled answers through the gate as it really runs: Spark counts, GX checks.

Runs on the driver.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from schemas.labels import ABSTAINED
from schemas.tables import CORRECTIONS

from expectations.baseline import LabelBaseline
from expectations.checks import Check
from expectations.drill.answers import DrawnAnswers
from expectations.drill.in_arrays import known_labels
from expectations.drill.runs import Case
from expectations.report import QualityCheck, ValidationReport
from expectations.settings import ValidationSettings
from expectations.validation import Validation


def validate_case(
    spark: SparkSession, case: Case, baseline: LabelBaseline, settings: ValidationSettings
) -> ValidationReport:
    """Returns what the gate says of a run of all the case's answers."""
    return Validation("drill", settings).validate_staged(
        as_rows(spark, case.answers),
        None if case.before is None else as_rows(spark, case.before),
        known_labels(case.answers, baseline),
        baseline,
        expected_rows=len(case.answers),
    )


def as_rows(spark: SparkSession, answers: DrawnAnswers) -> DataFrame:
    """Returns the answers with the columns of the staged and published tables that are counted."""
    ids = [f"product-{number}" for number in range(len(answers))]
    columns = {
        "product_id": ids,
        "content_hash": ids,
        "modalities": np.asarray(answers.modalities),
        "model_version": answers.model_version,
    }
    categories = np.asarray(answers.categories) if answers.categories is not None else None
    columns["product_category"] = pd.Series(categories, index=range(len(ids)), dtype="object")
    for attribute, column in answers.labels.items():
        labels = [None if label == ABSTAINED else str(label) for label in column]
        # A column of nothing but None would have no type.
        columns[attribute] = pd.Series(labels, dtype="object")
        columns[f"{attribute}_confidence"] = answers.confidences[attribute]
    rows = spark.createDataFrame(pd.DataFrame(columns))
    return rows.withColumn("corrections", F.lit(None).cast(CORRECTIONS))


def is_same(checks: Sequence[Check], report: ValidationReport) -> bool:
    """Returns whether a report holds the same checks, with the same figures and verdicts."""
    return {_outline(check, check.passed) for check in checks} == {
        _outline(check, check.outcome == "pass") for check in report.checks
    }


def _outline(check: Check | QualityCheck, passed: bool) -> tuple[object, ...]:
    # Sums come in another order from Spark, and differ in their last digits.
    observed = None if check.observed is None else round(check.observed, 4)
    threshold = round(check.threshold, 6)
    return check.expectation, check.attribute, check.category, observed, threshold, passed
