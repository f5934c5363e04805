"""Hadoop's file systems, for what lies beside the tables: Spark's own have no call for it."""

from typing import Any

from pyspark.sql import SparkSession


def open_folder(spark: SparkSession, folder: str) -> tuple[Any, Any]:
    """Returns Hadoop's file system of a folder, and its path there. Runs on the driver."""
    jvm: Any = spark.sparkContext._jvm
    path = jvm.org.apache.hadoop.fs.Path(folder)
    return path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration()), path
