"""When a published row makes way for a run's: by the conditions alone, without any table."""

import pytest
from pyspark.sql import SparkSession

from enrich.spark.tables.merge_conditions import (
    IS_NEWER,
    SAYS_THE_SAME,
    is_outdated,
    stays,
)

pytestmark = pytest.mark.spark

_PREDICTIONS = (
    "array(named_struct('attribute', 'color', 'label', 'red', 'confidence', 0.7D, "
    "'abstained', false))"
)
ROW = {
    "content_hash": "'a'",
    "status": "'ok'",
    "model_version": "'m1'",
    "product_category": "CAST(NULL AS STRING)",
    "corrections": "array(named_struct('attribute', 'color', 'label', 'red'))",
    "predictions": _PREDICTIONS,
    "is_carried": "CAST(NULL AS BOOLEAN)",
    "run_id": "'monday'",
    "run_date": "DATE'2026-11-23'",
    "enriched_at": "TIMESTAMP'2026-11-23 02:00:00Z'",
}
TUESDAY = {"run_id": "'tuesday'", "run_date": "DATE'2026-11-24'"}
SUNDAY = {"run_id": "'sunday'", "run_date": "DATE'2026-11-22'"}
OF_A_WRONG_CLOCK = {"run_date": "DATE'2999-01-01'"}
WITHOUT_PICTURE = {"status": "'image_unreadable'"}
CARRIED = {"is_carried": "true"}


def holds(
    spark: SparkSession, condition: str, new: dict[str, str], old: dict[str, str] | None = None
) -> bool:
    """Returns whether a condition holds of ROW twice, each time with some other values."""
    rows = [
        f"(SELECT {', '.join(f'{value} AS {name}' for name, value in (ROW | other).items())}) {row}"
        for row, other in (("old", old or {}), ("new", new))
    ]
    return bool(spark.sql(f"SELECT {condition} FROM {', '.join(rows)}").collect()[0][0])


@pytest.mark.parametrize(
    ("change", "is_the_same"),
    [
        ({}, True),
        (TUESDAY, True),
        ({"content_hash": "'b'"}, False),
        ({"status": "'image_missing'"}, False),
        ({"model_version": "'m2'"}, False),
        ({"product_category": "'shoes'"}, False),
        ({"corrections": "CAST(NULL AS ARRAY<STRUCT<attribute: STRING, label: STRING>>)"}, False),
    ],
)
def test_a_newer_row_replaces_what_says_something_else(
    spark: SparkSession, change: dict[str, str], is_the_same: bool
) -> None:
    assert holds(spark, SAYS_THE_SAME, change) is is_the_same
    assert holds(spark, is_outdated(full_refresh=False), change | TUESDAY) is not is_the_same
    assert not holds(spark, is_outdated(full_refresh=True), change | SUNDAY)


@pytest.mark.parametrize(
    ("new", "old", "is_newer"),
    [
        (TUESDAY, {}, True),
        (SUNDAY, {}, False),
        ({}, {}, True),
        ({"enriched_at": "TIMESTAMP'2026-11-23 03:00:00Z'"}, {}, True),
        ({"enriched_at": "TIMESTAMP'2026-11-23 01:00:00Z'"}, {}, False),
        ({}, OF_A_WRONG_CLOCK, True),
    ],
)
def test_newer_is_a_later_date_or_start_and_no_date_that_is_to_come(
    spark: SparkSession, new: dict[str, str], old: dict[str, str], is_newer: bool
) -> None:
    assert holds(spark, IS_NEWER, new, old) is is_newer


@pytest.mark.parametrize(
    ("new", "full_refresh", "is_left"),
    [
        (TUESDAY, False, True),
        (TUESDAY, True, False),
        (TUESDAY | WITHOUT_PICTURE, True, True),
    ],
)
def test_a_full_refresh_renews_another_run_s_row_that_has_its_picture(
    spark: SparkSession, new: dict[str, str], full_refresh: bool, is_left: bool
) -> None:
    old = {name: value for name, value in new.items() if name == "status"}
    assert holds(spark, stays(full_refresh=full_refresh), new, old) is is_left
    assert holds(spark, is_outdated(full_refresh=full_refresh), new, old) is not is_left


@pytest.mark.parametrize(
    ("run_date", "is_left"), [("DATE'2026-11-23'", True), ("DATE'2026-11-24'", False)]
)
def test_a_full_refresh_renews_its_own_row_of_an_earlier_day_alone(
    spark: SparkSession, run_date: str, is_left: bool
) -> None:
    assert holds(spark, stays(full_refresh=True), {"run_date": run_date}) is is_left
    assert holds(spark, is_outdated(full_refresh=True), {"run_date": run_date}) is not is_left
    assert not holds(spark, is_outdated(full_refresh=False), {"run_date": run_date})


@pytest.mark.parametrize(
    ("old", "stands"),
    [
        ({}, True),
        ({"predictions": _PREDICTIONS.replace("false", "true")}, True),
        ({"predictions": _PREDICTIONS.replace("red", "blue")}, False),
        ({"predictions": _PREDICTIONS.replace("0.7", "0.6")}, False),
        ({"content_hash": "'b'"}, False),
        (WITHOUT_PICTURE, False),
    ],
    ids=["same", "abstained", "label", "confidence", "product", "status"],
)
def test_what_was_carried_over_replaces_nothing_but_the_answer_that_it_was_carried_from(
    spark: SparkSession, old: dict[str, str], stands: bool
) -> None:
    new = TUESDAY | {"product_category": "'shoes'"}
    for full_refresh in (False, True):
        assert holds(spark, is_outdated(full_refresh=full_refresh), new | CARRIED, old) is stands
        assert holds(spark, is_outdated(full_refresh=full_refresh), new, old)
