"""The output tables: what reads and writes their rows.

What a run writes is idempotent: repeated, it replaces its own rows and nothing else, and the
commit's userMetadata says its run_id.
"""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from threading import Thread
from typing import NamedTuple

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from schemas import tables as ddl
from schemas.quoting import quote, quote_part
from schemas.tables import select_typed_attributes
from schemas.views import views

from enrich.errors import ConfigError, RunInProgress, TableContended
from enrich.spark.hadoop import folder_of
from enrich.spark.settings import reaching_back, session_settings
from enrich.spark.tables.conflicts import CHANGED_TABLE, CONFLICTS, retried_on_conflict
from enrich.spark.tables.creation import (
    create_table,
    finish_update,
    read_as_updated,
    schema_of,
    update_table,
)
from enrich.spark.tables.merge_conditions import (
    COMPARED,
    IS_NEWER,
    IS_OWN,
    MATCHES,
    SAYS_THE_SAME,
    is_outdated,
    stays,
)

# A property of product_attributes: its oldest version whose change data VACUUM has left. Without it
# the change data of all versions is there.
_CHANGES_SINCE = "enrich.changesSince"
_READ_BY_EVERY_RUN = (
    "product_attributes",
    "attribute_corrections",
    "quarantine",
    "enrichment_runs",
    "staged_attributes",
)
_USER_METADATA = "spark.databricks.delta.commitInfo.userMetadata"


