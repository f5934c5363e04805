"""What the history of the published table says of runs: their commits, and what was taken back."""

import json
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from pyspark.sql import Row
from schemas.quoting import quote

from enrich.spark.tables.output_tables import OutputTables
from enrich.spark.times import in_utc

_COLUMNS = (
    "version",
    "timestamp",
    "userMetadata",
    "operation",
    "operationMetrics",
)
# Of a RESTORE one of the two is NULL; Delta reads the time in the session's zone, as here.
_RESTORED_TO = (
    "try_cast(operationParameters['version'] AS INT) AS restored_to_version",
    "try_to_timestamp(operationParameters['timestamp']) AS restored_to_time",
)

_NEWEST = 100


class Commit(NamedTuple):
    """A version of the published table, the run that made it, and the version it went back to.

    `deleted` counts the rows that a MERGE deleted.
    """

    version: int
    made_at: datetime
    run_id: str | None
    restored_to: int | None
    deleted: int

    @property
    def undoes(self) -> range:
        """The versions that it went back over; none where it is no RESTORE."""
        return range(0) if self.restored_to is None else range(self.restored_to + 1, self.version)


def read_commits(tables: OutputTables, newest: int | None = None) -> list[Commit]:
    """Returns the versions of the published table, or the newest ones, oldest first.

    Runs on the driver. Delta reads a file for each of them.
    """
    limit = "" if newest is None else f"LIMIT {newest}"
    name = quote(tables.name("product_attributes"))
    history = tables.spark.sql(f"DESCRIBE HISTORY {name} {limit}")
    commits: list[Commit] = []
    for row in history.selectExpr(*_COLUMNS, *_RESTORED_TO).orderBy("version").collect():
        commit = Commit(
            row["version"],
            in_utc(row["timestamp"]),
            _run_of(row["userMetadata"]),
            _find_restored(row, commits) if row["operation"] == "RESTORE" else None,
            int((row["operationMetrics"] or {}).get("numTargetRowsDeleted", 0)),
        )
        commits.append(commit)
    return commits


def select_standing(commits: Sequence[Commit]) -> list[Commit]:
    """Returns the commits by which a run published and that no later RESTORE has undone.

    A RESTORE that was undone itself undoes nothing.
    """
    undone: set[int] = set()
    for commit in reversed(commits):
        if commit.version not in undone:
            undone.update(commit.undoes)
    return [c for c in commits if c.run_id and c.restored_to is None and c.version not in undone]


def read_standing(tables: OutputTables, run_id: str) -> list[Commit]:
    """Returns the commits by which a run published and that stand, oldest first.

    Runs on the driver. Looks at the newest commits only, as such a run was at work lately.
    """
    return [c for c in select_standing(read_commits(tables, _NEWEST)) if c.run_id == run_id]


def leave_out_wider_rows(tables: OutputTables, commits: Sequence[Commit]) -> None:
    """Lets the view `attribute_changes` begin with the last RESTORE that took columns away.

    Delta cannot read changes of rows that had columns which the table no longer has. Runs on the
    driver.

    Args:
        tables: The output tables.
        commits: All there are, oldest first.
    """
    now, since = set(tables.read("product_attributes").columns), tables.changes_since()
    for before, commit in pairwise(commits):
        if commit.restored_to is None or commit.version <= since:
            continue
        if not set(tables.read_version("product_attributes", before.version).columns) <= now:
            tables.keep_changes_since(commit.version)


def count_deleted(tables: OutputTables, run_id: str, since: datetime | None) -> int:
    """Returns how many rows of vanished products a run has deleted, by commits that still stand.

    Runs on the driver. Looks at the newest commits only, as the run is not at its end yet.

    Args:
        tables: The output tables.
        run_id: The run.
        since: Only commits after this time count; None counts all.
    """
    mine = read_standing(tables, run_id)
    return sum(commit.deleted for commit in mine if since is None or commit.made_at > since)


def _run_of(user_metadata: str | None) -> str | None:
    """Returns the run that made a commit, None where somebody else did.

    What others write into a commit's userMetadata may be anything. Runs on the driver.
    """
    try:
        metadata = json.loads(user_metadata or "{}")
    except ValueError:
        return None
    run_id = metadata.get("run_id") if isinstance(metadata, dict) else None
    return run_id if isinstance(run_id, str) else None


def _find_restored(row: Row, earlier: Sequence[Commit]) -> int:
    """Returns the version that a RESTORE went back to."""
    if row["restored_to_version"] is not None:
        return int(row["restored_to_version"])
    # A RESTORE to a time, which only a person's SQL makes.
    moment = in_utc(row["restored_to_time"])
    first = earlier[0].version if earlier else row["version"]
    return max((c.version for c in earlier if moment and c.made_at <= moment), default=first - 1)
