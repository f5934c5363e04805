"""Follow a product table: what is committed to it starts a run, which compares the changes.

The table's change feed as a stream says only that something was committed. What a run does, it does
as every night, so a process that is killed leaves nothing behind but a run that was cut off.
"""

import logging
import tempfile
from collections.abc import Callable

from pyspark.errors import StreamingQueryException
from pyspark.sql import DataFrame

from enrich.config import Follow
from enrich.errors import ConfigError
from enrich.spark.source import Source

log = logging.getLogger(__name__)

# Between two looks at the table's log.
_POLL_INTERVAL = "5 seconds"


class Stopped(Exception):
    """End of a stream: a run has published nothing, and said so."""


def refuse_without_feed(source: Source) -> None:
    """Raise ConfigError for a product table that cannot be followed."""
    if source.feed is None:
        raise ConfigError(
            f"'{source.name}' cannot be followed: found no change feed, expected a Delta table "
            "with delta.enableChangeDataFeed = true. Leave --follow out."
        )


def follow(run: Callable[[], Source], how: Follow) -> None:
    """Run, and run again for whatever was committed to the product table since.

    What is committed while a run is on starts one run, not one for each commit.

    Args:
        run: makes one run, and returns the product table, which has a change feed, as the run has
            read it.
        how: when to end.

    Raises:
        Stopped: a run published nothing. All else that `run` raises ends the stream too.
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
            # Else it would come back as a text in an error of Java's.
            stopped.append(error)
            raise

    with tempfile.TemporaryDirectory(prefix="follow-") as folder:
        writer = source.feed.open_stream().writeStream.foreachBatch(on_changes)
        # Where it stands, the ledger of runs says better.
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
