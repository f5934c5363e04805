"""Creates the output tables, and brings those of an older version up to date: never silently.

Knows nothing of what is in them. A table that is as it should be costs one look at its schema.
"""

import logging
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StructField, StructType
from schemas import tables as ddl
from schemas.quoting import quote, quote_literal, quote_part

from enrich.errors import ConfigError
from enrich.spark.hadoop import folder_of, open_folder

log = logging.getLogger(__name__)

# Old versions and their changes may be read as long as their files are there: until maintenance
# deletes them. Left to itself, Delta refuses to read what is older than a week.
READABLE = {
    "delta.deletedFileRetentionDuration": "interval 3650 days",
    "delta.logRetentionDuration": "interval 3650 days",
}
# Deletion vectors off: every reader of Delta tables can then read these.
_PROPERTIES = {"delta.enableChangeDataFeed": "true", "delta.enableDeletionVectors": "false"}
# Two runs may then stage at the same time: to Delta, neither writes what the other reads.
_PARTITIONED = {"staged_attributes": "PARTITIONED BY (run_id)"}
# Delta makes a table's folder and its first commit within moments: a folder without a commit, and
# older than this, was left by a creation that was cut off.
_ABANDONED_AFTER_S = 5
_CONSTRAINT = "delta.constraints."
# How the comment of a column begins that has a constraint on its values. Comments come with the
# schema; to ask for constraints takes a query.
_LISTS_VALUES = "one of "


def schema_of(table: str, attributes: Sequence[str]) -> Any:
    """Returns the columns that this job writes: those of a table may be more, of somebody's own."""
    return StructType.fromDDL(ddl.tables(attributes)[table])


def create_table(spark: SparkSession, database: str, table: str, attributes: Sequence[str]) -> None:
    """Creates an output table with its constraints.

    Runs on the driver. A creation that was cut off is finished.
    """
    name = quote(f"{database}.{table}")
    if folder := _find_unregistered(spark, database, table):
        spark.sql(f"CREATE TABLE IF NOT EXISTS {name} USING DELTA LOCATION {quote_literal(folder)}")
        log.warning("%s.%s was there but had no name, and has it again", database, table)
        fields = update_table(spark, database, table, attributes)
        finish_update(spark, f"{database}.{table}", fields)
        return
    checks = {
        f"{_CONSTRAINT}{check}": condition
        for check, condition in _checks(table, attributes).items()
    }
    properties = _PROPERTIES | READABLE | checks
    listed = ", ".join(f"{quote_literal(k)} = {quote_literal(v)}" for k, v in properties.items())
    spark.sql(
        f"CREATE TABLE IF NOT EXISTS {name} "
        f"({ddl.tables(attributes)[table]}) USING DELTA "
        f"{_PARTITIONED.get(table, '')} TBLPROPERTIES ({listed})"
    )


def update_table(
    spark: SparkSession, database: str, table: str, attributes: Sequence[str]
) -> list[StructField]:
    """Adds the columns and constraints that a table of an older version or checkpoint lacks.

    Runs on the driver. No column is taken away, and comments become this version's.

    Returns:
        The columns whose comments are left for `finish_update`, to be written when the views are up
        to date as well. By a comment that is missing or old the next run knows that an update was
        cut off, and makes it again.

    Raises:
        ConfigError: it is a table of somebody else, or a column of somebody's own is in the way.
    """
    name = f"{database}.{table}"
    known = {field.name: field for field in spark.read.table(name).schema}
    key = "attribute" if table == "attribute_corrections" else "run_id"
    if key not in known:
        raise ConfigError(
            f"{name} is none of this job's tables: it has no column {key}. Give --database the "
            "name of a database of its own"
        )
    wanted = schema_of(table, attributes)
    _refuse_clashes(name, known.values(), wanted)
    new = [field for field in wanted if field.name not in known]
    if new:
        _add_columns(spark, name, new)
    there = [field for field in wanted if field.name in known]
    stale = [field for field in there if _comment(field) != _comment(known[field.name])]
    outdated = [field for field in stale if _comment(field).startswith(_LISTS_VALUES)]
    if (new or stale) and _update_checks(spark, name, _checks(table, attributes)):
        # Comes last: until then the next run would make the update again.
        finish_update(spark, name, outdated)
    return [*new[-1:], *(field for field in stale if field not in outdated)]


def finish_update(spark: SparkSession, name: str, fields: Sequence[StructField]) -> None:
    """Writes the comments by which an update is known to be done.

    Runs on the driver; one Delta commit a column.
    """
    for field in fields:
        comment, column = quote_literal(_comment(field)), quote_part(field.name)
        spark.sql(f"ALTER TABLE {quote(name)} ALTER COLUMN {column} COMMENT {comment}")
        log.info("%s: comment of %s: %s", name, field.name, _comment(field))


def read_as_updated(
    spark: SparkSession, database: str, table: str, attributes: Sequence[str]
) -> DataFrame:
    """Returns a table as creating or updating it would leave it, and does neither.

    Runs on the driver; lazy.
    """
    name = f"{database}.{table}"
    if not spark.catalog.tableExists(name):
        return spark.createDataFrame([], schema_of(table, attributes))
    return fill_columns(spark.read.table(name), table, attributes)


