"""Known errors behind an exception of Spark or Python, in one sentence each."""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from enrich import errors
from enrich.errors import (
    ConfigError,
    EnrichError,
    MetastoreBusy,
    NoAnswer,
    StorageFailed,
    is_no_answer,
)
from enrich.spark.encode import is_worker_death
from enrich.spark.session import database_folder

_MAX_CAUSES = 30
_MAX_LENGTH = 400
_NEARLY_FULL_BYTES = 50_000_000
_REPEAT = (
    "Every table is as its last commit left it. Wait and run the same command again: it goes on "
    "from what is there"
)
# Sign of a failed storage in a message, what the job cannot do, and what helps.
_STORAGE = (
    (r"No space left|quota ?exceeded", "cannot write", "Make room"),
    (r"File too large", "cannot write", "Raise the limit of a file's size (ulimit -f)"),
    (
        r"Read-only file system|read-only (user|database)|SafeModeException",
        "cannot write",
        "Make it writable",
    ),
    (
        r"Permission ?denied|Access ?Denied|Operation not permitted|Mkdirs failed"
        r"|Couldn't create directory",
        "may not read or write",
        "Give the job's user access to it",
    ),
)
_UNREAD_FILE = re.compile(r"\[FAILED_READ_FILE\.\w+\] .*? file (\S.*?)\. ")
_LOST_TABLE = re.compile(r"\[DELTA_TABLE_NOT_FOUND\] Delta table ([^\s/]+\.[^\s/]+) doesn't exist")
_LOCAL_PATH = re.compile(r"(?:\bfile:/*|(?<![\w:/.]))(/[\w@%+=~.-]+(?:/[\w@%+=~.-]+)+)")
# Names of exceptions at the beginning of a Java message.
_CLASSES = re.compile(r"^(?:[\w.$]+(?:Exception|Error): )+")
_UNINFORMATIVE = re.compile(r"Job aborted|Exception thrown in awaitResult|\w+$")
_JAVA_EXCEPTION = re.compile(r"[a-z]\w*(\.[\w$]+)+: ")
# End of a Python traceback, which is all that Spark passes on of a worker's exception.
_RAISED = re.compile(r"^enrich\.errors\.(?P<name>\w+): (?P<message>.+)$", re.MULTILINE)
_DERBY_IS_BUSY = "Another instance of Derby may have already booted the database"
# Parameter of an error with the name of the missing table or schema.
_NOT_FOUND = {"TABLE_OR_VIEW_NOT_FOUND": "relationName", "SCHEMA_NOT_FOUND": "schemaName"}


def explain_failure(error: Exception) -> EnrichError | None:
    """Return the known error behind an exception, or None; an own one as it is.

    In this order: an error of ours that a worker raised; a failed disk or store; a table whose
    folder was deleted; the metastore; a server that does not answer; a file that Spark cannot read.
    """
    if isinstance(error, EnrichError):
        return error
    messages = list(messages_of(error))
    return (
        _find_raised(messages)
        or explain_storage_failure(error)
        or _find_lost_folder(messages)
        or _find_metastore(error, messages)
        or _find_lost_server(error, messages)
        or _find_unread_file(error, messages)
    )


def messages_of(error: BaseException | None) -> Iterator[str]:
    """Yield messages of an error and its causes, Java's included; causes come last."""
    for _ in range(_MAX_CAUSES):
        if error is None:
            return
        # PySpark keeps the Java error of a translated one in a field of its own.
        java = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
        yield f"{type(error).__name__}: {error}" if java is None else type(error).__name__
        yield from _java_messages(java)
        error = error.__cause__ or error.__context__


def _java_messages(java: Any) -> Iterator[str]:
    for _ in range(_MAX_CAUSES):
        if java is None:
            return
        try:
            yield str(java.toString())
            java = java.getCause()
        except Py4JError:
            return  # Java has ended


def reason_of(error: BaseException) -> str:
    """Return an error's reason in one line, with the file that Spark cannot read.

    The outermost message mostly says only that a stage failed.
    """
    messages = list(messages_of(error))
    lines = [_tidy(one) for one in messages]
    unread = next(filter(None, map(_UNREAD_FILE.search, messages)), None)
    if unread is None:
        return next((line for line in lines if not _UNINFORMATIVE.match(line)), lines[0])
    return lines[-1] if unread[1] in lines[-1] else f"{unread[1]}: {lines[-1]}"


def _tidy(message: str) -> str:
    return _CLASSES.sub("", " ".join(message.split()))[:_MAX_LENGTH].rstrip(". ")


def explain_storage_failure(error: Exception) -> StorageFailed | None:
    """Return the error of a disk or store that is full or not writable, or None."""
    lines = [line.strip() for text in messages_of(error) for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("at ", "... "))]
    for message in reversed(lines):
        for pattern, trouble, advice in _STORAGE:
            if re.search(pattern, message, re.IGNORECASE):
                places = [path for line in lines for path in _LOCAL_PATH.findall(line)]
                states = _describe_places([*places, *_folders_of_spark()])
                return StorageFailed(
                    f"the job {trouble}: {message[:_MAX_LENGTH]}{states}. Every table is as its "
                    f"last commit left it. {advice} and run the same command again: it goes on "
                    "from what is there"
                )
    return None


