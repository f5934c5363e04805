"""Takes back what runs published: the table as it was before a run, in one commit."""

from collections.abc import Mapping, Sequence
from typing import Any

from pyspark.sql import functions as F
from schemas.quoting import quote
from schemas.tables import SUCCEEDED, Outcome

from enrich.errors import ConfigError, TableContended
from enrich.spark.ledger import as_record, find_run, refuse_untold, write_run
from enrich.spark.quarantine import release_unreadable
from enrich.spark.settings import reaching_back
from enrich.spark.storage import messages_of
from enrich.spark.tables.conflicts import CONFLICTS
from enrich.spark.tables.history import (
    Commit,
    leave_out_wider_rows,
    read_commits,
    select_standing,
)
from enrich.spark.tables.output_tables import OutputTables, open_published

# Delta's words; the exception itself is Java's most general one.
_FILES_ARE_GONE = "Not all files from version"


def roll_back(tables: OutputTables, run_id: str, reason: str) -> list[str]:
    """Brings `product_attributes` back to the state before a run, and says so in the ledger.

    Runs on the driver; one Delta commit, then one per run for the ledger. Repeated, it changes
    nothing. What was staged stays: the same run published again needs no inference. Runs that found
    nothing to do meanwhile are marked as well, because what they found no longer holds.

    Returns:
        The runs that are taken back: this one, and those that published after it.

    Raises:
        ConfigError: there is no such run, it published nothing, it or a later run is not at its
            end, or the table's history, or what maintenance left of it, does not reach back so far.
    """
    tables.require("enrichment_runs")
    # The ledger of an older version lacks the column for the reason. Before the history is read:
    # this takes time, and may commit.
    tables.create_missing()
    commits = read_commits(tables)
    mine = [c for c in select_standing(commits) if c.run_id == run_id]
    if mine:
        before = mine[0].version - 1
        # Before the ledger is asked for the run: one that was killed has no row there yet.
        refuse_untold(tables, [c for c in commits if c.run_id and c.version > before])
    row = find_run(tables, run_id)
    if mine:
        _restore(tables, before, commits, run_id)
        commits = read_commits(tables)
    standing = set(select_standing(commits))
    gone = list(dict.fromkeys(c.run_id for c in commits if c.run_id and c not in standing))
    if run_id not in gone:
        raise ConfigError(f"run '{run_id}' is {row['outcome']}: it has nothing to take back")
    # The table may have other columns now, also those of an older version; a killed call may have
    # left the views as they were.
    leave_out_wider_rows(tables, commits)
    restored = open_published(tables.spark, tables.database)
    restored.create_missing()
    restored.create_views()
    # An earlier call may have been killed after it restored the table, and before the ledger.
    stale = {run_id: row} if mine else {}
    stale |= _read_disproved(tables, commits, {c.run_id for c in standing})
    if run_id not in stale and row["outcome"] != Outcome.ROLLED_BACK:
        raise ConfigError(f"run '{run_id}' changed nothing since it was taken back")
    # The run that was named comes last: until then the same call goes on from here.
    for stale_id in sorted(stale, key=lambda other: other == run_id):
        _mark(tables, stale[stale_id], f"with run {run_id}: {reason}")
    return [gone_id for gone_id in gone if gone_id in stale]


def _read_disproved(
    tables: OutputTables, commits: Sequence[Commit], standing: set[str | None]
) -> dict[str, dict[str, Any]]:
    """Returns the rows of the ledger that a RESTORE has made untrue, by run.

    Those of runs that published by commits that are undone, and those of runs that found nothing to
    do because of such commits. A run that found nothing to do after the RESTORE has seen the
    restored table: its row stays. `standing` are the runs of which commits stand. Runs on the
    driver; one action.
    """
    has_ended = F.col("outcome").isin(*SUCCEEDED) | F.col("succeeded_at").isNotNull()
    # A blocked run's row may count what an attempt has published that was killed before the ledger.
    rows = tables.read("enrichment_runs").where(has_ended | (F.col("published") > 0)).collect()
    ended = [as_record(row) for row in rows]
    disproved = {}
    for restore in commits:
        undone = [c for c in commits if c.version in restore.undoes]
        if not undone:
            continue
        gone = {c.run_id for c in undone}
        for row in ended:
            # Of an attempt before the last one only the start is known.
            succeeded_at = None if row["outcome"] in SUCCEEDED else row["succeeded_at"]
            said_at = succeeded_at or row["finished_at"]
            # A run that found all its answers published committed nothing, whatever its outcome.
            is_idle = not (row["published"] or row["deleted"])
            is_about_it = row["run_id"] in gone or (is_idle and said_at >= undone[0].made_at)
            # A run that published in the last moment before the RESTORE may have said so after it.
            # Of one of which commits stand the row may be of these.
            may_be_late = not is_idle and row["run_id"] not in standing
            if is_about_it and (said_at <= restore.made_at or may_be_late):
                disproved[row["run_id"]] = row
    return disproved


def _restore(tables: OutputTables, version: int, seen: Sequence[Commit], run_id: str) -> None:
    """Brings the published table back to a version; `seen` are all commits that were looked at.

    Runs on the driver; one Delta commit, two where a property has gone back.

    Raises:
        ConfigError: there is no such version, or files of it are gone.
        TableContended: the table has other commits by now.
    """
    name, since = tables.name("product_attributes"), tables.changes_since()
    if version < seen[0].version:
        raise ConfigError(f"the history of {name} begins with run '{run_id}': nothing is before it")
    contended = TableContended(
        f"another run wrote to {name} at the same moment: nothing was taken back. Repeat the "
        "command"
    )
    # Delta notices commits that are made during the RESTORE, but none since the history was read,
    # which takes minutes where it is long.
    if tables.version("product_attributes") > seen[-1].version:
        raise contended
    try:
        with tables.commit_of(run_id), reaching_back(tables.spark):
            tables.spark.sql(f"RESTORE TABLE {quote(name)} TO VERSION AS OF {version}")
    except CONFLICTS as error:
        raise contended from error
    except Exception as error:
        if not any(_FILES_ARE_GONE in message for message in messages_of(error)):
            raise
        raise ConfigError(
            f"{name} as it was before run '{run_id}' (version {version}) is gone: maintenance has "
            "deleted files of it. Take back a later run, or put right what is wrong and run with "
            "--full-refresh"
        ) from error
    # A table's properties go back too; what maintenance deleted does not come back.
    tables.keep_changes_since(since)


def _mark(tables: OutputTables, row: Mapping[str, Any], reason: str) -> None:
    """Writes into the ledger that a run is taken back, and releases what it found unreadable.

    What an earlier attempt at it had published before the restored version stands. Runs on the
    driver; two small queries, and at most two Delta commits.
    """
    release_unreadable(tables, row["run_id"])
    # At most as many as are counted: the last attempt may have lacked products of an earlier one.
    rows = tables.read_rows("product_attributes", row["run_id"]).limit(row["published"])
    standing = rows.count()
    marked = {
        **row,
        "outcome": Outcome.ROLLED_BACK,
        "withheld": row["withheld"] + row["published"] - standing,
        "published": standing,
        "deleted": 0,
        "reason": reason,
        "succeeded_on": None,
        "succeeded_at": None,
    }
    write_run(tables, marked)