def fill_columns(rows: DataFrame, table: str, attributes: Sequence[str]) -> DataFrame:
    """Returns rows of a table with a column of NULLs for each that they lack.

    Runs on the driver; lazy.
    """
    missing = [field for field in schema_of(table, attributes) if field.name not in rows.columns]
    return rows.withColumns({f.name: F.lit(None).cast(f.dataType) for f in missing})


def _refuse_clashes(name: str, there: Iterable[StructField], wanted: Iterable[StructField]) -> None:
    # To Spark, names that differ in capitals alone are one.
    by_name = {field.name.lower(): field for field in wanted}
    for field in there:
        ours = by_name.get(field.name.lower())
        if ours and _definition(field) != _definition(ours):
            raise ConfigError(
                f"{name} has a column {_definition(field)}, and this job writes a column "
                f"{_definition(ours)} there, for an attribute of the checkpoint. Rename or drop "
                "yours, upon which the view attribute_changes answers nothing until maintenance "
                "leaves older versions out; or take another --database"
            )


def _definition(field: StructField) -> str:
    return f"{field.name} {field.dataType.simpleString().upper()}"


def _add_columns(spark: SparkSession, name: str, fields: Sequence[StructField]) -> None:
    """Runs on the driver."""
    # Rows are there already, so a new column can only be nullable. The last one gets no comment
    # yet: that is written when the whole update is done.
    added = ", ".join(
        f"{quote_part(field.name)} {field.dataType.simpleString()}"
        + (f" COMMENT {quote_literal(_comment(field))}" if field is not fields[-1] else "")
        for field in fields
    )
    spark.sql(f"ALTER TABLE {quote(name)} ADD COLUMNS ({added})")
    log.info("%s: added columns %s", name, ", ".join(field.name for field in fields))


def _update_checks(spark: SparkSession, name: str, checks: Mapping[str, str]) -> bool:
    """Returns whether the table has these constraints now; rows may be in the way.

    Runs on the driver; each new constraint reads the table once.
    """
    properties = spark.sql(f"SHOW TBLPROPERTIES {quote(name)}").collect()
    there = {row["key"].removeprefix(_CONSTRAINT): row["value"] for row in properties}
    is_done = True
    for check, condition in checks.items():
        if _normal(there.get(check, "")) == _normal(condition):
            continue
        spark.sql(f"ALTER TABLE {quote(name)} DROP CONSTRAINT IF EXISTS {quote_part(check)}")
        try:
            spark.sql(
                f"ALTER TABLE {quote(name)} ADD CONSTRAINT {quote_part(check)} CHECK ({condition})"
            )
        except AnalysisException as error:
            if "CONSTRAINT_VIOLATION" not in str(error):
                raise
            log.warning("%s: no constraint %s, some rows violate it: %s", name, check, condition)
            is_done = False
        else:
            log.info("%s: constraint %s: %s", name, check, condition)
    return is_done


def _find_unregistered(spark: SparkSession, database: str, table: str) -> str | None:
    """Returns the folder of a table that was committed before it was registered under its name.

    Runs on the driver. What a creation left that was cut off before its first commit is removed,
    because Delta refuses it. But another process may be creating the table: what is young stays,
    and a folder goes only when it is empty.
    """
    address = f"{folder_of(spark.catalog.getDatabase(database))}/{table}"
    store, folder = open_folder(spark, address)
    _, log_folder = open_folder(spark, f"{address}/_delta_log")
    if not store.exists(log_folder):
        return None
    left = [one.getPath() for one in store.listStatus(log_folder)]
    if any(file.getName().endswith(".json") and file.getName()[0] != "." for file in left):
        return str(folder)
    # Both are looked at before anything is removed, which changes a folder's time.
    if all(_is_abandoned(store.getFileStatus(one)) for one in (folder, log_folder)):
        _remove_temporary(store, log_folder)
        if not store.listStatus(folder):
            store.delete(folder, False)
    return None


def _remove_temporary(store: Any, folder: Any) -> None:
    """Removes old hidden files in a folder, then the folders that are empty. Runs on the driver."""
    for one in store.listStatus(folder):
        if one.isDirectory():
            _remove_temporary(store, one.getPath())
        elif one.getPath().getName().startswith(".") and _is_abandoned(one):
            store.delete(one.getPath(), False)
    if not store.listStatus(folder):
        store.delete(folder, False)


def _is_abandoned(file: Any) -> bool:
    age_s: float = time.time() - file.getModificationTime() / 1000
    return age_s > _ABANDONED_AFTER_S


def _checks(table: str, attributes: Sequence[str]) -> dict[str, str]:
    return ddl.checks(attributes).get(table, {})


def _comment(field: StructField) -> str:
    return str(field.metadata.get("comment", ""))


def _normal(condition: str) -> str:
    # Delta writes a constraint's words anew, with blanks of its own.
    return re.sub(r"\s", "", condition)
