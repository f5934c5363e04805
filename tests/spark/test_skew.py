"""Rows that nobody can use do not gather in one task, and chunks cost alike."""

from pathlib import Path
from statistics import median
from typing import Any

import pytest
from pyspark.sql import functions as F

from enrich.spark import diff as diff_module
from enrich.spark.rules import Attempt
from enrich.spark.session import session_settings
from enrich.spark.tables import now

ROWS, TASKS = 40_000, 8


@pytest.fixture
def settings(spark):
    # As over large tables, of which none is sent to all tasks.
    large = {"spark.sql.autoBroadcastJoinThreshold": "-1"}
    with session_settings(spark, {**large, "spark.sql.shuffle.partitions": str(TASKS)}):
        yield


def write_products(shop, rows):
    rows = rows.withColumn("title", F.concat(F.lit("shirt "), F.col("id")))
    rows = rows.withColumns(
        {name: F.lit(None).cast("string") for name in ("description", "image_path")}
    )
    rows.drop("id").repartition(TASKS).write.parquet(str(shop.file))


def records_by_stage(spark, after):
    """Return the records that each task of each stage read, files and shuffles together."""
    java: Any = spark.sparkContext._gateway
    store: Any = spark.sparkContext._jsc.sc().statusStore()
    found = {}
    nothing = java.new_array(java.jvm.double, 0), java.jvm.java.util.ArrayList()
    stages = store.stageList(None, False, False, *nothing)
    for stage in (stages.apply(n) for n in range(stages.size())):
        if stage.stageId() > after and stage.numTasks() == TASKS:
            tasks = store.taskList(stage.stageId(), stage.attemptId(), 1_000)
            metrics = [tasks.apply(n).taskMetrics().get() for n in range(tasks.size())]
            found[stage.stageId()] = [
                one.shuffleReadMetrics().recordsRead() + one.inputMetrics().recordsRead()
                for one in metrics
            ]
    return found


def test_rows_without_an_id_or_an_image_are_in_no_task_of_their_own(shop, settings, monkeypatch):
    spark = shop.spark
    ids = F.when(F.col("id") % 2 == 0, F.concat(F.lit("p"), F.col("id")))
    # One id is on four rows.
    ids = F.when(F.col("id") < 4, "p0").otherwise(ids)
    shop.file = Path(f"{shop.folder}/many.parquet")
    write_products(shop, spark.range(ROWS).withColumn("product_id", ids))
    monkeypatch.setattr(diff_module, "_FEW_BYTES", 0)
    inputs = shop.prepare()
    inputs.tables.create_missing()
    before = max(records_by_stage(spark, -1), default=-1)

    diff = inputs.diff([], Attempt(inputs.request.run_date, now(), "run"))

    counts = {str(outcome): count for outcome, count in diff.counts.items() if count}
    without = ROWS // 2 - 2
    assert counts == {"null_id": without, "duplicate_id": 3, "new": ROWS - without - 3}
    stages = [one for one in records_by_stage(spark, before).values() if sum(one) >= ROWS // 4]
    assert len(stages) >= 2
    assert all(max(records) <= 3 * median(records) for records in stages), stages
