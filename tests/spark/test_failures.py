"""Which known error lies behind one of Spark's."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from pyspark.errors import AnalysisException
from pyspark.sql import SparkSession

from enrich.errors import (
    CheckpointError,
    ConfigError,
    EnrichError,
    NoAnswer,
    StorageFailed,
    is_no_answer,
)
from enrich.spark.failures import explain_failure


def _fail_with(spark: SparkSession, raised: Exception) -> EnrichError | None:
    """Returns what is made of a write that failed because a worker raised an exception."""

    def fail(frames: Iterator[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        raise raised
        yield from frames

    with pytest.raises(Exception, match="Traceback") as caught:
        spark.range(1).mapInPandas(fail, "id LONG").collect()
    return explain_failure(caught.value)


def test_a_checkpoint_that_a_worker_cannot_load_is_said_to_be_wrong(spark: SparkSession) -> None:
    found = _fail_with(spark, CheckpointError("model.safetensors is of another configuration:\n x"))
    assert isinstance(found, CheckpointError)
    assert found.exit_code == 2
    assert str(found) == "model.safetensors is of another configuration:"


def test_a_store_that_a_worker_cannot_reach_may_be_back_later(spark: SparkSession) -> None:
    found = _fail_with(spark, NoAnswer("no checkpoint can be read at s3://shop/cma-clip: refused"))
    assert isinstance(found, NoAnswer)
    assert found.exit_code == 1


def test_a_damaged_file_of_a_product_table_is_wrong_input(
    spark: SparkSession, tmp_path: Path
) -> None:
    table = tmp_path / "products.parquet"
    ids = [f"product-{number}" for number in range(5_000)]
    pd.DataFrame({"product_id": ids}).to_parquet(table)
    content = bytearray(table.read_bytes())
    # Its footer is sound.
    content[100:8_000] = bytes(7_900)
    table.write_bytes(content)

    with pytest.raises(Exception, match="FAILED_READ_FILE") as caught:
        spark.read.parquet(str(table)).collect()

    found = explain_failure(caught.value)
    assert isinstance(found, ConfigError)
    assert "products.parquet" in str(found)
    assert "damaged" in str(found)
    assert "SQLSTATE" not in str(found)


def test_a_folder_that_may_not_hold_programs_is_named_with_a_way_out() -> None:
    found = explain_failure(
        RuntimeError("scala.MatchError: java.lang.UnsatisfiedLinkError: /tmp/libsnappyjava.so")
    )
    assert isinstance(found, ConfigError)
    assert "JAVA_TOOL_OPTIONS=-Djava.io.tmpdir=" in str(found)


@pytest.mark.parametrize(
    "said",
    [
        "Connection to db:5432 refused. Check that the hostname and port are correct",
        "org.postgresql.util.PSQLException: The connection attempt failed.",
        "FATAL: the database system is starting up",
        "FATAL: remaining connection slots are reserved for roles",
        "java.net.SocketException: Connection reset",
        "java.net.UnknownHostException: store.invalid",
        "AWS Error SLOW_DOWN during GetObject operation: Please reduce your request rate",
        "AWS Error UNKNOWN (HTTP status 500) during HeadObject operation",
        "google::cloud::Status(UNAVAILABLE: Retry policy exhausted, said)",
        "google::cloud::Status(DEADLINE_EXCEEDED: said)",
        "GetProperties failed. Azure Error: [ServerBusy] 503 The server is busy.",
        "Azure Error: [] 500 Internal Server Error",
        'Operation failed: "The server is busy.", 503, HEAD, https://shop.dfs.core.windows.net/x',
        "Operation category READ is not supported in state standby",
    ],
)
def test_servers_that_may_answer_later_are_known_by_what_they_say(said: str) -> None:
    assert is_no_answer(said)


@pytest.mark.parametrize(
    "said",
    [
        'FATAL: password authentication failed for user "enrich"',
        "[PATH_NOT_FOUND] Path does not exist: file:/data/shop-503/products.parquet",
        "AWS Error NO_SUCH_BUCKET during HeadObject operation",
        "google::cloud::Status(NOT_FOUND: said)",
        "Azure Error: [AuthorizationPermissionMismatch] 403 This request is not authorized",
        "Class org.apache.hadoop.fs.s3a.S3AFileSystem not found",
    ],
)
def test_what_no_waiting_helps_is_no_outage(said: str) -> None:
    assert not is_no_answer(said)


def test_what_is_no_wrong_input_stays_what_it_was(spark: SparkSession) -> None:
    assert _fail_with(spark, RuntimeError("as enrich.errors.CheckpointError: says")) is None
    assert _fail_with(spark, EnrichError("something else")) is None
    assert isinstance(_fail_with(spark, OSError(28, "No space left on device")), StorageFailed)


def test_a_table_that_is_there_after_all_was_asked_of_a_metastore_that_did_not_answer(
    spark: SparkSession,
) -> None:
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


def test_hive_that_reaches_no_server_says_wait_and_not_what_java_says() -> None:
    said = "HiveException: Unable to fetch table staged. Connection to db:5432 refused. Check that"

    found = explain_failure(AnalysisException(f"org.apache.hadoop.hive.ql.metadata.{said}\n\tat x"))

    assert isinstance(found, NoAnswer)
    assert "the metastore does not answer" in str(found)
    assert "\n" not in str(found)
