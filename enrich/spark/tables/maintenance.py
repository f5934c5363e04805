"""Keeps the output tables small and quick: compacts files, and deletes what no reader needs.

Knows nothing of runs in progress: Delta keeps files that younger readers may still need.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import functions as F
from schemas import tables as ddl
from schemas.quoting import quote, quote_literal
from schemas.tables import SUCCEEDED, Outcome

from enrich.spark.settings import session_settings
from enrich.spark.tables.conflicts import retried_on_conflict
from enrich.spark.tables.creation import READABLE
from enrich.spark.tables.history import Commit, leave_out_wider_rows, read_commits
from enrich.spark.tables.output_tables import OutputTables
from enrich.spark.tables.scratch import remove_old_scratch

_LONGEST_RUN = timedelta(days=7)
# Without these Delta 4.4 ignores RETAIN n HOURS, unless n is 0, and uses a property of the table.
_RETAIN_IS_HEEDED = {
    "spark.databricks.delta.vacuum.retentionWindowIgnore.enabled": "false",
    "spark.databricks.delta.retentionDurationCheck.enabled": "false",
}
# Views read change data only of commits that are younger than VACUUM's limit by so much: it goes by
# the age of files, which are older than their commit, and runs a while after this is decided.
_MARGIN = timedelta(days=1)
# Nobody will publish or look at these any more.
_SETTLED = (*SUCCEEDED, Outcome.DROPPED)


def maintain_tables(
    tables: OutputTables, *, retention_hours: int, keep_staged_days: int
) -> dict[str, Any]:
    """Compacts every table and deletes files that nothing refers to any more.

    Runs on the driver. A table that somebody has dropped is made anew, but for the ledger.

    Args:
        retention_hours: time travel and change data reach at least so far back. Below a week, a
            job that is running may lose files that it reads.
        keep_staged_days: staged rows of published and dropped runs are kept so long, and those of
            runs that were killed before the ledger knew of them.

    Returns:
        Counts: `staged_runs_removed`, `scratch_removed`, and `files_before` and `files_after` by
        table.

    Raises:
        ConfigError: there is no ledger.
    """
    # If it were made anew, it would know no run, and staged rows of unknown runs are deleted.
    tables.require("enrichment_runs")
    tables.create_missing()
    removed = {
        "staged_runs_removed": _delete_old_staged(tables, keep_staged_days),
        "scratch_removed": remove_old_scratch(tables, _LONGEST_RUN.days),
    }
    commits = read_commits(tables)
    _move_changes_since(tables, commits, retention_hours)
    # A person may have gone back with Delta's own RESTORE, after which nobody has looked.
    leave_out_wider_rows(tables, commits)
    # Before anything goes: a view that reads what is gone answers nothing at all.
    tables.create_views()
    before, after = {}, {}
    for table in ddl.tables(tables.attributes):
        details = tables.describe(table)
        _compact(tables, table, details["properties"], retention_hours)
        before[table], after[table] = details["numFiles"], tables.describe(table)["numFiles"]
    return removed | {"files_before": before, "files_after": after}


@retried_on_conflict
def _compact(
    tables: OutputTables, table: str, properties: Mapping[str, str], retention_hours: int
) -> None:
    """Joins small files, and deletes those of versions that are too old. Runs on the driver.

    Staged rows stay as their chunks wrote them: they are deleted before long.
    """
    name = quote(tables.name(table))
    if not READABLE.items() <= properties.items():
        wanted = ", ".join(f"'{key}' = '{value}'" for key, value in READABLE.items())
        tables.spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ({wanted})")
    # A run that stages at this moment would meet that as a conflict, and stop.
    if table != "staged_attributes":
        tables.spark.sql(f"OPTIMIZE {name}")
    with session_settings(tables.spark, _RETAIN_IS_HEEDED):
        tables.spark.sql(f"VACUUM {name} RETAIN {int(retention_hours)} HOURS")


@retried_on_conflict
def _delete_old_staged(tables: OutputTables, keep_days: int) -> int:
    """Returns how many runs' staged rows were deleted. Runs on the driver."""
    cutoff = datetime.now(UTC) - timedelta(days=keep_days)
    runs = tables.read("enrichment_runs")
    is_settled = F.col("outcome").isin(*_SETTLED) & (F.col("finished_at") < F.lit(cutoff))
    staged = tables.read("staged_attributes").groupBy("run_id")
    there = staged.agg(F.max("enriched_at").alias("began_at"))
    # Killed before the ledger knew of it, unless it is still at work.
    is_killed = F.col("began_at") < F.lit(min(cutoff, datetime.now(UTC) - _LONGEST_RUN))
    settled = there.join(runs.where(is_settled), "run_id", "left_semi")
    killed = there.where(is_killed).join(runs, "run_id", "left_anti")
    old = [row["run_id"] for row in settled.union(killed).collect()]
    if old:
        named = ", ".join(map(quote_literal, old))
        # A run of long ago may be running again.
        before = f"enriched_at < TIMESTAMP '{cutoff:%Y-%m-%d %H:%M:%S}+00:00'"
        name = quote(tables.name("staged_attributes"))
        tables.spark.sql(f"DELETE FROM {name} WHERE run_id IN ({named}) AND {before}")
    return len(old)


def _move_changes_since(
    tables: OutputTables, commits: Sequence[Commit], retention_hours: int
) -> None:
    """Writes down the oldest version whose change data VACUUM will leave. Runs on the driver."""
    cutoff = datetime.now(UTC) - timedelta(hours=retention_hours) + _MARGIN
    kept = min((commit.version for commit in commits if commit.made_at >= cutoff), default=None)
    # Where no version is young enough, the next one is: the commit that writes this down.
    since = tables.version("product_attributes") + 1 if kept is None else kept
    tables.keep_changes_since(since)
