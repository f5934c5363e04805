"""Spark's settings by the size of the tables."""

import pytest
from pyspark.sql import SparkSession

from enrich.spark import settings
from enrich.spark.settings import suit_table_size

pytestmark = pytest.mark.spark

SET_UP, NOT_SET_UP = "spark.sql.shuffle.partitions", "spark.sql.codegen.maxFields"


def test_settings_for_little_tables_go_again_where_one_is_large(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(settings, "_FOR_LITTLE", {SET_UP: "3", NOT_SET_UP: "7"})
    before = [spark.conf.get(name) for name in (SET_UP, NOT_SET_UP)]
    little, large = spark.range(1_000), spark.range(10_000_000)
    suit_table_size(spark, little)
    assert [spark.conf.get(name) for name in (SET_UP, NOT_SET_UP)] == ["3", "7"]
    suit_table_size(spark, little, large)
    assert [spark.conf.get(name) for name in (SET_UP, NOT_SET_UP)] == before
