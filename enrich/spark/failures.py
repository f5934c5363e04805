"""Says which known error lies behind one of Spark's."""

import re

from enrich import errors
from enrich.errors import ConfigError, EnrichError, NoAnswer, is_no_answer
from enrich.spark.encode import is_worker_death
from enrich.spark.metastore.lost import REPEAT, explain_lost_metastore
from enrich.spark.storage import explain_storage_failure, messages_of, reason_of

_UNREAD_FILE = re.compile(r"\[FAILED_READ_FILE\.\w+\] (?P<said>.+?\.) +(SQLSTATE|File does)")
# What Spark's readers say of a file, which error of ours that is, and what to do.
_ADVICE: tuple[tuple[str, type[EnrichError], str], ...] = (
    (
        "FILE_NOT_EXIST",
        NoAnswer,
        "Somebody deleted it, or VACUUM did while it was read: run this again. If the table has "
        "lost it for good, restore the table",
    ),
    (
        "Codec was not found",
        ConfigError,
        "It is compressed in a way that Spark does not know: write it with zstd or snappy",
    ),
    (
        "ChecksumException",
        ConfigError,
        "It is damaged, or was written over and the .crc file beside it is of what was there "
        "before: delete that",
    ),
    (
        "PARQUET_COLUMN_DATA_TYPE_MISMATCH|CANNOT_READ_FILE_FOOTER|could not decode"
        "|could not read page|FAILED_TO_UNCOMPRESS|ParquetDecodingException"
        "|is not a Parquet file",
        ConfigError,
        "It is damaged, or has columns of other types than the other files of its table: write it "
        "again",
    ),
)
# As Python ends a traceback, which is all that Spark hands on of a worker's exception.
_RAISED = re.compile(r"^enrich\.errors\.(?P<name>\w+): (?P<said>.+)$", re.MULTILINE)

# Java's own words begin with a class in its package; a line within a worker's traceback does not.
_OF_JAVA = re.compile(r"[a-z]\w*(\.[\w$]+)+: ")
_LONGEST_LINE = 500


def explain_failure(error: Exception) -> EnrichError | None:
    """Returns the known error behind one of Spark or Python, None if there is none.

    In this order: an error of ours that a worker raised, such as a checkpoint that it cannot load;
    a disk or store that gave out; a damaged file; a library that Java may not load; a metastore
    that was lost; any other store or server that gives no answer. Runs on the driver.
    """
    return (
        _find_wrong_input(error)
        or explain_storage_failure(error)
        or _find_damaged_file(error)
        or _find_refused_library(error)
        or explain_lost_metastore(error)
        or _find_lost_store(error)
    )


def _find_damaged_file(error: Exception) -> EnrichError | None:
    said = list(messages_of(error))
    found = next(filter(None, map(_UNREAD_FILE.search, said)), None)
    if found is None:
        return None
    for pattern, kind, advice in _ADVICE:
        if any(re.search(pattern, one) for one in said):
            return kind(f"{found['said']} {advice}")
    return ConfigError(f"a file cannot be read: {reason_of(error)}")


def _find_refused_library(error: Exception) -> ConfigError | None:
    if not any("UnsatisfiedLinkError" in said for said in messages_of(error)):
        return None
    return ConfigError(
        "Java may not load a library from its folder for temporary files (/tmp mounted noexec?). "
        "Give it another one that is there: JAVA_TOOL_OPTIONS=-Djava.io.tmpdir=FOLDER"
    )


def _find_wrong_input(error: Exception) -> ConfigError | NoAnswer | None:
    for message in messages_of(error):
        for raised in _RAISED.finditer(message):
            kind = getattr(errors, raised["name"], None)
            if isinstance(kind, type) and issubclass(kind, (ConfigError, NoAnswer)):
                return kind(raised["said"])
    return None


def _find_lost_store(error: Exception) -> NoAnswer | None:
    """Returns what an error means if a store or server of Java's gave no answer, else None.

    The outermost exception that says so mostly names the address.
    """
    lines = (message.partition("\n")[0] for message in messages_of(error))
    lost = next((line for line in lines if _OF_JAVA.match(line) and is_no_answer(line)), None)
    # Of a worker that died Java says that its connection was reset.
    if lost is None or is_worker_death(error):
        return None
    return NoAnswer(f"a store or a server does not answer: {lost[:_LONGEST_LINE]}. {REPEAT}")
