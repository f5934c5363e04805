"""Output tables of one database: create, read, append, and tag commits with runs.

Every commit's userMetadata names the run that made it. The rules of a run are not here.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar, cast

import pyarrow as pa
from delta import exceptions as delta
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, Row, SparkSession, is_remote
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructField, StructType
from schemas import tables as ddl
from schemas.tables import quote, quote_literal, quote_part
from schemas.views import views
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from enrich.config import TableLayout
from enrich.errors import ConfigError, TableContended, first_line
from enrich.spark.session import (
    database_folder,
    in_utc,
    list_folder,
    open_folder,
    remove_folder,
    session_settings,
)

log = logging.getLogger(__name__)

# Deletion vectors off: every reader of Delta tables can then read these.
_DELETION_VECTORS = "delta.enableDeletionVectors"
_TABLE_PROPERTIES = {_DELETION_VECTORS: "false"}
# Old versions and their changes may be read until maintenance deletes their files, a year at most.
# By default, Delta refuses to read versions that are older than a week.
_PUBLISHED_PROPERTIES = {
    "delta.enableChangeDataFeed": "true",
    "delta.deletedFileRetentionDuration": "interval 366 days",
    "delta.logRetentionDuration": "interval 366 days",
    # The default is the first 32 columns, and a checkpoint may have more attributes than that.
    "delta.dataSkippingStatsColumns": (
        "product_id,product_category,status,content_hash,model_version,run_id,run_date,enriched_at"
    ),
}
_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"
_IDEMPOTENCY_CHECK = "spark.databricks.delta.commit.idempotencyCheck.enabled"
_TIME_TRAVEL_LIMIT = (
    "spark.databricks.delta.vacuum.enforceTimeTravelWithinDeletedFileRetentionDuration"
)
_TEMPORARY = "_temporary_runs"
_FOLDER_TIME = "%Y%m%dT%H%M%S"
# Delta makes a table's folder and its first commit within moments.
ABANDONED_AFTER_S = 5
# The store's clock, which tells when a commit was made, may be so much behind.
_CLOCK_SKEW = timedelta(minutes=5)
_ATTEMPTS = 8
_LONGEST_WAIT_S = 30
# Delta's errors about conflicts have no class of their own in common.
CONFLICTS = (
    delta.MetadataChangedException,
    delta.ProtocolChangedException,
    delta.ConcurrentAppendException,
    delta.ConcurrentDeleteDeleteException,
    delta.ConcurrentDeleteReadException,
    delta.ConcurrentTransactionException,
    delta.ConcurrentWriteException,
    delta.DeltaConcurrentModificationException,
)
# Errors of creating a table or view while another process creates the same one.
_IN_CREATION = (
    "DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION",
    "TABLE_OR_VIEW_ALREADY_EXISTS",
    "TABLE_OR_VIEW_NOT_FOUND",
)

_ABSENT = ("TABLE_OR_VIEW_NOT_FOUND", "SCHEMA_NOT_FOUND")

P = ParamSpec("P")
R = TypeVar("R")


def retried_on_conflict(
    commit: Callable[Concatenate[Any, P], R],
) -> Callable[Concatenate[Any, P], R]:
    """Retry a cheap commit when another process has committed to the same table.

    The first argument of `commit` has a `database`. Not for a commit that encodes.

    Raises:
        TableContended: others were faster eight times in a row.
    """

    @wraps(commit)
    def retried(tables: Any, *arguments: P.args, **named: P.kwargs) -> R:
        attempts = Retrying(
            retry=retry_if_exception(_is_transient),
            stop=stop_after_attempt(_ATTEMPTS),
            # Random, so that two processes that collided do not collide again.
            wait=wait_random_exponential(multiplier=1, max=_LONGEST_WAIT_S),
            before_sleep=_log_conflict,
            reraise=True,
        )
        try:
            return attempts(commit, tables, *arguments, **named)
        except CONFLICTS as conflict:
            raise TableContended(
                f"Other processes wrote to the tables of {tables.database} at the same time, "
                f"{_ATTEMPTS} times in a row ({first_line(conflict)}). Nothing is lost: repeat the "
                "command when they have ended."
            ) from conflict

    return retried


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, CONFLICTS):
        return True
    if not isinstance(error, AnalysisException):
        return False
    # Hive may notice a table before Spark does.
    message = first_line(error)
    return error.getCondition() in _IN_CREATION or "AlreadyExistsException(message:Table" in message


def _log_conflict(attempt: RetryCallState) -> None:
    conflict = attempt.outcome.exception() if attempt.outcome else None
    log.warning("another process wrote at the same time, trying again: %s", first_line(conflict))


class Commit(NamedTuple):
    """A version of product_attributes; `written` and `deleted` count rows."""

    version: int
    made_at: datetime
    run_id: str | None
    operation: str
    written: int
    deleted: int


class Transaction(NamedTuple):
    """A commit's number among those of its writer, who makes one after another."""

    writer: str
    number: int


