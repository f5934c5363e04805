"""The cause of a failed write is found in a chain of Java's exceptions, in one line."""

import os
import shutil
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace

import pytest
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.sql.catalog import Database

from enrich.spark import storage
from enrich.spark.storage import explain_storage_failure

FULL = "java.io.IOException: No space left on device"
TRACE = "\n\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)\n\t... 21 more"


class JavaError:
    """As much of a Java exception as py4j hands over."""

    _target_id, _gateway_client = "o2", None

    def __init__(self, *chain: str) -> None:
        self._text, self._rest = chain[0], chain[1:]

    def toString(self) -> str:  # noqa: N802
        return self._text

    def getCause(self) -> "JavaError | None":  # noqa: N802
        return JavaError(*self._rest) if self._rest else None


class DeadError(JavaError):
    """An exception of a Java that has ended since."""

    def toString(self) -> str:  # noqa: N802
        raise Py4JError("Answer from Java side is empty")


def raised(*chain: str) -> Py4JJavaError:
    return Py4JJavaError("An error occurred while calling o1.save.", JavaError(*chain))


@pytest.mark.parametrize(
    ("chain", "advice"),
    [
        (["org.apache.spark.SparkException: [TASK_WRITE_FAILED] Task failed", FULL], "Make room"),
        (["SparkException: Job aborted, most recent failure:\n" + FULL + TRACE], "Make room"),
        (
            ["x", "hdfs.protocol.DSQuotaExceededException: The DiskSpace quota exceeded"],
            "Make room",
        ),
        (["IOException: File too large"], "ulimit -f"),
        (["FileNotFoundException: /x/part-0 (Read-only file system)"], "Make it writable"),
        (["java.sql.SQLException: a read-only user or database is not permitted"], "writable"),
        (["AccessDeniedException: s3a://b/x: PUT 403: Access Denied"], "may not read or write"),
        (["IOException: Mkdirs failed to create file:/x/y"], "Give the job's user access to it"),
        (["RuntimeException: Couldn't create directory /x/hive_resources"], "Give the job's user"),
    ],
)
def test_a_cause_anywhere_in_the_chain_is_named_with_what_to_do(
    chain: list[str], advice: str
) -> None:
    failure = explain_storage_failure(raised(*chain))
    assert failure is not None and failure.exit_code == 1
    assert advice in str(failure)
    assert "\n" not in str(failure) and "\tat" not in str(failure)


def test_the_error_behind_a_second_one_is_found(tmp_path: Path) -> None:
    with pytest.raises(KeyError) as caught:
        try:
            raise raised("SparkException: Task failed", FULL)
        finally:
            raise KeyError("the ledger could not be written either")
    assert "No space left" in str(explain_storage_failure(caught.value))


def test_python_s_own_error_is_found_too() -> None:
    error = OSError(28, os.strerror(28), "/x/page.html")
    assert "No space left on device" in str(explain_storage_failure(error))


@pytest.mark.parametrize(
    "error",
    [
        raised("org.apache.spark.SparkException: Job aborted", "java.lang.OutOfMemoryError"),
        ValueError("assignment destination is read-only"),
        Py4JJavaError("x", DeadError("y")),
    ],
)
def test_other_errors_are_left_alone(error: Exception) -> None:
    assert explain_storage_failure(error) is None


def test_tables_on_a_store_are_in_no_local_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    databases = [Database("one", None, None, at) for at in ("s3a://lake/one.db", "file:/lake/two")]
    catalog = SimpleNamespace(listDatabases=lambda: databases)
    session = SimpleNamespace(conf={"spark.local.dir": "/scratch"}, catalog=catalog)
    monkeypatch.setattr(storage.SparkSession, "getActiveSession", lambda: session)
    assert storage._folders_of_spark() == ["/scratch", "/lake/two"]


def test_the_disk_in_trouble_is_named_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    full = tmp_path / "warehouse" / "db"
    full.mkdir(parents=True)
    monkeypatch.setattr(storage, "_folders_of_spark", lambda: [str(tmp_path)])
    monkeypatch.setattr(
        shutil, "disk_usage", lambda at: usage(10**9, 0, 2e6 if at == full else 10**9)
    )

    chain = (f"reading {tmp_path}/x", f"Task failed while writing to file:{full}/x", FULL)
    failure = explain_storage_failure(raised(*chain))

    assert f"; {full} has 2.0 MB left." in str(failure)
    assert f"{tmp_path} has" not in str(failure)
