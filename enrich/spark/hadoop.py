"""Hadoop behind Spark: its settings and its file systems, for which Spark itself has no call."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote

from pyspark.sql import SparkSession
from pyspark.sql.catalog import Database


def folder_of(database: Database) -> str:
    """Returns a database's folder as a path, decoded: Spark gives it percent-encoded."""
    return unquote(str(database.locationUri))


def escape_pattern(path: str) -> str:
    """Returns a path for Spark to read: unescaped, brackets and stars in it would be a pattern."""
    return re.sub(r"[{}\[\]*?\\]", r"\\\g<0>", path)


def hadoop_settings(spark: SparkSession) -> Any:
    """Returns the Java object of Hadoop's settings; what is set in it is in force at once.

    Runs on the driver.
    """
    return spark.sparkContext._jsc.hadoopConfiguration()


def open_folder(spark: SparkSession, folder: str) -> tuple[Any, Any]:
    """Returns Hadoop's file system of a folder, and its path there. Runs on the driver."""
    jvm: Any = spark.sparkContext._jvm
    path = jvm.org.apache.hadoop.fs.Path(folder)
    return path.getFileSystem(hadoop_settings(spark)), path


def has_folder(spark: SparkSession, path: str) -> bool:
    """Return whether a folder is there, in whatever store. Runs on the driver."""
    store, folder = open_folder(spark, path)
    # Of what lies below a file HDFS does not say that it is not there.
    return bool(store.isDirectory(folder.getParent()) and store.isDirectory(folder))


@contextmanager
def quiet_java(spark: SparkSession) -> Iterator[None]:
    """Keep Java's own account of a failure, which takes pages, off the console."""
    jvm: Any = spark.sparkContext._jvm
    level = jvm.org.apache.logging.log4j.LogManager.getRootLogger().getLevel().toString()
    spark.sparkContext.setLogLevel("OFF")
    try:
        yield
    finally:
        spark.sparkContext.setLogLevel(level)