@dataclass(frozen=True, slots=True)
class Tables:
    """Tables of one database, for one checkpoint's attributes.

    `database`: also with its catalog, `main.enriched`.
    `encodings_database`: of the tables that several databases share; None: `database`.
    """

    spark: SparkSession
    database: str
    attributes: tuple[str, ...]
    encodings_database: str | None = None

    def name(self, table: str) -> str:
        """Return the table's full name."""
        return f"{self._database_of(table)}.{table}"

    def _database_of(self, table: str) -> str:
        shared = self.encodings_database or self.database
        return shared if table in ddl.SHARED else self.database

    def exists(self, table: str) -> bool:
        """Return whether the table exists."""
        return self.spark.catalog.tableExists(self.name(table))

    def read(self, table: str) -> DataFrame:
        """Return the current version of the table."""
        return self.spark.read.table(self.name(table))

    def read_or_empty(self, table: str) -> DataFrame:
        """Return the current version of the table, an empty one if it is missing."""
        try:
            rows = self.read(table)
            if is_remote():
                _ = rows.schema  # else a missing table would be noticed later
            return rows
        except AnalysisException as error:
            if error.getCondition() not in _ABSENT:
                raise
            return self.spark.createDataFrame([], schema_of(table, self.attributes))

    def read_run(self, table: str, run_id: str) -> DataFrame:
        """Return the rows that a run wrote to the table; lazy."""
        return self.read(table).where(F.col("run_id") == run_id)

    def read_version(self, table: str, version: int) -> DataFrame:
        """Return a version of the table, however old."""
        with self.unlimited_time_travel():
            return self.spark.read.option("versionAsOf", version).table(self.name(table))

    def unlimited_time_travel(self) -> AbstractContextManager[None]:
        """Allow reads and RESTORE inside of every version whose files exist."""
        return session_settings(self.spark, {_TIME_TRAVEL_LIMIT: "false"})

    def require(self, table: str) -> None:
        """Raise ConfigError if the table is missing."""
        if not self.exists(table):
            raise ConfigError(
                f"Table {self.name(table)} is missing. Name the database that "
                "`catalog-enrich enrich` wrote."
            )

    @retried_on_conflict
    def create_missing(
        self, layout: TableLayout = TableLayout(), *, has_encodings: bool = True
    ) -> None:
        """Create database, tables and views, and add columns of new attributes.

        Args:
            layout: for product_attributes, if it is missing.
            has_encodings: False where nobody said which database holds the shared tables.

        Raises:
            ConfigError: the tables are of an earlier version, or somebody's own column is in the
                way of an attribute.
        """
        existing = self._list_tables(self.database)
        if "staged_attributes" in existing:
            raise ConfigError(
                f"The tables of {self.database} are of an earlier version: found "
                "staged_attributes, expected candidates. Drop them (DROP DATABASE "
                f"{self.database} CASCADE) or give another --database."
            )
        wanted = ddl.tables(self.attributes)
        if not has_encodings:
            wanted = {name: columns for name, columns in wanted.items() if name not in ddl.SHARED}
        elif self.encodings_database is not None:
            existing = existing.difference(ddl.SHARED)
            existing |= self._list_tables(self.encodings_database).intersection(ddl.SHARED)
        missing = [table for table in wanted if table not in existing]
        for table in missing:
            self._create(table, wanted[table], layout)
        new_columns = self._list_missing_columns("product_attributes")
        # The published table last: while it lacks a column, the next run adds missing columns.
        for table in ("candidates", "product_attributes") if new_columns else ():
            self._add_columns(table, self._list_missing_columns(table))
        if missing or new_columns or not views(self.database, self.attributes).keys() <= existing:
            self.create_views()

    def _list_tables(self, database: str) -> set[str]:
        """Return the names of a database's tables and views; create it if it is missing."""
        try:
            listed = self.spark.sql(f"SHOW TABLES IN {quote(database)}").collect()
        except AnalysisException as error:
            if error.getCondition() != "SCHEMA_NOT_FOUND":
                raise
            self.spark.sql(f"CREATE DATABASE IF NOT EXISTS {quote(database)}")
            return set()
        return {row["tableName"] for row in listed}

    def _create(self, table: str, columns: str, layout: TableLayout) -> None:
        properties, by = dict(_TABLE_PROPERTIES), ""
        if table in ddl.PARTITIONED:
            by = f"PARTITIONED BY ({ddl.PARTITIONED[table]})"
        if table == "product_attributes":
            properties |= _PUBLISHED_PROPERTIES
            if layout.deletion_vectors == "always":
                properties[_DELETION_VECTORS] = "true"
            by = "CLUSTER BY (product_id)"
        listed = ", ".join(
            f"{quote_literal(k)} = {quote_literal(v)}" for k, v in properties.items()
        )
        create = f"CREATE TABLE IF NOT EXISTS {quote(self.name(table))}"
        location = self.database_folder(table)
        folder = f"{location}/{table}"
        if location:
            self._remove_abandoned(folder)
        if location and self._has_commits(folder):
            # The metastore was lost or made anew. Over files, Delta creates a table by LOCATION.
            self.spark.sql(f"{create} USING DELTA LOCATION {quote_literal(folder)}")
            return
        self.spark.sql(f"{create} ({columns}) USING DELTA {by} TBLPROPERTIES ({listed})")

    def _has_commits(self, table_folder: str) -> bool:
        names = list_folder(self.spark, f"{table_folder}/_delta_log")
        return any(name.endswith(".json") for name in names)

    def _remove_abandoned(self, table_folder: str) -> None:
        """Remove a table's folder if its creation ended before the first commit.

        Delta refuses such a folder. A young one stays: another process may be creating the table.
        In a remote session it stays too.
        """
        if is_remote():
            return
        store, folder = open_folder(self.spark, table_folder)
        if not store.exists(folder) or self._has_commits(table_folder):
            return
        age_s = time.time() - store.getFileStatus(folder).getModificationTime() / 1000
        if age_s > ABANDONED_AFTER_S:
            store.delete(folder, True)

    def _list_missing_columns(self, table: str) -> list[StructField]:
        """Return the columns that the table lacks for the checkpoint's attributes."""
        existing = {field.name.lower(): field for field in self.read(table).schema}
        if "run_id" not in existing:
            raise ConfigError(
                f"{self.name(table)} is not a table of this job: found no column run_id. Give "
                "--database the name of a database of its own."
            )
        lacking = []
        for field in schema_of(table, self.attributes):
            other = existing.get(field.name.lower())
            if other is None:
                lacking.append(field)
            elif (other.name, other.dataType) != (field.name, field.dataType):
                raise ConfigError(
                    f"{self.name(table)} has a column {_describe(other)}, expected "
                    f"{_describe(field)} for the checkpoint. Rename or drop that column, or give "
                    "another --database."
                )
        return lacking

    def _add_columns(self, table: str, fields: Sequence[StructField]) -> None:
        columns = [
            f"{quote_part(field.name)} {field.dataType.simpleString()} "
            f"COMMENT {quote_literal(field.metadata.get('comment', ''))}"
            for field in fields
        ]
        if columns:
            added = ", ".join(columns)
            self.spark.sql(f"ALTER TABLE {quote(self.name(table))} ADD COLUMNS ({added})")

    @retried_on_conflict
    def create_views(self) -> None:
        """Create or replace the views, over all attributes that were ever published."""
        attributes = published_attributes(self.spark, self.database)
        for view, query in views(self.database, attributes).items():
            self.spark.sql(f"CREATE OR REPLACE VIEW {quote(self.name(view))} {query}")

    def append(
        self, table: str, rows: DataFrame, run_id: str, transaction: Transaction | None = None
    ) -> None:
        """Append rows in one commit of the run.

        Args:
            transaction: a commit whose answer was lost is then not made twice.
        """
        writer = rows.write.format("delta").mode("append")
        if transaction is not None:
            writer = writer.option("txnAppId", transaction.writer)
            writer = writer.option("txnVersion", transaction.number)
        with self.tag_commits(run_id):
            writer.saveAsTable(self.name(table))

    def to_rows(self, table: str, rows: Sequence[Mapping[str, Any]]) -> DataFrame:
        """Return Python rows as rows of the table; columns without a value are NULL."""
        schema = self.read(table).schema
        whole = [{name: row.get(name) for name in schema.names} for row in rows]
        # Without Arrow, Spark would start a Python worker to hand the rows through.
        arrow = pa.Table.from_pylist(whole, schema=to_arrow_schema(schema))
        return self.spark.createDataFrame(arrow, schema).coalesce(1)

    def merge(self, table: str, rows: DataFrame, clauses: str) -> Row:
        """Merge rows into the table by SQL; return Delta's counts.

        By SQL, because Spark Connect has no DeltaTable without a plugin of the server.

        Args:
            table: called `old` in SQL.
            rows: called `new` in SQL.
            clauses: the MERGE from its condition on.
        """
        view = f"merged_{uuid.uuid4().hex}"
        rows.createOrReplaceTempView(view)
        try:
            merge = f"MERGE INTO {quote(self.name(table))} AS old USING {view} AS new {clauses}"
            return self.spark.sql(merge).collect()[0]
        finally:
            self.spark.catalog.dropTempView(view)

    def describe(self, table: str) -> Row:
        """Return the table's DESCRIBE DETAIL: numFiles, properties and others."""
        return self.spark.sql(f"DESCRIBE DETAIL {quote(self.name(table))}").collect()[0]

    def version(self, table: str) -> int:
        """Return the table's newest Delta version."""
        newest = self.spark.sql(f"DESCRIBE HISTORY {quote(self.name(table))} LIMIT 1")
        return int(newest.collect()[0]["version"])

    def read_commits(self, since: datetime | None = None, newest: int = 10) -> list[Commit]:
        """Return the newest versions of product_attributes, oldest first.

        Args:
            since: all versions since then, however many.
            newest: the number of versions that are read without `since`.
        """
        name = quote(self.name("product_attributes"))
        most = f"LIMIT {int(newest)}" if since is None else ""
        history = self.spark.sql(f"DESCRIBE HISTORY {name} {most}")
        commits = []
        for row in history.orderBy("version").collect():
            metrics = row["operationMetrics"] or {}
            written = ("numTargetRowsInserted", "numTargetRowsUpdated")
            commit = Commit(
                row["version"],
                in_utc(row["timestamp"]),
                _parse_run_id(row["userMetadata"]),
                row["operation"],
                sum(int(metrics.get(name, 0)) for name in written),
                int(metrics.get("numTargetRowsDeleted", 0)),
            )
            if since is None or commit.made_at >= since:
                commits.append(commit)
        return commits

    def find_commit(
        self, run_id: str, operation: str, since: datetime | None = None
    ) -> Commit | None:
        """Return a run's newest commit to product_attributes, if it is of an operation.

        So a MERGE that the run's RESTORE has undone is not found.

        Args:
            run_id: the run.
            operation: Delta's name of it, such as MERGE or RESTORE.
            since: by this process's clock; much older commits do not count. None: the last few.
        """
        since = None if since is None else since - _CLOCK_SKEW
        own = [one for one in self.read_commits(since) if one.run_id == run_id]
        return own[-1] if own and own[-1].operation == operation else None

    def database_folder(self, table: str = "product_attributes") -> str:
        """Return the folder of a table's database, with its scheme; "" if it has none."""
        return database_folder(self.spark.catalog.getDatabase(self._database_of(table)))

    def tag_commits(self, run_id: str) -> AbstractContextManager[None]:
        """Write the run into the userMetadata of every commit made inside.

        A commit that was made, but whose answer the store lost, is not made again.
        """
        metadata = json.dumps({"run_id": run_id})
        return session_settings(self.spark, {_USER_METADATA: metadata, _IDEMPOTENCY_CHECK: "true"})


