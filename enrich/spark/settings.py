"""Sets Spark's settings for a while, or to suit the size of the tables."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from pyspark.sql import DataFrame, SparkSession

_IS_ENFORCED = "spark.databricks.delta.vacuum.enforceTimeTravelWithinDeletedFileRetentionDuration"
_LITTLE_BYTES = 16 << 20
_FOR_LITTLE = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.shuffle.partitions": "1",
    "spark.databricks.delta.snapshotPartitions": "1",
}


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


def suit_table_size(spark: SparkSession, *tables: DataFrame) -> None:
    """Has Spark interpret its queries in one task if all tables are little, else as it was set up.

    Runs on the driver; for the rest of the session. Over few rows Spark spends most of its time on
    the Java that it writes and compiles for every query, and on the tasks of a shuffle. A table
    whose size Spark does not know is taken for a large one.
    """
    is_little = all(bytes_of(table) <= _LITTLE_BYTES for table in tables)
    set_up = spark.sparkContext.getConf()
    for name, value in _FOR_LITTLE.items():
        if is_little:
            spark.conf.set(name, value)
        elif set_up.contains(name):
            spark.conf.set(name, str(set_up.get(name)))
        else:
            spark.conf.unset(name)


def bytes_of(table: DataFrame) -> int:
    """Returns how large Spark takes a table for, without reading it. Runs on the driver."""
    plan = table._jdf.queryExecution().optimizedPlan()
    return int(str(plan.stats().sizeInBytes()))
