"""The output tables: the only place that creates, writes or merges them.

Every write is idempotent: a run that is repeated replaces its own rows and nothing else, and says
its run_id in the commit's userMetadata.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from schemas.views import views

from enrich.errors import RunInProgress, TableContended
from enrich.spark.catalog import quote, quote_part
from enrich.spark.conflicts import CONFLICTS, retried_on_conflict
from enrich.spark.creation import (
    create_table,
    read_as_updated,
    table_definitions,
    update_table,
)

# The oldest version of product_attributes whose change data VACUUM has left; none: all are there.
CHANGES_SINCE = "enrich.changesSince"
# A published row is replaced when one of these differs.
_MAKES_A_ROW = ("content_hash", "status", "model_version", "product_category", "corrections")
_IS_NEWER = "struct(new.run_date, new.enriched_at) >= struct(old.run_date, old.enriched_at)"
_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"


@dataclass(frozen=True, slots=True)
class OutputTables:
    """The tables of one database, for one checkpoint's attributes."""

    spark: SparkSession
    database: str
    attributes: tuple[str, ...]

    def name(self, table: str) -> str:
        """Returns the table's full name."""
        return f"{self.database}.{table}"

    def read(self, table: str) -> DataFrame:
        """Returns the table as it is now. Runs on the driver."""
        return self.spark.read.table(self.name(table))

    def read_as_updated(self, table: str) -> DataFrame:
        """Returns the table as `create_missing` would leave it, changing nothing.

        Runs on the driver.
        """
        return read_as_updated(self.spark, self.database, table, self.attributes)

    @retried_on_conflict
    def create_missing(self) -> None:
        """Creates database, tables and views; adds columns that an older version had not.

        Runs on the driver; touches nothing that is as it should be.
        """
        self.spark.sql(f"CREATE DATABASE IF NOT EXISTS {quote(self.database)}")
        tables = self.spark.sql(f"SHOW TABLES IN {quote(self.database)}").collect()
        found = {row["tableName"] for row in tables}
        wanted = table_definitions(self.attributes).keys()
        for table in wanted - found:
            create_table(self.spark, self.database, table, self.attributes)
        grown = [
            table
            for table in wanted & found
            if update_table(self.spark, self.database, table, self.attributes)
        ]
        names = views(self.database, self.attributes, 0).keys()
        if grown or not names <= found:
            self.create_views()

    def create_views(self) -> None:
        """Creates the views anew, over all attributes that were ever published.

        Runs on the driver.
        """
        attributes = published_attributes(self.spark, self.database)
        table = quote(self.name("product_attributes"))
        detail = self.spark.sql(f"DESCRIBE DETAIL {table}").collect()[0]
        since = int(detail["properties"].get(CHANGES_SINCE, 0))
        for view, query in views(self.database, attributes, since).items():
            self.spark.sql(f"CREATE OR REPLACE VIEW {quote(self.name(view))} {query}")

    @retried_on_conflict
    def replace_run(self, table: str, rows: DataFrame, run_id: str) -> None:
        """Writes the rows of one run; rows that this run wrote there before are replaced.

        Runs on the driver; one Delta commit.
        """
        with self.commit_of(run_id):
            writer = rows.write.format("delta").mode("overwrite")
            writer.option("replaceWhere", f"run_id = '{run_id}'").saveAsTable(self.name(table))

    def append_chunk(self, rows: DataFrame, run_id: str, chunk: int) -> None:
        """Adds a chunk of answers to what a run has staged.

        Runs on the driver; one Delta commit.

        Raises:
            RunInProgress: another process staged a chunk of that number at the same time.
            TableContended: another run staged at the same time, to a table of an older version.
        """
        mine = (F.col("run_id") == run_id) & (F.col("chunk") == chunk)
        try:
            if not self.read("staged_attributes").where(mine).isEmpty():
                raise RunInProgress(run_id)
            with self.commit_of(run_id):
                writer = rows.withColumn("chunk", F.lit(chunk)).write.format("delta")
                # An overwrite instead of an append: Delta then sees a chunk written meanwhile.
                writer = writer.mode("overwrite").option(
                    "replaceWhere", f"run_id = '{run_id}' AND chunk = {chunk}"
                )
                writer.saveAsTable(self.name("staged_attributes"))
        except CONFLICTS as error:
            if not self.read("staged_attributes").where(mine).isEmpty():
                raise RunInProgress(run_id) from error
            # Version 0.1 made the table without partitions.
            raise TableContended(
                f"another run staged at the same time, and {self.name('staged_attributes')} is not "
                "partitioned by run_id: start this run again, it goes on from what it has staged. "
                "DROP that table while nothing waits to be published, and it is made anew"
            ) from error

    def append(self, table: str, rows: DataFrame) -> None:
        """Adds rows. Runs on the driver; one Delta commit."""
        rows.write.format("delta").mode("append").saveAsTable(self.name(table))

    @retried_on_conflict
    def publish(self, rows: DataFrame, run_id: str, *, full_refresh: bool) -> None:
        """Merges answered staged rows into `product_attributes` by product_id.

        Runs on the driver; one MERGE, which touches only rows that were computed from something
        else, by another model, or whose category or corrections changed. A full refresh also
        replaces what another run computed. A newer row is never replaced by an older one: newer
        is a later run_date, or the same and a later start.
        """
        # Delta 4.4 commits a new version even for a MERGE that changes nothing.
        if self._without_published(rows, run_id).isEmpty():
            return
        changes = [f"NOT old.{c} <=> new.{c}" for c in _MAKES_A_ROW]
        if full_refresh:
            changes.append("old.run_id <> new.run_id")
        is_outdated = f"{_IS_NEWER} AND ({' OR '.join(changes)})"
        target = DeltaTable.forName(self.spark, self.name("product_attributes"))
        columns = self.read("product_attributes").columns
        values = {quote_part(c): f"new.{quote_part(c)}" for c in columns if c in rows.columns}
        with self.commit_of(run_id):
            (
                target.alias("old")
                .merge(rows.alias("new"), "old.product_id = new.product_id")
                .whenMatchedUpdate(condition=is_outdated, set=values)
                .whenNotMatchedInsert(values=values)
                .execute()
            )

    @retried_on_conflict
    def delete_published(self, products: DataFrame, run_id: str) -> int:
        """Deletes the published rows of products, but for rows that a newer run published.

        Runs on the driver; one MERGE.

        Args:
            products: product_id, and the run's run_date and enriched_at.

        Returns:
            How many rows were deleted.
        """
        target = DeltaTable.forName(self.spark, self.name("product_attributes"))
        with self.commit_of(run_id):
            done = (
                target.alias("old")
                .merge(products.alias("new"), "old.product_id = new.product_id")
                .whenMatchedDelete(condition=_IS_NEWER)
                .execute()
            )
        return int(done.first()["num_deleted_rows"])

    def _without_published(self, rows: DataFrame, run_id: str) -> DataFrame:
        """Returns the rows that this run has not published yet. Runs on the driver; lazy."""
        mine = self.read("product_attributes").where(F.col("run_id") == run_id).alias("mine")
        same = [F.col(f"new.{c}").eqNullSafe(F.col(f"mine.{c}")) for c in _MAKES_A_ROW]
        is_mine = [F.col("new.product_id") == F.col("mine.product_id"), *same]
        return rows.alias("new").join(mine, is_mine, "left_anti")

    def version(self, table: str) -> int:
        """Returns the table's newest Delta version. Runs on the driver."""
        newest = self.spark.sql(f"DESCRIBE HISTORY {quote(self.name(table))} LIMIT 1").first()
        return int(newest["version"]) if newest else -1

    def location(self) -> str:
        """Returns the folder or URI of the database. Runs on the driver."""
        return str(self.spark.catalog.getDatabase(self.database).locationUri)

    @contextmanager
    def commit_of(self, run_id: str) -> Iterator[None]:
        """Writes the run into the userMetadata of every commit made inside. Runs on the driver."""
        self.spark.conf.set(_USER_METADATA, json.dumps({"run_id": run_id}))
        try:
            yield
        finally:
            self.spark.conf.unset(_USER_METADATA)


def run_of_commit(user_metadata: str | None) -> str | None:
    """Returns the run that made a commit, None where somebody else did, in words of their own."""
    try:
        said = json.loads(user_metadata or "{}")
    except ValueError:
        return None
    run_id = said.get("run_id") if isinstance(said, dict) else None
    return run_id if isinstance(run_id, str) else None


def published_attributes(spark: SparkSession, database: str) -> tuple[str, ...]:
    """Returns all attributes that `product_attributes` has columns of. Runs on the driver."""
    columns = spark.read.table(f"{database}.product_attributes").columns
    return tuple(c for c in columns if f"{c}_confidence" in columns)