def schema_of(table: str, attributes: Sequence[str]) -> StructType:
    """Return the columns that this job writes; users may have added others."""
    return cast(StructType, StructType.fromDDL(ddl.tables(attributes)[table]))


def open_tables(spark: SparkSession, database: str) -> Tables:
    """Return the tables of a database, for all attributes that were ever published.

    Raises:
        ConfigError: there are none.
    """
    Tables(spark, database, ()).require("product_attributes")
    return Tables(spark, database, published_attributes(spark, database))


def published_attributes(spark: SparkSession, database: str) -> tuple[str, ...]:
    """Return the attributes that product_attributes has columns for."""
    dtypes = spark.read.table(f"{database}.product_attributes").dtypes
    return ddl.select_typed_attributes(dtypes)


@contextmanager
def temporary_folder(tables: Tables, parent: str | None = None) -> Iterator[str]:
    """Give the name of a folder beside the tables, and remove the folder in the end.

    A folder that stays, such as that of a killed run, is removed by maintenance after a week.

    Args:
        parent: another place for the folder.

    Raises:
        ConfigError: the database has no folder of its own.
    """
    parent = parent or tables.database_folder()
    if not parent:
        raise ConfigError(
            f"Database {tables.database} has no folder of its own: found no place for what a run "
            "writes down for itself. Give temporary_folder an address."
        )
    folder = name_temporary_folder(parent)
    try:
        yield folder
    finally:
        # A run that has published is not to fail by what is left over.
        try:
            remove_folder(tables.spark, folder)
        except Exception as error:
            log.warning("the temporary folder %s stays: %s", folder, first_line(error))


