"""Old versions of a table, as far as their files are there."""

from collections.abc import Iterator
from contextlib import contextmanager

from pyspark.sql import SparkSession

_IS_ENFORCED = "spark.databricks.delta.vacuum.enforceTimeTravelWithinDeletedFileRetentionDuration"


@contextmanager
def reaching_back(spark: SparkSession) -> Iterator[None]:
    """Lets reads and RESTORE inside go to every version whose files are there.

    Runs on the driver. Delta refuses older ones than a table promises to keep, which a table that
    has not changed for a while has only one of: the one before the last run.
    """
    before = spark.conf.get(_IS_ENFORCED, None)
    spark.conf.set(_IS_ENFORCED, "false")
    try:
        yield
    finally:
        if before is None:
            spark.conf.unset(_IS_ENFORCED)
        else:
            spark.conf.set(_IS_ENFORCED, before)
