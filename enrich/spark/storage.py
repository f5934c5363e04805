"""Says in one line that a disk or a store gave out, where Spark says it in pages of Java.

Knows nothing of tables: Delta commits whole versions, so none is ever half written.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from py4j.protocol import Py4JError
from pyspark.sql import SparkSession

from enrich.errors import StorageFailed
from enrich.spark.hadoop import folder_of

_MAX_CAUSES = 30
# The names of exceptions that a message begins with.
_CLASSES = re.compile(r"^(?:[\w.$]+(?:Exception|Error): )+")
_TELLS_NOTHING = re.compile(r"Job aborted|Exception thrown in awaitResult|\w+$")
_UNREAD_FILE = re.compile(r"\[FAILED_READ_FILE\.\w+\] .*? file (\S.*?)\. ")
_MAX_LENGTH = 300
_OF_A_TRACE = ("at ", "... ")
_NEARLY_FULL_BYTES = 50_000_000


class _Sign(NamedTuple):
    """How trouble of one kind shows in a message, what the job cannot do, and what helps."""

    pattern: re.Pattern[str]
    trouble: str
    advice: str


_SIGNS = (
    _Sign(
        re.compile(r"No space left|quota ?exceeded", re.I),
        "cannot write",
        "Make room",
    ),
    _Sign(
        re.compile(r"File too large", re.I),
        "cannot write",
        "Raise the limit of a file's size (ulimit -f)",
    ),
    _Sign(
        re.compile(r"Read-only file system|read-only (user|database)|SafeModeException", re.I),
        "cannot write",
        "Make it writable",
    ),
    _Sign(
        re.compile(
            r"Permission ?denied|Access ?Denied|Operation not permitted|Mkdirs failed"
            r"|Couldn't create directory",
            re.I,
        ),
        "may not read or write",
        "Give the job's user access to it",
    ),
)
_LOCAL_PATH = re.compile(r"(?:\bfile:/*|(?<![\w:/.]))(/[\w@%+=~.-]+(?:/[\w@%+=~.-]+)+)")


def explain_storage_failure(error: Exception) -> StorageFailed | None:
    """Returns what an error of Spark or Python means if a disk or a store is behind it, else None.

    Runs on the driver.
    """
    lines = [line.strip() for text in messages_of(error) for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(_OF_A_TRACE)]
    for message in reversed(lines):
        for sign in _SIGNS:
            if sign.pattern.search(message):
                places = [path for line in lines for path in _LOCAL_PATH.findall(line)]
                states = _describe_places([*places, *_folders_of_spark()])
                return StorageFailed(
                    f"the job {sign.trouble}: {message[:_MAX_LENGTH]}{states}. Every table is as "
                    f"its last commit left it. {sign.advice} and run the same command again: it "
                    "goes on from what is staged"
                )
    return None


def messages_of(error: BaseException | None) -> Iterator[str]:
    """Yields what an error and its causes say, Java's too; an error comes before its cause."""
    for _ in range(_MAX_CAUSES):
        if error is None:
            return
        # PySpark keeps the Java error behind one that it translates in a field of its own.
        java = getattr(error, "java_exception", None) or getattr(error, "_origin", None)
        yield f"{type(error).__name__}: {error}" if java is None else type(error).__name__
        yield from _java_messages(java)
        error = error.__cause__ or error.__context__


def reason_of(error: BaseException) -> str:
    """Return in one line what an error means: a server's or file's name, and the innermost cause.

    Spark's outermost message of a file that it cannot read is that a stage failed.
    """
    said = list(messages_of(error))
    lines = [_CLASSES.sub("", " ".join(one.split()))[:_MAX_LENGTH].rstrip(". ") for one in said]
    unread = next(filter(None, map(_UNREAD_FILE.search, said)), None)
    if unread is None:
        return next((line for line in lines if not _TELLS_NOTHING.match(line)), lines[0])
    return lines[-1] if unread[1] in lines[-1] else f"{unread[1]}: {lines[-1]}"


def _java_messages(java: Any) -> Iterator[str]:
    for _ in range(_MAX_CAUSES):
        if java is None:
            return
        try:
            yield str(java.toString())
            java = java.getCause()
        except Py4JError:
            return  # Java itself is gone


def _folders_of_spark() -> list[str]:
    """Returns the local folders of tables, and of what Spark puts on disk for want of memory."""
    spark = SparkSession.getActiveSession()
    if spark is None:
        return []
    folders = str(spark.conf.get("spark.local.dir", "/tmp")).split(",")
    # The metastore may be what has failed.
    with contextlib.suppress(Exception):
        databases = spark.catalog.listDatabases()
        places = [folder_of(one).removeprefix("file:") for one in databases]
        # As a path, a URI would start from the working directory.
        folders += [place for place in places if "://" not in place]
    return folders


def _describe_places(places: Iterable[str]) -> str:
    """Returns what is the matter with each file system that is in trouble."""
    found: dict[int, str] = {}
    for place in places:
        # os.path.isdir says no where Path.is_dir raises: below a folder that is closed to the user.
        around = (p for p in (Path(place), *Path(place).parents) if os.path.isdir(p))  # noqa: PTH112
        folder = next(around, None)
        if folder is not None and (state := describe_folder(folder)):
            found.setdefault(folder.stat().st_dev, state)
    return "".join(f"; {state}" for state in found.values())


def describe_folder(folder: Path) -> str:
    """Returns in which trouble a folder's file system is, or that its user may not write there.

    "" where all is well. Runs on the driver.
    """
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return f"{folder} is on a read-only file system"
    free = shutil.disk_usage(folder).free
    if free < _NEARLY_FULL_BYTES:
        return f"{folder} has {free / 1e6:.1f} MB left"
    return "" if os.access(folder, os.W_OK) else f"{folder} may not be written by this user"