def name_temporary_folder(parent: str) -> str:
    """Return a new name below `parent`, which maintenance finds."""
    # An object store keeps no time for a folder, so the name holds the time.
    return f"{parent}/{_TEMPORARY}/{now():{_FOLDER_TIME}}-{uuid.uuid4().hex}"


def remove_old_folders(tables: Tables, age: timedelta, parent: str | None = None) -> int:
    """Remove temporary folders of killed runs; return their number.

    `parent`: as for `temporary_folder`.
    """
    parent = f"{parent or tables.database_folder()}/{_TEMPORARY}"
    cutoff = f"{now() - age:{_FOLDER_TIME}}"
    old = [name for name in list_folder(tables.spark, parent) if name < cutoff]
    return sum(remove_folder(tables.spark, f"{parent}/{name}") for name in old)


def now() -> datetime:
    """Return the time in UTC."""
    return datetime.now(UTC)


def _describe(field: StructField) -> str:
    return f"{field.name} {field.dataType.simpleString()}"


def _parse_run_id(user_metadata: str | None) -> str | None:
    """Return the run of a commit, None for metadata that another program wrote."""
    try:
        metadata = json.loads(user_metadata or "{}")
    except ValueError:
        return None
    run_id = metadata.get("run_id") if isinstance(metadata, dict) else None
    return run_id if isinstance(run_id, str) else None
