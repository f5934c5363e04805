"""Spark's settings for a while."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from pyspark.sql import SparkSession

_IS_ENFORCED = "spark.databricks.delta.vacuum.enforceTimeTravelWithinDeletedFileRetentionDuration"


@contextmanager
def session_settings(spark: SparkSession, settings: Mapping[str, str]) -> Iterator[None]:
    """Sets Spark's settings for what is inside. Runs on the driver."""
    before = {name: spark.conf.get(name, None) for name in settings}
    for name, value in settings.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, earlier in before.items():
            if earlier is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, earlier)


def reaching_back(spark: SparkSession) -> AbstractContextManager[None]:
    """Lets reads and RESTORE inside go to every version whose files are there.

    Runs on the driver. Delta refuses versions that are older than a table promises to keep, and the
    tables of version 0.1 promise a week.
    """
    return session_settings(spark, {_IS_ENFORCED: "false"})
