"""Takes back what runs published: the table as it was before a run, in one commit."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from pyspark.sql import Row
from pyspark.sql import functions as F

from enrich.errors import ConfigError, TableContended
from enrich.spark.catalog import quote
from enrich.spark.conflicts import CONFLICTS
from enrich.spark.ledger import read_run, write_rows
from enrich.spark.settings import reaching_back
from enrich.spark.tables import OutputTables, run_of_commit

ROLLED_BACK = "rolled_back"


def roll_back(tables: OutputTables, run_id: str, reason: str) -> list[str]:
    """Brings `product_attributes` back to the state before a run, and says so in the ledger.

    Runs on the driver; one Delta commit, then one a run for the ledger. Said again, it changes
    nothing. What was staged stays: the same run published again needs no inference.

    Returns:
        The runs that are taken back: this one, and those that published after it.

    Raises:
        ConfigError: there is no such run, it published nothing, a later run is not at its end, or
            the table's history no longer reaches back before it.
    """
    row = read_run(tables, run_id)
    if row is None:
        raise ConfigError(f"{tables.name('enrichment_runs')} has no run '{run_id}'")
    commits = _read_commits(tables)
    mine = [c for c in _standing(commits) if c.run_id == run_id]
    if mine:
        before = mine[0].version - 1
        _refuse_unfinished(tables, [c for c in commits if c.run_id and c.version > before])
        _restore(tables, before, commits[0].version, run_id)
        # Another run may have published since they were read first.
        commits = _read_commits(tables)
    standing = {c.run_id for c in _standing(commits)}
    gone = list(dict.fromkeys(c.run_id for c in commits if c.run_id and c.run_id not in standing))
    if run_id not in gone:
        raise ConfigError(f"run '{run_id}' is {row['outcome']}: it has nothing to take back")
    # An earlier call may have been ended between the table and the ledger.
    stale = _read_published(tables, gone) | ({run_id: row} if mine else {})
    # The run that was named comes last: until then the same call goes on from here.
    for one in sorted(stale, key=lambda other: other == run_id):
        _mark(tables, stale[one], f"with run {run_id}: {reason}")
    return [one for one in gone if one in stale]


class _Commit(NamedTuple):
    """A version of the published table, the run that made it, and the version it went back to."""

    version: int
    made_at: datetime
    run_id: str | None
    restored_to: int | None


def _read_commits(tables: OutputTables) -> list[_Commit]:
    """Returns the versions of the published table, oldest first. Runs on the driver."""
    history = tables.spark.sql(f"DESCRIBE HISTORY {quote(tables.name('product_attributes'))}")
    columns = ("version", "timestamp", "userMetadata", "operation", "operationParameters")
    return [
        _Commit(
            row["version"],
            row["timestamp"],
            run_of_commit(row["userMetadata"]),
            _find_restored(row),
        )
        for row in history.select(*columns).orderBy("version").collect()
    ]


def _find_restored(row: Row) -> int | None:
    """Returns the version that a commit went back to, None if it is no RESTORE."""
    # A RESTORE to a time, which only a person's SQL makes, names no version.
    named = row["operationParameters"].get("version") if row["operation"] == "RESTORE" else None
    return None if named is None else int(named)


def _standing(commits: Sequence[_Commit]) -> list[_Commit]:
    """Returns the commits by which a run published and that no later RESTORE has undone.

    A RESTORE that was undone itself undoes nothing.
    """
    undone: set[int] = set()
    for commit in reversed(commits):
        if commit.restored_to is not None and commit.version not in undone:
            undone.update(range(commit.restored_to + 1, commit.version))
    return [c for c in commits if c.run_id and c.restored_to is None and c.version not in undone]


def _refuse_unfinished(tables: OutputTables, commits: Sequence[_Commit]) -> None:
    """Raises ConfigError when the ledger does not know yet what one of these commits did.

    Such a run would say that it published when its rows are gone. Runs on the driver.
    """
    for commit in {c.run_id: c for c in commits}.values():
        row = read_run(tables, str(commit.run_id))
        is_known = row is not None and (
            row["outcome"] in ("published", ROLLED_BACK) or row["finished_at"] >= commit.made_at
        )
        if not is_known:
            raise ConfigError(
                f"run '{commit.run_id}' published, and {tables.name('enrichment_runs')} does not "
                "say so yet: it is still at work, or was killed. Let it end, or run it again, "
                "before anything is taken back"
            )


def _read_published(tables: OutputTables, run_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns the ledger's rows of those that it takes for published, by run.

    Runs on the driver; one action.
    """
    ledger = tables.read("enrichment_runs").where(F.col("outcome") == "published")
    found = ledger.where(F.col("run_id").isin(list(run_ids))).collect()
    return {row["run_id"]: row.asDict(recursive=True) for row in found}


def _restore(tables: OutputTables, version: int, oldest: int, run_id: str) -> None:
    """Runs on the driver; one Delta commit."""
    name = tables.name("product_attributes")
    if version < oldest:
        raise ConfigError(f"the history of {name} begins with run '{run_id}': nothing is before it")
    try:
        with tables.commit_of(run_id), reaching_back(tables.spark):
            tables.spark.sql(f"RESTORE TABLE {quote(name)} TO VERSION AS OF {version}")
    except CONFLICTS as error:
        raise TableContended(
            f"another run wrote to {name} at the same moment: nothing was taken back. Say it again"
        ) from error


def _mark(tables: OutputTables, row: Mapping[str, Any], reason: str) -> None:
    """Says in the ledger that the run of this row was taken back. Runs on the driver."""
    marked = {
        **row,
        "outcome": ROLLED_BACK,
        "withheld": row["withheld"] + row["published"],
        "published": 0,
        "finished_at": datetime.now(UTC),
        "reason": reason,
        "published_version": tables.version("product_attributes"),
    }
    write_rows(tables, "enrichment_runs", [marked], row["run_id"])
