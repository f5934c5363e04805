"""The output tables: the only place that creates, writes or merges them.

Every write is idempotent: a run that is repeated replaces its own rows and nothing else, and says
its run_id in the commit's userMetadata.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from delta.tables import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from schemas import tables as ddl

from enrich.spark.catalog import quote, quote_part

# Deletion vectors off: every reader of Delta tables can then read these.
_PROPERTIES = (
    "TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true', 'delta.enableDeletionVectors' = 'false')"
)
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

    def create_missing(self) -> None:
        """Creates database, tables and view; adds the columns of new attributes.

        Runs on the driver; touches nothing that is there already.
        """
        columns = {
            "product_attributes": ddl.product_attributes(self.attributes),
            "staged_attributes": ddl.staged_attributes(self.attributes),
            "quarantine": ddl.QUARANTINE,
            "enrichment_runs": ddl.ENRICHMENT_RUNS,
            "label_quality": ddl.LABEL_QUALITY,
        }
        self.spark.sql(f"CREATE DATABASE IF NOT EXISTS {quote(self.database)}")
        found = {
            row["tableName"]
            for row in self.spark.sql(f"SHOW TABLES IN {quote(self.database)}").collect()
        }
        for table, definition in columns.items():
            if table not in found:
                self.spark.sql(
                    f"CREATE TABLE {quote(self.name(table))} ({definition}) USING DELTA "
                    + _PROPERTIES
                )
        for table in ("product_attributes", "staged_attributes"):
            if table in found:
                self._add_new_attributes(table)
        if "product_attribute_values" not in found:
            self._create_long_view()

    def replace_run(self, table: str, rows: DataFrame, run_id: str) -> None:
        """Writes the rows of one run; rows that this run wrote there before are replaced.

        Runs on the driver; one Delta commit.
        """
        with self._commit_of(run_id):
            writer = rows.write.format("delta").mode("overwrite")
            writer.option("replaceWhere", f"run_id = '{run_id}'").saveAsTable(self.name(table))

    def publish(self, rows: DataFrame, run_id: str, *, full_refresh: bool) -> None:
        """Merges answered staged rows into `product_attributes` by product_id.

        Runs on the driver; one MERGE, which touches only rows that were computed from something
        else, or by another model. A full refresh also replaces what another run computed.
        """
        # Delta 4.4 commits a new version even for a MERGE that changes nothing.
        mine = self.read("product_attributes").where(F.col("run_id") == run_id)
        same_answer = ["product_id", "content_hash", "model_version"]
        if rows.join(mine, same_answer, "left_anti").isEmpty():
            return
        changed = "old.content_hash <> new.content_hash OR old.model_version <> new.model_version"
        if full_refresh:
            changed += " OR old.run_id <> new.run_id"
        target = DeltaTable.forName(self.spark, self.name("product_attributes"))
        columns = self.read("product_attributes").columns
        values = {quote_part(c): f"new.{quote_part(c)}" for c in columns if c in rows.columns}
        with self._commit_of(run_id):
            (
                target.alias("old")
                .merge(rows.alias("new"), "old.product_id = new.product_id")
                .whenMatchedUpdate(condition=changed, set=values)
                .whenNotMatchedInsert(values=values)
                .execute()
            )

    def version(self, table: str) -> int:
        """Returns the table's newest Delta version. Runs on the driver."""
        newest = self.spark.sql(f"DESCRIBE HISTORY {quote(self.name(table))} LIMIT 1").first()
        return int(newest["version"]) if newest else -1

    def location(self) -> str:
        """Returns the folder or URI of the database. Runs on the driver."""
        return str(self.spark.catalog.getDatabase(self.database).locationUri)

    def _add_new_attributes(self, table: str) -> None:
        known = set(self.read(table).columns)
        columns = {
            f"{a}{suffix}": kind
            for a in self.attributes
            for suffix, kind in (("", "STRING"), ("_confidence", "DOUBLE"))
        }
        if new := [f"{quote_part(c)} {k}" for c, k in columns.items() if c not in known]:
            name = quote(self.name(table))
            self.spark.sql(f"ALTER TABLE {name} ADD COLUMNS ({', '.join(new)})")

    def _create_long_view(self) -> None:
        self.spark.sql(
            f"CREATE VIEW {quote(self.name('product_attribute_values'))} "
            "COMMENT 'one row a product and attribute' AS "
            "SELECT product_id, said.attribute, "
            "CASE WHEN NOT said.abstained THEN said.label END AS label, said.confidence, "
            "said.abstained, said.label AS candidate, said.image_weight, modalities, status, "
            "model_version, run_id, run_date FROM (SELECT *, explode(predictions) AS said "
            f"FROM {quote(self.name('product_attributes'))})"
        )

    @contextmanager
    def _commit_of(self, run_id: str) -> Iterator[None]:
        self.spark.conf.set(_USER_METADATA, f'{{"run_id": "{run_id}"}}')
        try:
            yield
        finally:
            self.spark.conf.unset(_USER_METADATA)


def select_answered(staged: DataFrame) -> DataFrame:
    """Returns the staged rows that hold an answer. Runs on the driver."""
    return staged.where(F.col("modalities").isNotNull())
