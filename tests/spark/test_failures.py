"""Which known error lies behind one of Spark's."""

import os
from types import SimpleNamespace

import pytest
from delta.exceptions import ConcurrentAppendException
from py4j.protocol import Py4JError, Py4JJavaError
from pyspark.errors import AnalysisException
from pyspark.sql.catalog import Database

from enrich.errors import (
    CheckpointError,
    ConfigError,
    EnrichError,
    MetastoreBusy,
    NoAnswer,
    StorageFailed,
    TableContended,
    WorkersDied,
    is_no_answer,
)
from enrich.spark import failures, tables
from enrich.spark.failures import explain_failure, explain_storage_failure


def _fail_with(spark, raised):
    """Returns what is made of a write that failed because a worker raised an exception."""

    def fail(frames):
        raise raised
        yield from frames

    with pytest.raises(Exception, match="Traceback") as caught:
        spark.range(1).mapInPandas(fail, "id LONG").collect()
    return explain_failure(caught.value)


@pytest.mark.parametrize(
    ("raised", "kind", "said"),
    [
        (CheckpointError("a weight is missing:\n x"), CheckpointError, "a weight is missing:"),
        (NoAnswer("no checkpoint can be read"), NoAnswer, "no checkpoint can be read"),
        (OSError(28, "No space left on device"), StorageFailed, "No space left on device"),
        (RuntimeError("as enrich.errors.CheckpointError: says"), None, ""),
        (EnrichError("something else"), None, ""),
    ],
    ids=repr,
)
def test_an_error_of_a_worker_is_known_again_where_it_is_one_of_ours(spark, raised, kind, said):
    found = _fail_with(spark, raised)
    if kind is None:
        assert found is None
    else:
        assert type(found) is kind and said in str(found)
        assert "\n" not in str(found)


def test_an_error_of_ours_is_the_known_one_whatever_lies_behind_it():
    own = WorkersDied("too many products crash their Python worker")
    own.__cause__ = ConnectionResetError("java.net.SocketException: Connection reset")
    assert explain_failure(own) is own


@pytest.mark.parametrize(
    "said",
    [
        "java.net.SocketTimeoutException: Read timed out",
        "org.postgresql.util.PSQLException: The connection attempt failed.",
        "FATAL: the database system is starting up",
        "FATAL: remaining connection slots are reserved for roles",
        "java.net.SocketException: Connection reset",
        "java.net.UnknownHostException: store.invalid",
        "AWS Error SLOW_DOWN during GetObject operation: Please reduce your request rate",
        "AWS Error INTERNAL_FAILURE during ListObjectsV2 operation: We encountered an internal",
        "AWS Error SERVICE_UNAVAILABLE during ListObjectsV2 operation: Please try again",
        "AWS Error UNKNOWN (HTTP status 429) during ListObjectsV2 operation: unknown",
        "AWS Error THROTTLING during GetObject operation: Rate exceeded",
        "google::cloud::Status(UNAVAILABLE: Retry policy exhausted, said)",
        "GetProperties failed. Azure Error: [ServerBusy] 503 The server is busy.",
        'Operation failed: "The server is busy.", 503, HEAD, https://shop.dfs.core.windows.net/x',
        "Operation category READ is not supported in state standby",
    ],
)
def test_servers_that_may_answer_later_are_known_by_what_they_say(said):
    assert is_no_answer(said)


@pytest.mark.parametrize(
    "said",
    [
        "[PATH_NOT_FOUND] Path does not exist: file:/data/shop-503/products.parquet",
        "AWS Error UNKNOWN (HTTP status 404) during HeadObject operation",
        "google::cloud::Status(NOT_FOUND: said)",
        "Azure Error: [AuthorizationPermissionMismatch] 403 This request is not authorized",
    ],
)
def test_what_no_waiting_helps_is_no_outage(said):
    assert not is_no_answer(said)


def test_a_table_that_is_there_after_all_was_asked_of_a_metastore_that_did_not_answer(spark):
    with pytest.raises(AnalysisException, match="TABLE_OR_VIEW_NOT_FOUND") as missing:
        spark.sql("DESCRIBE HISTORY lost_shop.staged")
    with pytest.raises(AnalysisException, match="SCHEMA_NOT_FOUND") as homeless:
        spark.sql("SHOW TABLES IN lost_shop")
    assert explain_failure(missing.value) is None
    assert explain_failure(homeless.value) is None

    spark.sql("CREATE DATABASE lost_shop")
    spark.sql("CREATE TABLE lost_shop.staged USING DELTA AS SELECT 1 AS one")
    try:
        found = explain_failure(missing.value)
        assert isinstance(found, NoAnswer)
        assert "lost_shop.staged seemed to be missing" in str(found)
        assert isinstance(explain_failure(homeless.value), NoAnswer)
    finally:
        spark.sql("DROP DATABASE lost_shop CASCADE")


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        (
            "Failed to initialize pool: Connection to 127.0.0.1:5598 refused. Check that the",
            NoAnswer,
            "does not answer: Failed to initialize pool: Connection to 127.0.0.1:5598 refused",
        ),
        (
            'FATAL: password authentication failed for user "enrich"',
            ConfigError,
            'opened: FATAL: password authentication failed for user "enrich". Look at METASTORE_',
        ),
        (
            "Hive metastore database is not initialized. Please use schematool",
            ConfigError,
            "whether its tables were made (docs/metastore.md)",
        ),
    ],
)
def test_a_shared_metastore_that_cannot_be_opened_says_why_in_one_line(said, kind, told):
    hive = "org.apache.hadoop.hive.ql.metadata.HiveException: java.lang.RuntimeException: Unable to"
    by_driver = f"org.postgresql.util.PSQLException: {said}"
    found = explain_failure(_JavaError(hive, "MetaException(message:Error)", by_driver))
    assert type(found) is kind
    assert told in str(found) and "\n" not in str(found)


