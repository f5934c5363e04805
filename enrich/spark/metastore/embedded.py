"""Spark's embedded metastore, a Derby database in a folder, which lets in one process at a time."""

import fcntl
import logging
import os
import re
import shutil
import struct
from pathlib import Path

import psutil
from pyspark.sql import SparkSession

from enrich.errors import ConfigError, MetastoreBusy, StorageFailed
from enrich.images.locations import local_path
from enrich.spark.hadoop import folder_of
from enrich.spark.metastore.shared import read_address
from enrich.spark.storage import describe_folder

log = logging.getLogger(__name__)

# All that Derby makes before service.properties, without which it opens nothing.
_UNBORN = {"README_DO_NOT_TOUCH_FILES.txt", "db.lck", "dbex.lck", "log", "seg0", "tmp"}
_DERBY = re.compile(r"jdbc:derby:(?:directory:)?;?(?:databaseName=)?([^;]+)")


def refuse_unusable_metastore(connection_url: str) -> None:
    """Refuses the Derby database of a JDBC address that this process cannot work with.

    Runs on the driver. Derby would say so too, in pages of Java and after a minute.

    Raises:
        MetastoreBusy: another process holds it.
        StorageFailed: it may not be written.
    """
    derby = _DERBY.match(connection_url)
    if not derby:
        return
    folder = Path(derby[1])
    holder = _lock_holder(folder / "dbex.lck")
    if holder is not None:
        raise MetastoreBusy(
            f"the metastore in {folder} is in use by {_describe(holder)}. The embedded metastore "
            "admits one process at a time: wait for that one to end, or set up a shared metastore "
            "(docs/metastore.md)"
        )
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise StorageFailed(
            f"the metastore cannot be opened: {describe_folder(folder)}. Make it writable, or run "
            "the job as the user whose tables these are"
        )
    _clear_unborn_metastore(folder)


def refuse_moved_metastore(spark: SparkSession) -> None:
    """Refuses a Derby database that was copied or moved, and names tables where it was before.

    Runs on the driver. The database keeps absolute folders: a job in the copy of a checkout would
    read and write the tables of the original. If it is where it was made, it is not opened for
    this.

    Raises:
        ConfigError: it was made beside another folder of tables.
    """
    derby = _DERBY.match(read_address(spark))
    if not derby or not _was_elsewhere(Path(derby[1])):
        return
    wanted = spark.conf.get("spark.sql.warehouse.dir") or ""
    made_with = folder_of(spark.catalog.getDatabase("default"))
    metastore, warehouse, known = (
        Path(local_path(place)).resolve() for place in (derby[1], wanted, made_with)
    )
    # If the tables are not beside the metastore, somebody has chosen their place.
    is_beside = warehouse.parent == metastore.parent and known.name == warehouse.name
    if is_beside and known != warehouse:
        raise ConfigError(
            f"the metastore in {metastore} was moved or copied from {known.parent}: its tables are "
            f"those in {known}. Move {metastore} away, and the next run finds the output tables in "
            f"{warehouse} by their folders. What has a place of its own, such as a product table "
            "that is known by name, has to be given its name again"
        )


def _was_elsewhere(folder: Path) -> bool:
    """Tells whether a Derby database may have been made in another folder than it is in."""
    try:
        # Derby writes the folder there, once. If its name has letters that Latin-1 lacks, it seems
        # to be another one, and the database is asked.
        first, *_ = (folder / "service.properties").read_text("latin-1").splitlines()
    except FileNotFoundError:
        return False  # none yet
    except (OSError, ValueError):
        return True
    return Path(first.removeprefix("#")).resolve() != folder.resolve()


def _clear_unborn_metastore(folder: Path) -> None:
    """Removes what a process left that was killed while it made the metastore: Derby refuses it.

    Runs on the driver. It knows no table yet, so nothing is lost.
    """
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    # Without a lock file it may be in the making by somebody else, or no metastore.
    if "dbex.lck" not in names or not names <= _UNBORN:
        return
    log.warning("%s was cut off while it was being made, and is made anew", folder)
    shutil.rmtree(folder)


def _lock_holder(lock_file: Path) -> int | None:
    """Returns the process that holds Derby's exclusive lock, None when it is free."""
    # struct flock on Linux: type, whence, start, length, pid.
    wanted = struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0)
    try:
        with lock_file.open("r+b") as file:
            answer = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, wanted))
    except OSError:
        return None  # no such database yet, or a file system without locks: Derby decides
    kind, pid = answer[0], answer[4]
    return None if kind == fcntl.F_UNLCK else pid


def _describe(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        command = " ".join(process.cmdline())
    except psutil.Error:
        return f"process {pid}"
    script = re.search(r"\S+\.py\b.*", command)
    name = "spark-sql" if "SparkSQLCLIDriver" in command else process.name()
    return f"process {pid} ({script[0][:80] if script else name})"
