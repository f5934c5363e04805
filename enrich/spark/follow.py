"""Follow a product table: each commit starts a run, which compares the changes.

The stream of the change feed is only a signal that something was committed. The run itself is like
every night's, so a killed process leaves nothing behind but an unfinished run.
"""

import gc
import logging
import tempfile
import threading
import time
from collections.abc import Callable

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame

from enrich.config import Follow
from enrich.errors import ConfigError
from enrich.spark.source import Source

log = logging.getLogger(__name__)

# Between two reads of the table's log.
_POLL_INTERVAL = "5 seconds"
# Without a commit, a run for corrections, changed pictures and the alert about stale catalogs.
_LONGEST_PAUSE_S, _WAKE_S = 24 * 3600, 60
# Delta ends a stream whose table has got a column, and says that it can begin again.
_SCHEMA_CHANGED = "DELTA_SCHEMA_CHANGED"


class Stopped(Exception):
    """End of a stream: a run has published nothing, and has reported why."""


def refuse_without_feed(source: Source) -> None:
    """Raise ConfigError for a product table that cannot be followed."""
    if source.feed is None:
        raise ConfigError(
            f"'{source.name}' cannot be followed: found no change feed, expected a Delta table "
            "with delta.enableChangeDataFeed = true. Leave --follow out."
        )


def follow(run: Callable[[], Source], how: Follow) -> None:
    """Run once, and again after commits to the product table.

    Several commits during a run start a single run. A continuous stream runs at least once a day.

    Args:
        run: makes one run, and returns the product table that it has read, with its change feed.
        how: when to end.

    Raises:
        Stopped: a run published nothing. Any other error of `run` ends the stream too.
    """
    while not _follow_until_schema_changes(run, how):
        log.info("the schema of the product table has changed: following it anew")


def _follow_until_schema_changes(run: Callable[[], Source], how: Follow) -> bool:
    """Follow as `follow` does; return False if the stream has to begin again."""
    source = run()
    assert source.feed is not None
    seen, ran_at = int(source.version), time.monotonic()
    stopped, one_at_a_time = list[BaseException](), threading.Lock()

    def run_again() -> None:
        nonlocal seen, ran_at
        try:
            seen = int(run().version)
        except BaseException as error:
            # Kept, because Java would hand it back as a text in an error of its own.
            stopped.append(error)
            raise
        ran_at = time.monotonic()
        # Python frees DataFrames in cycles late, and Java keeps a plan of megabytes for each.
        gc.collect()

    def on_changes(changes: DataFrame, _: int) -> None:
        newest = changes.selectExpr("max(_commit_version)").collect()[0][0]
        with one_at_a_time:
            if newest is not None and newest > seen and not stopped:
                run_again()

    with tempfile.TemporaryDirectory(prefix="follow-") as folder:
        writer = source.feed.open_stream().writeStream.foreachBatch(on_changes)
        # Temporary: the ledger of runs has the position, not the stream's checkpoint.
        writer = writer.option("checkpointLocation", f"file://{folder}")
        if how is Follow.AVAILABLE:
            writer = writer.trigger(availableNow=True)
        else:
            writer = writer.trigger(processingTime=_POLL_INTERVAL)
            log.info("waiting for changes of %s", source.name)
        query = writer.start()
        try:
            while not query.awaitTermination(_WAKE_S):
                with one_at_a_time:
                    if how is Follow.CONTINUOUS and time.monotonic() - ran_at > _LONGEST_PAUSE_S:
                        run_again()
        except StreamingQueryException as error:
            if stopped:
                raise stopped[0] from None
            if _SCHEMA_CHANGED in str(error):
                return False
            raise
        finally:
            query.stop()
    return True
