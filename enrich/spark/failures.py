"""Says which known error lies behind one of Spark's."""

import re

from enrich import errors
from enrich.errors import ConfigError, EnrichError, NoAnswer
from enrich.spark.storage import explain_storage_failure, messages_of

# As Python ends a traceback, which is all that Spark hands on of a worker's exception.
_RAISED = re.compile(r"^enrich\.errors\.(?P<name>\w+): (?P<said>.+)$", re.MULTILINE)


def explain_failure(error: Exception) -> EnrichError | None:
    """Returns the known error behind one of Spark or Python, None if there is none.

    A checkpoint that a worker cannot load is as wrong as one that the driver cannot; else a disk or
    a store may have given out. Runs on the driver.
    """
    return _find_wrong_input(error) or explain_storage_failure(error)


def _find_wrong_input(error: Exception) -> ConfigError | NoAnswer | None:
    for message in messages_of(error):
        for raised in _RAISED.finditer(message):
            kind = getattr(errors, raised["name"], None)
            if isinstance(kind, type) and issubclass(kind, (ConfigError, NoAnswer)):
                return kind(raised["said"])
    return None
