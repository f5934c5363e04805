"""Opens the Spark session, and says in one line why its metastore cannot be opened."""

import fcntl
import logging
import os
import re
import shutil
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path
from threading import Thread

import psutil
from py4j.protocol import Py4JJavaError
from pyspark import SparkConf
from pyspark.sql import SparkSession

from enrich.errors import MetastoreBusy, NoAnswer, StorageFailed, first_line
from enrich.logs import is_json
from enrich.spark.java_logs import log_java_as_json
from enrich.spark.shared_metastore import is_shared, read_address, refuse_closed_metastore
from enrich.spark.storage import describe_folder

log = logging.getLogger(__name__)

# All that Derby makes before service.properties, without which it opens nothing.
_UNBORN = {"README_DO_NOT_TOUCH_FILES.txt", "db.lck", "dbex.lck", "log", "seg0", "tmp"}
# Spark stops itself when it has asked the masters of a cluster for a minute.
_STOPPED = re.compile(r"stopped SparkContext|SparkContext (was|has been) shut ?down")
_DERBY = re.compile(r"jdbc:derby:(?:directory:)?;?(?:databaseName=)?([^;]+)")


def open_session(app_name: str, *, opens_metastore: bool = True) -> SparkSession:
    """Returns the session that spark-submit configured, with tables by name.

    Runs on the driver. Its metastore is opened in the background, if at all.

    Args:
        opens_metastore: False where the caller is to make a metastore first.

    Raises:
        MetastoreBusy: another process holds the embedded metastore.
        StorageFailed: the embedded metastore may not be written.
        ConfigError: the shared metastore does not let this job in, or is none yet.
        NoAnswer: the cluster's master or the shared metastore is out of reach.
    """
    builder = SparkSession.builder.appName(app_name).enableHiveSupport()
    if is_json():
        builder = builder.config("spark.ui.showConsoleProgress", "false")
    # Its metastore is not touched yet.
    spark = _start(builder)
    end_when_interrupted()
    if is_json():
        log_java_as_json(spark)
    address = read_address(spark)
    if not is_shared(address):
        refuse_unusable_metastore(address)
    elif opens_metastore:
        refuse_closed_metastore(spark, address)
    if opens_metastore:
        # That takes seconds, in which a job opens its catalog.
        Thread(target=_open_metastore, args=(spark,)).start()
    return spark


def _start(builder: SparkSession.Builder) -> SparkSession:
    """Returns the session; Spark says in pages of Java that it has given up its master."""
    try:
        return builder.getOrCreate()
    except Py4JJavaError as error:
        if not _STOPPED.search(first_line(error)):
            raise
        master = SparkConf().get("spark.master", "")
        # From nothing: Java's pages would hide the one line.
        raise NoAnswer(
            f"Spark's master at {master} does not answer, or takes no job: wait and repeat. A "
            "mistyped address looks the same (--master, spark.master)"
        ) from None


def end_when_interrupted() -> None:
    """Makes Ctrl-C end this process at once, with one line and exit code 130.

    Runs on the driver. PySpark's own handler asks Java, in the middle of another answer or while
    that ends too, which fails in several tracebacks. What is written survives it as it does a kill.
    """

    def end(*_: object) -> None:
        sys.stderr.write("\ninterrupted: what was written is whole; repeat the command\n")
        sys.stderr.flush()
        os._exit(130)

    signal.signal(signal.SIGINT, end)


def refuse_unusable_metastore(connection_url: str) -> None:
    """Refuses the Derby database of a JDBC address that this process cannot work with.

    Runs on the driver. Derby would say so too, in pages of Java and after a minute.

    Raises:
        MetastoreBusy: another process holds it.
        StorageFailed: it may not be written.
    """
    found = _DERBY.match(connection_url)
    if not found:
        return
    folder = Path(found[1])
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


def _open_metastore(spark: SparkSession) -> None:
    """Runs on the driver. What is wrong is said where a table is first asked for."""
    with suppress(Exception):
        spark.catalog.databaseExists("default")


def _clear_unborn_metastore(folder: Path) -> None:
    """Removes what a process left that was killed while it made the metastore: Derby refuses it.

    Runs on the driver. Its names of tables come later, so nothing is lost.
    """
    found = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    # Without a lock file it may be in the making by somebody else, or no metastore.
    if "dbex.lck" not in found or not found <= _UNBORN:
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
