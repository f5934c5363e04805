"""Folders beside the tables for what only one run needs; a run that was killed leaves its own."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame

from enrich.spark.hadoop import escape_pattern, open_folder
from enrich.spark.tables.output_tables import OutputTables

_PARENT = "_scratch"
_TIME = "%Y%m%dT%H%M%S"


@contextmanager
def scratch_folder(tables: OutputTables) -> Iterator[str]:
    """Gives the name of a folder that is not there yet, and removes it in the end.

    Runs on the driver.
    """
    # An object store knows no time of a folder, so its name says it.
    folder = f"{tables.location()}/{_PARENT}/{datetime.now(UTC):{_TIME}}-{uuid.uuid4().hex}"
    try:
        yield folder
    finally:
        store, path = open_folder(tables.spark, folder)
        store.delete(path, True)


def write_aside(rows: DataFrame, folder: str, *partitioned_by: str) -> DataFrame:
    """Writes rows to a folder that is not there yet, and returns them as they lie there.

    Runs on the driver; one pass over the rows.
    """
    rows.write.partitionBy(*partitioned_by).parquet(folder)
    # What is read is a pattern to Spark, unlike what is written, and the lakehouse's folder may
    # hold brackets. Without a schema Spark would look for one in the files.
    return rows.sparkSession.read.schema(rows.schema).parquet(escape_pattern(folder))


def remove_old_scratch(tables: OutputTables, days: int) -> int:
    """Removes what runs that were killed left so many days ago or earlier; returns how many.

    Runs on the driver.
    """
    store, parent = open_folder(tables.spark, f"{tables.location()}/{_PARENT}")
    if not store.exists(parent):
        return 0
    cutoff = datetime.now(UTC) - timedelta(days=days)
    old = [one for one in store.listStatus(parent) if _made_at(one) <= cutoff]
    return sum(store.delete(one.getPath(), True) for one in old)


def _made_at(folder: Any) -> datetime:
    """Returns when a folder was made; those of version 0.1 have no time in their name."""
    try:
        made = datetime.strptime(folder.getPath().getName().split("-")[0], _TIME)
    except ValueError:
        return datetime.fromtimestamp(folder.getModificationTime() / 1000, UTC)
    return made.replace(tzinfo=UTC)
