"""Takes back what runs published: the table as it was before a run, in one commit."""

from datetime import UTC, datetime
from typing import NamedTuple

from enrich.errors import ConfigError
from enrich.spark.catalog import quote
from enrich.spark.ledger import read_run, write_rows
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
    if row["outcome"] == ROLLED_BACK:
        return []
    commits = _read_commits(tables)
    taken = next((c for c in reversed(commits) if c.run_id == run_id and c.restored_to), None)
    # What a run published before it was taken back is not there to be taken back again.
    mine = [c for c in commits if c.run_id == run_id and (not taken or c.version > taken.version)]
    if row["outcome"] == "published" and mine:
        before = mine[0].version - 1
        _refuse_unfinished(tables, _runs_since(before, commits))
        _restore(tables, before, commits[0].version, run_id)
        # Another run may have published since they were read first.
        commits = _read_commits(tables)
    elif row["outcome"] == "published" and taken and taken.restored_to:
        # An earlier call was ended between the table and the ledger.
        before = int(taken.restored_to)
    else:
        raise ConfigError(f"run '{run_id}' is {row['outcome']}: it has nothing to take back")
    later = _runs_since(before, commits)
    return [one for one in later if _mark(tables, one, f"with run {run_id}: {reason}")]


class _Commit(NamedTuple):
    """A version of the published table, the run that made it, and the version it went back to."""

    version: int
    run_id: str | None
    restored_to: str | None


def _read_commits(tables: OutputTables) -> list[_Commit]:
    """Returns the versions of the published table, oldest first. Runs on the driver."""
    history = tables.spark.sql(f"DESCRIBE HISTORY {quote(tables.name('product_attributes'))}")
    columns = ("version", "userMetadata", "operation", "operationParameters")
    return [
        _Commit(
            row["version"],
            run_of_commit(row["userMetadata"]),
            row["operationParameters"]["version"] if row["operation"] == "RESTORE" else None,
        )
        for row in history.select(*columns).orderBy("version").collect()
    ]


def _runs_since(version: int, commits: list[_Commit]) -> list[str]:
    """Returns the runs that made the commits after a version, in their order."""
    return list(dict.fromkeys(c.run_id for c in commits if c.version > version and c.run_id))


def _refuse_unfinished(tables: OutputTables, runs: list[str]) -> None:
    """Raises ConfigError when the ledger does not say of each run that it published.

    Such a run would say so when its rows are gone. Runs on the driver.
    """
    for run_id in runs:
        row = read_run(tables, run_id)
        if row is None or row["outcome"] not in ("published", ROLLED_BACK):
            raise ConfigError(
                f"run '{run_id}' published, and {tables.name('enrichment_runs')} does not say so "
                "yet: it is still at work, or was killed. Let it end, or run it again, before "
                "anything is taken back"
            )


def _restore(tables: OutputTables, version: int, oldest: int, run_id: str) -> None:
    """Runs on the driver; one Delta commit."""
    name = tables.name("product_attributes")
    if version < oldest:
        raise ConfigError(f"the history of {name} begins with run '{run_id}': nothing is before it")
    with tables.commit_of(run_id):
        tables.spark.sql(f"RESTORE TABLE {quote(name)} TO VERSION AS OF {version}")


def _mark(tables: OutputTables, run_id: str, reason: str) -> bool:
    """Returns whether the ledger knows the run; its row then says that it was taken back."""
    row = read_run(tables, run_id)
    if row is None:
        return False
    row |= {
        "outcome": ROLLED_BACK,
        "withheld": row["withheld"] + row["published"],
        "published": 0,
        "finished_at": datetime.now(UTC),
        "reason": reason,
        "published_version": tables.version("product_attributes"),
    }
    write_rows(tables, "enrichment_runs", [row], run_id)
    return True
