"""Folders beside the tables for what only one run needs; a run that was killed leaves its own."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyspark.sql import SparkSession

from enrich.spark.tables import OutputTables

_PARENT = "_scratch"


@contextmanager
def scratch_folder(tables: OutputTables) -> Iterator[str]:
    """Gives the name of a folder that is not there yet, and removes it in the end.

    Runs on the driver.
    """
    folder = f"{tables.location()}/{_PARENT}/{uuid.uuid4().hex}"
    try:
        yield folder
    finally:
        store, path = _open(tables.spark, folder)
        store.delete(path, True)


def remove_old_scratch(tables: OutputTables, days: int) -> int:
    """Removes what runs that were killed left so many days ago or earlier; returns how many.

    Runs on the driver.
    """
    store, parent = _open(tables.spark, f"{tables.location()}/{_PARENT}")
    if not store.exists(parent):
        return 0
    cutoff_ms = (time.time() - days * 86_400) * 1000
    old = [one for one in store.listStatus(parent) if one.getModificationTime() <= cutoff_ms]
    return sum(store.delete(one.getPath(), True) for one in old)


def _open(spark: SparkSession, folder: str) -> tuple[Any, Any]:
    """Returns Hadoop's file system of a folder, and its path there."""
    jvm: Any = spark.sparkContext._jvm
    path = jvm.org.apache.hadoop.fs.Path(folder)
    return path.getFileSystem(spark.sparkContext._jsc.hadoopConfiguration()), path