class PublishedCounts(NamedTuple):
    """How many of a run's answered rows stand in `product_attributes`, and how.

    `published` are there as the run's own. Of `unchanged` another run has published the very same
    answer. `withheld` are not there: another answer is, or none.
    """

    published: int
    unchanged: int
    withheld: int


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

    def read_rows(self, table: str, run_id: str) -> DataFrame:
        """Returns what a run has in the table. Runs on the driver; lazy."""
        return self.read(table).where(F.col("run_id") == run_id)

    def read_version(self, table: str, version: int) -> DataFrame:
        """Returns the table as it was in a version, however old. Runs on the driver."""
        with reaching_back(self.spark):
            return self.spark.read.option("versionAsOf", version).table(self.name(table))

    def require(self, table: str) -> None:
        """Raises ConfigError where there is no such table. Runs on the driver."""
        exists = self.spark.catalog.tableExists
        if exists(self.name(table)):
            return
        wanted = "name the database that jobs/enrich_catalog.py wrote"
        if exists(self.name("product_attributes")):
            wanted = (
                "dropped, or of a later version than the others; jobs/enrich_catalog.py makes it"
            )
        raise ConfigError(f"there is no table {self.name(table)}: {wanted}")

    def read_ahead(self) -> None:
        """Starts to read the logs of the tables that every run reads, side by side.

        Runs on the driver. Delta would read each when a query first names it, and keeps them.
        """
        for table in _READ_BY_EVERY_RUN:
            Thread(target=_read_log, args=(self.read(table),), daemon=True).start()

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
        there = {row["tableName"] for row in tables}
        wanted = ddl.tables(self.attributes).keys()
        missing = wanted - there
        for table in missing:
            create_table(self.spark, self.database, table, self.attributes)
        grown = {
            table: fields
            for table in wanted & there
            if (fields := update_table(self.spark, self.database, table, self.attributes))
        }
        names = views(self.database, self.attributes, 0).keys()
        # Views name columns, and where change data begins: both of the table that was dropped.
        if grown or "product_attributes" in missing or not names <= there:
            self.create_views()
        for table, fields in grown.items():
            finish_update(self.spark, self.name(table), fields)

    @retried_on_conflict
    def create_views(self) -> None:
        """Creates the views anew, over all attributes that were ever published.

        Runs on the driver.
        """
        attributes = published_attributes(self.spark, self.database)
        for view, query in views(self.database, attributes, self.changes_since()).items():
            self.spark.sql(f"CREATE OR REPLACE VIEW {quote(self.name(view))} {query}")

    def changes_since(self) -> int:
        """Returns the oldest version of `product_attributes` whose change data is there.

        Runs on the driver.
        """
        return int(self.describe("product_attributes")["properties"].get(_CHANGES_SINCE, 0))

    @retried_on_conflict
    def keep_changes_since(self, version: int) -> None:
        """Writes down the oldest version whose change data is there, unless a later one stands.

        Runs on the driver; one Delta commit. What is gone does not come back.
        """
        if version > self.changes_since():
            table = quote(self.name("product_attributes"))
            value = f"'{_CHANGES_SINCE}' = '{int(version)}'"
            self.spark.sql(f"ALTER TABLE {table} SET TBLPROPERTIES ({value})")

    @retried_on_conflict
    def replace_run(self, table: str, rows: DataFrame, run_id: str, only: str = "true") -> None:
        """Writes the rows of one run; rows that this run wrote there before are replaced, or `only`
        those of them of which this SQL is true.

        Runs on the driver; one Delta commit.
        """
        with self.commit_of(run_id):
            writer = rows.write.format("delta").mode("overwrite")
            mine = f"run_id = '{run_id}' AND {only}"
            writer.option("replaceWhere", mine).saveAsTable(self.name(table))

    def append_chunk(self, rows: DataFrame, run_id: str, chunk: int) -> None:
        """Adds a chunk of answers to what a run has staged.

        Runs on the driver; one Delta commit.

        Raises:
            RunInProgress: another process staged a chunk of that number at the same time.
            TableContended: at the same time another process dropped rows of this run, or another
                run gave the table a column, or staged to a table of an older version.
        """
        mine = (F.col("run_id") == run_id) & (F.col("chunk") == chunk)
        try:
            if not self.read("staged_attributes").where(mine).isEmpty():
                raise RunInProgress(run_id)
            with self.commit_of(run_id):
                writer = rows.withColumn("chunk", F.lit(chunk)).write.format("delta")
                # Overwritten and not appended: so Delta reports a conflict if another process has
                # written this chunk meanwhile.
                writer = writer.mode("overwrite").option(
                    "replaceWhere", f"run_id = '{run_id}' AND chunk = {chunk}"
                )
                writer.saveAsTable(self.name("staged_attributes"))
        except CONFLICTS as error:
            if not self.read("staged_attributes").where(mine).isEmpty():
                raise RunInProgress(run_id) from error
            raise TableContended(self._explain_contended(error, run_id)) from error

    def _explain_contended(self, error: Exception, run_id: str) -> str:
        """Returns what others did while a chunk was staged, and what to do. Runs on the driver."""
        table = self.name("staged_attributes")
        again = "start this run again, it goes on from what it has staged"
        if isinstance(error, CHANGED_TABLE):
            return f"another run gave {table} a column at the same time: {again}"
        if self.describe("staged_attributes")["partitionColumns"]:
            return (
                f"another process dropped rows that run '{run_id}' has in {table}, or is at work "
                f"on the same run: {again}"
            )
        # Version 0.1 made the table without partitions.
        return (
            f"another run staged at the same time, and {table} is not partitioned by run_id: "
            f"{again}. DROP that table while nothing waits to be published, and it is made anew"
        )

    def append(self, table: str, rows: DataFrame) -> None:
        """Adds rows. Runs on the driver; one Delta commit."""
        rows.write.format("delta").mode("append").saveAsTable(self.name(table))

    @retried_on_conflict
    def publish(
        self,
        select_rows: Callable[[], DataFrame],
        run_id: str,
        *,
        full_refresh: bool,
        is_all_new: bool = False,
    ) -> PublishedCounts:
        """Merges answered staged rows into `product_attributes` by product_id.

        Runs on the driver; one MERGE, which touches only rows that were computed from something
        else, by another model, or whose category or corrections changed. A full refresh also
        replaces what another run computed, or a run of the same id on an earlier day, unless the
        picture is still out of reach. A newer row is never replaced by an older one: newer is a
        later run_date, or the same and a later start. An answer that was carried over is withheld
        where the one that it is a copy of stands no more.

        Args:
            select_rows: Returns the run's answered rows, with `is_carried`; asked anew whenever a
                conflict has another run's commit come first.
            run_id: The run.
            full_refresh: Whether the run was one.
            is_all_new: Whether none of its answers can be published yet, so that the table need not
                be searched for them.
        """
        rows = select_rows()
        if is_all_new:
            before = PublishedCounts(0, 0, rows.count())
        else:
            before = self.count_published(rows, full_refresh=full_refresh)
        # Delta 4.4 commits a new version even for a MERGE that changes nothing.
        if not before.withheld:
            return before
        columns = schema_of("product_attributes", self._complete_attributes()).fieldNames()
        target = DeltaTable.forName(self.spark, self.name("product_attributes"))
        # A column that the rows lack is of an attribute that their classifier does not know. Those
        # of a shop's own are not named, and so keep their values.
        values = {
            quote_part(c): f"new.{quote_part(c)}" if c in rows.columns else "NULL" for c in columns
        }
        with self.commit_of(run_id):
            done = (
                target.alias("old")
                .merge(rows.alias("new"), MATCHES)
                .whenMatchedUpdate(is_outdated(full_refresh=full_refresh), set=values)
                # A copy of what is published no more is not published again.
                .whenNotMatchedInsert("new.is_carried IS NULL", values=values)
                .execute()
            )
        merged = int(done.first()["num_affected_rows"])
        if is_all_new and merged < before.withheld:
            return self.count_published(rows, full_refresh=full_refresh)
        return PublishedCounts(
            before.published + merged, before.unchanged, before.withheld - merged
        )

    def count_published(self, rows: DataFrame, *, full_refresh: bool) -> PublishedCounts:
        """Returns how many of a run's answered rows stand in `product_attributes` by now.

        Runs on the driver; two actions.
        """
        old = self.read("product_attributes").select("product_id", "run_id", "run_date", *COMPARED)
        is_same = F.expr(f"{MATCHES} AND {SAYS_THE_SAME}")
        is_left, is_own = F.expr(stays(full_refresh=full_refresh)), F.expr(IS_OWN)
        # An inner join: of few rows Spark sends each to the table, instead of sorting the table.
        left = rows.alias("new").join(old.alias("old"), is_same).where(is_left)
        own, others = left.agg(F.count_if(is_own), F.count_if(~is_own)).collect()[0]
        return PublishedCounts(own, others, rows.count() - own - others)

    def _complete_attributes(self) -> tuple[str, ...]:
        """Returns the attributes of `product_attributes`, once it has columns for all of these.

        A rollback since the run began may have taken columns away that the run had added. Runs on
        the driver; no action.
        """
        attributes = published_attributes(self.spark, self.database)
        if set(self.attributes) <= set(attributes):
            return attributes
        self.create_missing()
        return published_attributes(self.spark, self.database)

    @retried_on_conflict
    def delete_published(self, select_products: Callable[[], DataFrame | None], run_id: str) -> int:
        """Deletes the published rows of products, but for rows that a newer run published.

        Runs on the driver; one MERGE.

        Args:
            select_products: Returns product_id, and the run's run_date and enriched_at, None where
                nothing is to be deleted; asked anew whenever a conflict has another run's commit
                come first.
            run_id: The run.

        Returns:
            How many rows were deleted.
        """
        products = select_products()
        if products is None:
            return 0
        target = DeltaTable.forName(self.spark, self.name("product_attributes"))
        with self.commit_of(run_id):
            done = (
                target.alias("old")
                .merge(products.alias("new"), MATCHES)
                .whenMatchedDelete(condition=IS_NEWER)
                .execute()
            )
        return int(done.first()["num_deleted_rows"])

    def describe(self, table: str) -> Row:
        """Returns the table's numFiles and properties, among others. Runs on the driver."""
        return self.spark.sql(f"DESCRIBE DETAIL {quote(self.name(table))}").collect()[0]

    def version(self, table: str) -> int:
        """Returns the table's newest Delta version. Runs on the driver."""
        newest = self.spark.sql(f"DESCRIBE HISTORY {quote(self.name(table))} LIMIT 1")
        return int(newest.collect()[0]["version"])

    def location(self) -> str:
        """Returns the folder of the database, with its scheme. Runs on the driver."""
        return folder_of(self.spark.catalog.getDatabase(self.database))

    def commit_of(self, run_id: str) -> AbstractContextManager[None]:
        """Writes the run into the userMetadata of every commit made inside. Runs on the driver."""
        return session_settings(self.spark, {_USER_METADATA: json.dumps({"run_id": run_id})})


def _read_log(table: DataFrame) -> None:
    # An error is left to the query that needs the table.
    with suppress(Exception):
        table.isEmpty()


def open_published(spark: SparkSession, database: str) -> OutputTables:
    """Returns the tables of a database, for all attributes that were ever published.

    Runs on the driver.

    Raises:
        ConfigError: nothing was.
    """
    OutputTables(spark, database, ()).require("product_attributes")
    return OutputTables(spark, database, published_attributes(spark, database))


def published_attributes(spark: SparkSession, database: str) -> tuple[str, ...]:
    """Returns all attributes that `product_attributes` has columns of. Runs on the driver."""
    return select_typed_attributes(spark.read.table(f"{database}.product_attributes").dtypes)
