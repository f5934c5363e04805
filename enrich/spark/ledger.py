"""One row a run in `enrichment_runs`, and the checks of a run in `label_quality`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import Column, Row
from pyspark.sql import functions as F
from schemas.quoting import quote_literal
from schemas.tables import SUCCEEDED, CheckOutcome, Outcome

from enrich.errors import ConfigError
from enrich.spark.records import Attempt
from enrich.spark.tables.history import Commit
from enrich.spark.tables.output_tables import OutputTables
from enrich.spark.times import in_utc, is_to_come

Rows = Sequence[Mapping[str, Any]]
# Runs that a person may still publish, from what they have staged.
_WAITING = (Outcome.STAGED, Outcome.BLOCKED, Outcome.ROLLED_BACK)


def read_run(tables: OutputTables, run_id: str) -> dict[str, Any] | None:
    """Returns the ledger's row of a run, None when there is none. Runs on the driver."""
    # A job may ask before any run has brought the ledger of an older version up to date.
    row = tables.read_as_updated("enrichment_runs").where(F.col("run_id") == run_id).first()
    return None if row is None else as_record(row)


def as_record(row: Row) -> dict[str, Any]:
    """Returns a row of the ledger, its times in UTC."""
    return {name: in_utc(value) for name, value in row.asDict(recursive=True).items()}


def find_run(tables: OutputTables, run_id: str) -> dict[str, Any]:
    """Returns the ledger's row of a run that somebody has named. Runs on the driver.

    Raises:
        ConfigError: there is no such run, or no ledger.
    """
    tables.require("enrichment_runs")
    row = read_run(tables, run_id)
    if row is None:
        ledger = tables.name("enrichment_runs")
        raise ConfigError(f"{ledger} has no run '{run_id}'; its column run_id lists those it has")
    return row


def write_rows(
    tables: OutputTables, table: str, rows: Rows, run_id: str, only: str = "true"
) -> None:
    """Writes the rows of a run in place of those that it wrote there before.

    `only`: SQL; rows of which it is not true stay. A column that a row does not name is NULL. Runs
    on the driver; one Delta commit.
    """
    written = tables.read(table)
    whole_rows = [{name: row.get(name) for name in written.columns} for row in rows]
    # Without Arrow, Spark would start a Python worker to hand the rows through.
    arrow = pa.Table.from_pylist(whole_rows, schema=written.limit(0).toArrow().schema)
    frame = tables.spark.createDataFrame(arrow, written.schema).coalesce(1)
    tables.replace_run(table, frame, run_id, only)


def write_run(tables: OutputTables, row: Mapping[str, Any]) -> None:
    """Writes a run's row as it ends now, in place of the one before.

    Runs on the driver; a small query and one Delta commit.
    """
    now = {
        "finished_at": datetime.now(UTC),
        "published_version": tables.version("product_attributes"),
    }
    write_rows(tables, "enrichment_runs", [{**row, **now}], row["run_id"])


def write_checks(tables: OutputTables, checks: Rows, run_id: str, *, is_put_right: bool) -> None:
    """Writes the checks of a run's attempt in place of earlier ones of the same suites.

    Those of other suites stay: a run that goes on with what it has staged does not judge its input
    again. But where a later attempt ends well, and so the run `is_put_right`, nothing of it has
    failed: where an earlier one did in a suite, what was judged then is gone. Runs on the driver;
    at most a small query and one Delta commit.
    """
    suites = {check["suite"] for check in checks}
    if is_put_right:
        own = tables.read_rows("label_quality", run_id)
        failed = own.where(F.col("outcome") == CheckOutcome.FAIL).select("suite").distinct()
        suites |= {row["suite"] for row in failed.collect()}
    if suites:
        named = ", ".join(sorted(map(quote_literal, suites)))
        write_rows(tables, "label_quality", checks, run_id, f"suite IN ({named})")


def with_earlier_success(tables: OutputTables, row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns a run's new row, with the date and start of its last success if this is none.

    Runs on the driver; a small query in that case.
    """
    if _is_success(row):
        return row
    before = read_run(tables, str(row["run_id"]))
    if before is None:
        return row
    on, at = ("run_date", "started_at") if _is_success(before) else ("succeeded_on", "succeeded_at")
    return {**row, "succeeded_on": before[on], "succeeded_at": before[at]}


def has_newer_run(tables: OutputTables, attempt: Attempt) -> bool:
    """Tells whether a newer run has succeeded, and so has read the whole of a newer product table.

    If a later attempt at that run failed, its success still counts. Runs on the driver; one action.
    """
    is_newer = _has_success() & _is_newer("run_date", "started_at", attempt)
    is_newer |= _is_newer("succeeded_on", "succeeded_at", attempt)
    return not tables.read_as_updated("enrichment_runs").where(is_newer).isEmpty()


def tells_of(row: Mapping[str, Any], commit: Commit) -> bool:
    """Tells whether a row of the ledger was written after this commit of its run."""
    if row["published_version"] is not None:
        return bool(row["published_version"] >= commit.version)
    # Version 0.1 did not write down the version.
    has_published = row["outcome"] in (Outcome.PUBLISHED, Outcome.ROLLED_BACK)
    return has_published or bool(row["finished_at"] >= commit.made_at)


def refuse_untold(tables: OutputTables, commits: Sequence[Commit]) -> None:
    """Raises ConfigError when the ledger does not know yet what one of these commits did.

    If such a run were taken back or dropped now, the ledger would say later that it published rows
    which are gone, or never say that it deleted some. Runs on the driver; a small query a run.
    """
    for commit in {c.run_id: c for c in commits if c.restored_to is None}.values():
        row = read_run(tables, str(commit.run_id))
        if row is None or not tells_of(row, commit):
            raise ConfigError(
                f"run '{commit.run_id}' published or deleted rows, and "
                f"{tables.name('enrichment_runs')} does not say so yet: it is still at work, or "
                f"was killed. Let it end, or {describe_ending(str(commit.run_id), row)}, before "
                "anything is taken back or dropped"
            )


def describe_ending(run_id: str, row: Mapping[str, Any] | None) -> str:
    """Returns how a run is ended that was killed after it had published something.

    `row` is the ledger's, of an earlier attempt. Where that waits for a person, the command is the
    one that asks about nothing: the product table may be another by now.
    """
    command = "jobs/enrich_catalog.py"
    if row is not None and row["outcome"] in _WAITING and row["enriched"]:
        reason = "" if row["outcome"] == Outcome.STAGED else ' --reason "..."'
        return f"publish what it has staged ({command} --publish-run {run_id}{reason})"
    return f"run it again ({command} --run-id {run_id}, on another day with its --run-date)"


def _is_success(row: Mapping[str, Any]) -> bool:
    """Tells whether a run came to its end, over the whole product table.

    Rows of an older version do not say of what they are: of the whole of it.
    """
    return row["outcome"] in SUCCEEDED and row["is_whole"] is not False


def _has_success() -> Column:
    """The same, asked of rows of the ledger in SQL."""
    return F.col("outcome").isin(*SUCCEEDED) & F.coalesce("is_whole", F.lit(True))


def _is_newer(on: str, at: str, attempt: Attempt) -> Column:
    run_date, started_at = attempt
    is_later = (F.col(on) > run_date) | ((F.col(on) == run_date) & (F.col(at) > started_at))
    return is_later & ~F.expr(is_to_come(on))
