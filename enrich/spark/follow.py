"""Follow a product table: each commit starts a run, which compares the changes.

The stream of the change feed is only a signal that something was committed. The run itself is like
every night's, so a killed process leaves nothing behind but an unfinished run.
"""

import gc
import logging
import tempfile
from collections.abc import Callable

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame

from enrich.config import Follow
from enrich.errors import ConfigError
from enrich.spark.source import Source

log = logging.getLogger(__name__)

# Between two reads of the table's log.
_POLL_INTERVAL = "5 seconds"


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

    Several commits during a run start a single run.

    Args:
        run: makes one run, and returns the product table that it has read, with its change feed.
        how: when to end.

    Raises:
        Stopped: a run published nothing. Any other error of `run` ends the stream too.
    """
    source = run()
    assert source.feed is not None
    seen, stopped = int(source.version), list[BaseException]()

    def on_changes(changes: DataFrame, _: int) -> None:
        nonlocal seen
        newest = changes.selectExpr("max(_commit_version)").collect()[0][0]
        if newest is None or newest <= seen:
            return
        try:
            seen = int(run().version)
        except BaseException as error:
            # Kept, because Java would hand it back as a text in an error of its own.
            stopped.append(error)
            raise
        # Python frees DataFrames in cycles late, and Java keeps a plan of megabytes for each.
        gc.collect()

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
            query.awaitTermination()
        except StreamingQueryException:
            if stopped:
                raise stopped[0] from None
            raise
        finally:
            query.stop()