def _folders_of_spark() -> list[str]:
    """Return the local folders of tables, and those that Spark spills to."""
    spark = SparkSession.getActiveSession()
    if spark is None:
        return []
    folders = str(spark.conf.get("spark.local.dir", "/tmp")).split(",")
    # The failed part may be the metastore.
    with suppress(Exception):
        folders += [
            database_folder(one).removeprefix("file:") for one in spark.catalog.listDatabases()
        ]
    return [folder for folder in folders if "://" not in folder]


def _describe_places(places: Iterable[str]) -> str:
    """Return the state of file systems that are read-only, nearly full or forbidden."""
    found: dict[int, str] = {}
    for place in places:
        # Below a folder that the user may not read, Path.is_dir raises and os.path.isdir is False.
        around = (p for p in (Path(place), *Path(place).parents) if os.path.isdir(p))  # noqa: PTH112
        if (folder := next(around, None)) is None:
            continue
        free = shutil.disk_usage(folder).free
        if os.statvfs(folder).f_flag & os.ST_RDONLY:
            state = f"{folder} is on a read-only file system"
        elif free < _NEARLY_FULL_BYTES:
            state = f"{folder} has {free / 1e6:.1f} MB left"
        elif not os.access(folder, os.W_OK):
            state = f"{folder} may not be written by this user"
        else:
            continue
        found.setdefault(folder.stat().st_dev, state)
    return "".join(f"; {state}" for state in found.values())


def _find_raised(messages: list[str]) -> EnrichError | None:
    for raised in (found for message in messages for found in _RAISED.finditer(message)):
        kind = getattr(errors, raised["name"], None)
        if isinstance(kind, type) and issubclass(kind, (ConfigError, NoAnswer)):
            return kind(raised["message"])
    return None


def _find_lost_folder(messages: list[str]) -> ConfigError | None:
    """Return the error of a table that only the metastore knows, or None."""
    lost = next(filter(None, map(_LOST_TABLE.search, messages)), None)
    if lost is None:
        return None
    name = lost[1].replace("`", "")
    database = name.rpartition(".")[0]
    return ConfigError(
        f"Table {name} has no files: found it in the metastore only, expected its folder too. "
        f"Somebody has deleted the folder. If nothing else is in the database, run DROP DATABASE "
        f"{database} CASCADE in spark-sql, and repeat the command."
    )


def _find_metastore(error: Exception, messages: list[str]) -> EnrichError | None:
    if any(_DERBY_IS_BUSY in one for one in messages):
        return MetastoreBusy(
            "another process has opened the embedded metastore at the same moment, which admits "
            "one: wait for that one to end and repeat, or set up a shared metastore "
            "(docs/metastore.md)"
        )
    if any("HiveException" in one for one in messages):
        reason = _tidy(messages[-1])
        if lost := next(filter(is_no_answer, messages), None):
            return NoAnswer(f"the metastore does not answer: {_tidy(lost)}. {_REPEAT}")
        if "SQLException" in messages[-1] or "is not initialized" in reason:
            return ConfigError(
                f"the metastore cannot be opened: {reason}. Look at METASTORE_ADDRESS, "
                "METASTORE_USER and METASTORE_PASSWORD, and whether its tables were made "
                "(docs/metastore.md)"
            )
    return _find_false_not_found(error) if isinstance(error, AnalysisException) else None


def _find_false_not_found(error: AnalysisException) -> NoAnswer | None:
    """Look up a missing table again: Hive reports a lost connection as not found."""
    parameter, spark = _NOT_FOUND.get(error.getCondition() or ""), SparkSession.getActiveSession()
    if parameter is None or spark is None:
        return None
    name = (error.getMessageParameters() or {}).get(parameter, "")
    is_there = (
        spark.catalog.tableExists if "relation" in parameter else spark.catalog.databaseExists
    )
    try:
        is_lost = is_there(name)
    except Exception as closed:
        is_lost = any(map(is_no_answer, messages_of(closed)))
    name = name.replace("`", "")
    missing = f"the metastore does not answer: {name} seemed to be missing. {_REPEAT}"
    return NoAnswer(missing) if is_lost else None


def _find_lost_server(error: Exception, messages: list[str]) -> NoAnswer | None:
    # The outermost exception of this kind mostly names the address.
    lines = (message.partition("\n")[0] for message in messages)
    lost = next(
        (line for line in lines if _JAVA_EXCEPTION.match(line) and is_no_answer(line)), None
    )
    # For a worker that died, Java reports that its connection was reset.
    if lost is None or is_worker_death(error):
        return None
    return NoAnswer(f"a store or a server does not answer: {lost[:_MAX_LENGTH]}. {_REPEAT}")


def _find_unread_file(error: Exception, messages: list[str]) -> EnrichError | None:
    if not any(map(_UNREAD_FILE.search, messages)):
        return None
    unread = f"a file cannot be read: {reason_of(error)}."
    if any("FILE_NOT_EXIST" in message for message in messages):
        return NoAnswer(
            f"{unread} Somebody deleted it, or VACUUM did while it was read. Run this again; if "
            "the table has lost it for good, restore the table"
        )
    return ConfigError(f"{unread} Write it again")
