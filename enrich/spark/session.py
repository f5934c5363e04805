"""Opens the Spark session, and says in one line why it cannot be had."""

import logging
import os
import re
import signal
import sys
from contextlib import suppress
from threading import Thread
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

from enrich.errors import NoAnswer, first_line
from enrich.logs import is_json
from enrich.spark.java_logs import log_java_as_json
from enrich.spark.metastore.embedded import refuse_moved_metastore, refuse_unusable_metastore
from enrich.spark.metastore.shared import is_shared, read_address, refuse_closed_metastore

log = logging.getLogger(__name__)

# Spark stops itself when it has asked the masters of a cluster for a minute.
_STOPPED = re.compile(r"stopped SparkContext|SparkContext (was|has been) shut ?down")


def open_session(app_name: str, *, opens_metastore: bool = True) -> SparkSession:
    """Returns the session that spark-submit configured, with tables by name.

    Runs on the driver. Its metastore is opened in the background, if at all.

    Args:
        opens_metastore: False where the caller is to make a metastore first.

    Raises:
        MetastoreBusy: another process holds the embedded metastore.
        StorageFailed: the embedded metastore may not be written.
        ConfigError: the shared metastore does not let this job in, or is none yet; the embedded one
            was moved or copied.
        NoAnswer: the cluster's master or the shared metastore is out of reach.
    """
    builder = SparkSession.builder.appName(app_name).enableHiveSupport()
    if is_json() or not _is_watched():
        builder = builder.config("spark.ui.showConsoleProgress", "false")
    # This opens no metastore yet: what is wrong with it is looked for first, below.
    spark = _start(builder)
    end_when_interrupted()
    if is_json():
        log_java_as_json(spark)
    address = read_address(spark)
    if not is_shared(address):
        refuse_unusable_metastore(address)
        refuse_moved_metastore(spark)
    elif opens_metastore:
        refuse_closed_metastore(spark, address)
    if opens_metastore:
        # It takes seconds, in which the job can open its catalog.
        Thread(target=_open_metastore, args=(spark,)).start()
    return spark


def _is_watched() -> bool:
    """Tells whether a terminal shows Java's standard error, on which Spark draws its progress bar.

    Into a file it would draw over the line on which a job's JSON, or its error, is to stand. This
    process's own standard error tells nothing: spark-submit hands it on. Runs on the driver.
    """
    SparkContext._ensure_initialized()
    jvm: Any = SparkContext._jvm
    asked = jvm.java.lang.ProcessBuilder(["sh", "-c", "test -t 2"]).inheritIO().start()
    return bool(asked.waitFor() == 0)


def _start(builder: SparkSession.Builder) -> SparkSession:
    """Returns the session.

    Raises:
        NoAnswer: Spark has given up its cluster's master, which it says in pages of Java.
    """
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

    Runs on the driver. PySpark's own handler would ask Java to cancel its jobs. That fails in
    several tracebacks where Java is in the middle of an answer, or is interrupted too. What was
    written is whole, as after a kill.
    """

    def end(*_: object) -> None:
        sys.stderr.write("\ninterrupted: what was written is whole; repeat the command\n")
        sys.stderr.flush()
        os._exit(130)

    signal.signal(signal.SIGINT, end)


def _open_metastore(spark: SparkSession) -> None:
    """Runs on the driver. Errors are left to the first question for a table, which meets them."""
    with suppress(Exception):
        spark.catalog.databaseExists("default")
