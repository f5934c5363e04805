"""Folders beside the tables for what only one run needs; a run that was killed leaves its own."""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from enrich.spark.hadoop import open_folder
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
        store, path = open_folder(tables.spark, folder)
        store.delete(path, True)


def remove_old_scratch(tables: OutputTables, days: int) -> int:
    """Removes what runs that were killed left so many days ago or earlier; returns how many.

    Runs on the driver.
    """
    store, parent = open_folder(tables.spark, f"{tables.location()}/{_PARENT}")
    if not store.exists(parent):
        return 0
    cutoff_ms = (time.time() - days * 86_400) * 1000
    old = [one for one in store.listStatus(parent) if one.getModificationTime() <= cutoff_ms]
    return sum(store.delete(one.getPath(), True) for one in old)
