"""Replacements in Spark Connect for the calls that `session` makes to Java.

A remote session has no Java in this process. Its jobs have no descriptions, running tasks are not
counted, Java's log is the server's, and executors are not compared with this machine.
"""

import os
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from pyspark import SparkConf
from pyspark.errors import AnalysisException, PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from enrich.errors import ConfigError, NoAnswer, first_line
from enrich.places import parse_place, remove_place
from enrich.spark.session import REMOTE

# Spark plans a range in as many tasks as executors run at a time.
_RANGE = 100_000
_SIZE = re.compile(r"== Optimized Logical Plan ==\n.*Statistics\(sizeInBytes=([\d.E+]+) (\w+)")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def open_remote(builder: SparkSession.Builder, prepare: Callable[[], None]) -> SparkSession:
    """Return the session of the server that SPARK_REMOTE names.

    Args:
        builder: of the session.
        prepare: called before a server is started in this process, for `local[2]` and the like.

    Raises:
        ConfigError: packages of Spark Connect are missing.
        NoAnswer: the server does not answer.
    """
    address = os.environ[REMOTE]
    try:
        # Gives Delta's errors their classes.
        import delta.connect  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"{REMOTE} is set, and a package of Spark Connect is missing: {first_line(error)}. "
            "pip install 'catalog-enrichment[spark,connect]', or unset the variable."
        ) from error
    if address.startswith("local"):
        prepare()
    try:
        return builder.getOrCreate()
    except PySparkException as error:
        # Not the address: it may hold a token.
        raise NoAnswer(
            f"the server that {REMOTE} names cannot be used: {first_line(error)}. Wait and repeat."
        ) from error


def size_in_bytes(table: DataFrame) -> int:
    """Return Spark's estimate of a table's size, from its plan as people read it."""
    plan: Any = table
    found = _SIZE.search(plan._explain_string(mode="cost"))
    # A table of unknown size is large.
    return int(float(found[1]) * 1024 ** _UNITS.index(found[2])) if found else 1 << 62


def count_cores(spark: SparkSession) -> int:
    """Return the number of tasks that executors run at a time. One Spark job."""
    return spark.range(_RANGE).select(F.spark_partition_id()).distinct().count()


def read_settings(spark: SparkSession) -> SparkConf:
    """Return the session's settings."""
    return SparkConf(loadDefaults=False).setAll([*spark.conf.getAll.items()])


def list_files(spark: SparkSession, folder: str) -> list[str]:
    """Return the names of a folder's files as the server sees them, else none."""
    try:
        listed = spark.read.format("binaryFile").load(folder).inputFiles()
    except AnalysisException as error:
        if error.getCondition() != "PATH_NOT_FOUND":
            raise
        return []
    return [unquote(file).rpartition("/")[2] for file in listed]


def remove(folder: str) -> bool:
    """Remove a folder with this process's credentials; return whether it was there."""
    return remove_place(parse_place(folder))


class Uncounted:
    """Counter that stays as it is: Spark Connect has no accumulators."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def add(self, term: Any) -> None:
        """Add nothing."""
