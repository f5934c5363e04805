"""Says which known error lies behind one of Spark's."""

import re

from enrich import errors
from enrich.errors import ConfigError, EnrichError, NoAnswer
from enrich.spark.lost_metastore import explain_lost_metastore
from enrich.spark.storage import explain_storage_failure, messages_of

_UNREAD_FILE = re.compile(r"\[FAILED_READ_FILE\.\w+\] (?P<said>.+?\.) +SQLSTATE")
# What Parquet's reader says of a file that trying again does not mend.
_DAMAGED = re.compile(
    "PARQUET_COLUMN_DATA_TYPE_MISMATCH|CANNOT_READ_FILE_FOOTER|could not decode|could not read page"
    "|FAILED_TO_UNCOMPRESS|ParquetDecodingException"
)
# As Python ends a traceback, which is all that Spark hands on of a worker's exception.
_RAISED = re.compile(r"^enrich\.errors\.(?P<name>\w+): (?P<said>.+)$", re.MULTILINE)


def explain_failure(error: Exception) -> EnrichError | None:
    """Returns the known error behind one of Spark or Python, None if there is none.

    A checkpoint that a worker cannot load is as wrong as one that the driver cannot; else a disk, a
    store or the metastore may have given out, or a file be damaged. Runs on the driver.
    """
    return (
        _find_wrong_input(error)
        or explain_storage_failure(error)
        or _find_damaged_file(error)
        or explain_lost_metastore(error)
    )


def _find_damaged_file(error: Exception) -> ConfigError | None:
    said = list(messages_of(error))
    found = next(filter(None, map(_UNREAD_FILE.search, said)), None)
    if found is None or not any(map(_DAMAGED.search, said)):
        return None
    return ConfigError(
        f"{found['said']} It is damaged, or has columns of other types than the other files of its "
        "table: write it again"
    )


def _find_wrong_input(error: Exception) -> ConfigError | NoAnswer | None:
    for message in messages_of(error):
        for raised in _RAISED.finditer(message):
            kind = getattr(errors, raised["name"], None)
            if isinstance(kind, type) and issubclass(kind, (ConfigError, NoAnswer)):
                return kind(raised["said"])
    return None
