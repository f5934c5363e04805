"""A Spark of its own for each runner that needs one, beside whatever else runs."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import DataFrame, SparkSession

from bench.setup import Setup


@contextmanager
def open_spark(setup: Setup) -> Iterator[tuple[SparkSession, DataFrame]]:
    """Yields a session that runs as many tasks at once as the job, and the products, cached."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = (
        SparkSession.builder.master(f"local[{setup.tasks}]")
        .appName("bench")
        # Neither tables nor Delta: the embedded metastore admits one process at a time.
        .config("spark.sql.catalogImplementation", "in-memory")
        .config("spark.sql.extensions", "")
        .config("spark.sql.catalog.spark_catalog", "")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )
    try:
        products = spark.read.parquet(str(setup.products_file))
        products = products.orderBy("product_id").limit(setup.products).cache()
        products.count()
        yield spark, products
    finally:
        spark.stop()


def run_all(rows: DataFrame) -> None:
    """Computes every row and keeps none."""
    rows.write.format("noop").mode("overwrite").save()
