"""Spark's settings by the size of the tables."""

from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from fake_shop import DAY, Shop, products
from long_tests import in_full
from pyspark.sql import SparkSession

from enrich.spark import settings
from enrich.spark.settings import session_settings, suit_table_size

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


@in_full
def test_compiled_queries_in_many_tasks_leave_the_tables_of_interpreted_ones_in_one(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two_nights(at: Shop) -> dict[str, pd.DataFrame]:
        at.write(products(40))
        at.refresh(run_id="monday")
        changed = products(44)
        changed.loc[::7, "title"] += ", now blue"
        changed.loc[[3, 41], "title"] = None
        at.write(pd.concat([changed, changed[8:10]]))
        at.refresh(run_id="tuesday", run_date=DAY + timedelta(days=1))
        found = {}
        for table in ("product_attributes", "staged_attributes", "quarantine"):
            rows = at.table(table)
            key = [name for name in ("run_id", "product_id", "reason") if name in rows]
            rows = rows.drop(columns=["enriched_at", "predictions"], errors="ignore")
            found[table] = rows.sort_values(key, ignore_index=True)
        return found

    wanted = two_nights(shop)
    monkeypatch.setattr(settings, "_FOR_LITTLE", {})
    (tmp_path / "large").mkdir()
    large = Shop(shop.spark, tmp_path / "large", f"{shop.database}_large")
    as_set_up = {
        "spark.sql.codegen.wholeStage": "true",
        "spark.sql.codegen.factoryMode": "CODEGEN_ONLY",
        "spark.sql.shuffle.partitions": "4",
        "spark.databricks.delta.snapshotPartitions": "4",
    }
    with session_settings(shop.spark, as_set_up):
        found = two_nights(large)
    shop.spark.sql(f"DROP DATABASE {large.database} CASCADE")

    for table, rows in wanted.items():
        pd.testing.assert_frame_equal(found[table], rows)
