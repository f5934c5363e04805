"""Tells when the catalog gives a false answer, or none: the metastore was out of reach.

Hive asks whether a database is there before it looks into it, and takes a connection that is lost
at that moment for a no. Spark then says that a table cannot be found.
"""

from collections.abc import Callable
from contextlib import suppress

from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession
from pyspark.sql.catalog import Catalog

from enrich.errors import EnrichError, MetastoreBusy, NoAnswer, is_no_answer
from enrich.spark.metastore.shared import is_shared, read_address, refuse_closed_metastore
from enrich.spark.storage import messages_of

_OF_HIVE = "HiveException"
# Of two jobs that start at once, the second one may look for a lock before the first one has it.
_OF_DERBY = "Another instance of Derby may have already booted the database"
# Which parameter of an error has the name of what was not found, and how to ask for it again.
_ASKED_AGAIN: dict[str, tuple[str, Callable[[Catalog, str], bool]]] = {
    "TABLE_OR_VIEW_NOT_FOUND": ("relationName", Catalog.tableExists),
    "SCHEMA_NOT_FOUND": ("schemaName", Catalog.databaseExists),
}
REPEAT = (
    "Every table is as its last commit left it. Wait and run the same command again: it goes on "
    "from what is staged"
)


def explain_lost_metastore(error: Exception) -> EnrichError | None:
    """Returns what an error means if the metastore is or was out of reach, else None.

    Runs on the driver.
    """
    for message in messages_of(error):
        if _OF_DERBY in message:
            return MetastoreBusy(
                "another process has opened the embedded metastore at the same moment, which "
                "admits one: wait for that one to end and repeat, or set up a shared metastore "
                "(docs/metastore.md)"
            )
        if _OF_HIVE in message and is_no_answer(message):
            return NoAnswer(f"the metastore does not answer: {message.splitlines()[0]}. {REPEAT}")
    # After another error Java may be dead, and is not to be asked.
    if not isinstance(error, AnalysisException) or not (spark := SparkSession.getActiveSession()):
        return None
    # While the metastore is closed, that is the cause, whatever the error says.
    return _find_closed(spark) or _find_false_no(spark, error)


def _find_closed(spark: SparkSession) -> EnrichError | None:
    address = read_address(spark)
    if not is_shared(address):
        return None
    try:
        refuse_closed_metastore(spark, address)
    except EnrichError as closed:
        return closed
    return None


def _find_false_no(spark: SparkSession, error: AnalysisException) -> NoAnswer | None:
    if (again := _ASKED_AGAIN.get(error.getCondition() or "")) is None:
        return None
    parameter, is_there = again
    name = (error.getMessageParameters() or {}).get(parameter, "")
    # If this question fails too, the error stays what it was.
    with suppress(Exception):
        if is_there(spark.catalog, name):
            return NoAnswer(
                f"the metastore did not answer for a moment, in which {name.replace('`', '')} "
                f"seemed to be missing. {REPEAT}"
            )
    return None