def test_hive_that_reaches_no_server_says_wait_and_not_what_java_says():
    said = "HiveException: Unable to fetch table staged. Connection to db:5432 refused. Check that"

    found = explain_failure(AnalysisException(f"org.apache.hadoop.hive.ql.metadata.{said}\n\tat x"))

    assert isinstance(found, NoAnswer)
    assert "the metastore does not answer" in str(found)
    assert "\n" not in str(found)


class JavaError:
    """As much of a Java exception as py4j hands over; `chain` are its words and its causes'."""

    _target_id, _gateway_client = "o2", None

    def __init__(self, *chain):
        self._text, self._rest = chain[0], chain[1:]

    def toString(self):  # noqa: N802
        return self._text

    def getCause(self):  # noqa: N802
        return JavaError(*self._rest) if self._rest else None


class DeadError(JavaError):
    """An exception of a Java that has ended since."""

    def toString(self):  # noqa: N802
        raise Py4JError("Answer from Java side is empty")


class _JavaError(Py4JJavaError):
    """An error of Java's that asks no Java for its words."""

    def __init__(self, *chain):
        super().__init__("An error occurred while calling o1.save.", JavaError(*chain))
        self._chain = chain

    def __str__(self):
        return "\n".join(self._chain)


def test_a_store_that_goes_away_in_the_middle_is_said_in_one_line():
    said = "java.io.IOException: We encountered an internal error (Service: S3, Status Code: 503)"
    aborted = "org.apache.spark.SparkException: Job aborted."
    found = explain_failure(
        _JavaError(aborted, f"{said}\n\tat java.base/x", "java.io.EOFException")
    )
    assert isinstance(found, NoAnswer)
    assert said in str(found)
    assert "run the same command again" in str(found)
    assert "\n" not in str(found)


@pytest.mark.parametrize(
    "error",
    [
        # Its Python worker is dead.
        _JavaError(
            "org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)",
            "java.net.SocketException: Connection reset",
        ),
        # A traceback passes lines of code.
        _JavaError(
            "org.apache.spark.api.python.PythonException: Traceback (most recent call last):\n"
            "    read(timeout=30)\nKeyError: 'x'"
        ),
        # Java itself is gone.
        ConnectionRefusedError(111, "Connection refused"),
    ],
    ids=["worker", "traceback", "Java"],
)
def test_what_is_no_store_is_not_called_one(error):
    assert explain_failure(error) is None


def test_of_two_jobs_that_start_at_once_the_second_is_told_to_wait():
    derby = "ERROR XSDB6: Another instance of Derby may have already booted the database /lake/m."
    found = explain_failure(_JavaError("java.sql.SQLException: Failed to start database", derby))
    assert isinstance(found, MetastoreBusy)
    assert "docs/metastore.md" in str(found)


# Disks and stores

FULL = "java.io.IOException: No space left on device"
TRACE = "\n\tat java.base/java.io.FileOutputStream.writeBytes(Native Method)\n\t... 21 more"


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
def test_a_cause_anywhere_in_the_chain_is_named_with_what_to_do(chain, advice):
    failure = explain_storage_failure(_JavaError(*chain))
    assert failure is not None and failure.exit_code == 1
    assert advice in str(failure)
    assert "\n" not in str(failure) and "\tat" not in str(failure)


def test_the_error_behind_a_second_one_is_found(tmp_path):
    with pytest.raises(KeyError) as caught:
        try:
            raise _JavaError("SparkException: Task failed", FULL)
        finally:
            raise KeyError("the ledger could not be written either")
    assert "No space left" in str(explain_storage_failure(caught.value))


def test_python_s_own_error_is_found_too():
    error = OSError(28, os.strerror(28), "/x/page.html")
    assert "No space left on device" in str(explain_storage_failure(error))


@pytest.mark.parametrize(
    "error",
    [
        _JavaError("org.apache.spark.SparkException: Job aborted", "java.lang.OutOfMemoryError"),
        ValueError("assignment destination is read-only"),
        Py4JJavaError("x", DeadError("y")),
    ],
)
def test_other_errors_are_left_alone(error):
    assert explain_storage_failure(error) is None


def test_tables_on_a_store_are_in_no_local_folder(monkeypatch):
    databases = [Database("one", None, None, at) for at in ("s3a://lake/one.db", "file:/lake/two")]
    catalog = SimpleNamespace(listDatabases=lambda: databases)
    session = SimpleNamespace(conf={"spark.local.dir": "/scratch"}, catalog=catalog)
    monkeypatch.setattr(failures.SparkSession, "getActiveSession", lambda: session)
    assert failures._folders_of_spark() == ["/scratch", "/lake/two"]


def test_a_commit_that_others_come_before_eight_times_is_given_up(monkeypatch):
    monkeypatch.setattr(tables, "_LONGEST_WAIT_S", 0)
    tried = []

    @tables.retried_on_conflict
    def commit(to: object) -> None:
        tried.append(to)
        raise ConcurrentAppendException("files were added")

    with pytest.raises(TableContended, match=r"shop .*8 times in a row.*repeat the") as given_up:
        commit(SimpleNamespace(database="shop"))
    assert (len(tried), given_up.value.exit_code) == (8, 1)
