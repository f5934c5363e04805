"""Maintenance of the output tables (R11): compact files, delete unneeded rows.

Safe beside runs: Delta keeps files that younger readers may still need, and a run reads encodings
at one version.
"""

from datetime import datetime, timedelta
from typing import Any

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from schemas import tables as ddl
from schemas.tables import BROKEN, quote, quote_literal

from enrich.spark.rules import (
    KEEP_UNUSED_ENCODINGS,
    LONGEST_RUN,
    list_unneeded_candidates,
)
from enrich.spark.runs import complete_intents, read_runs, select_last_events
from enrich.spark.session import session_settings
from enrich.spark.tables import Tables, now, remove_old_folders, retried_on_conflict

# States of pictures without a size are written anew by each run that looks at them. A signed URL is
# another one each night.
_KEEP_UNSURE_STATES, _KEEP_SIGNED_STATES = timedelta(days=90), timedelta(days=7)
_SIGNATURE = r"(?i)^https?://.*[?&](x-\w+-)?(signature|sig|token)="
# Without these Delta 4.4 ignores RETAIN n HOURS, unless n is 0, and uses a table property.
_RESPECT_RETAIN = {
    "spark.databricks.delta.vacuum.retentionWindowIgnore.enabled": "false",
    "spark.databricks.delta.retentionDurationCheck.enabled": "false",
}


def maintain_tables(
    tables: Tables,
    *,
    retention_hours: int,
    keep_candidates_days: int,
    keep_history_days: int,
    temporary_folder: str | None = None,
) -> dict[str, Any]:
    """Compact every table, and delete rows and files that nothing refers to any more.

    Args:
        retention_hours: time travel and change data reach back at least this far. Below a week, a
            running job may lose files that it reads.
        keep_candidates_days: candidates of finished runs are kept for this time, and those of
            published runs as long as time travel reaches back too.
        keep_history_days: events of runs to which no row refers, checks, and rows of the product
            table that were broken are kept for this time.
        temporary_folder: the setting, where killed runs have left folders.

    Returns:
        Counts: `runs_removed` (runs whose candidates were deleted), `encodings_removed`,
        `image_states_removed`, `history_removed` (rows), `folders_removed`, and `files_before` and
        `files_after` by table.

    Raises:
        ConfigError: table run_events is missing.
    """
    tables.require("run_events")
    tables.create_missing(has_encodings=False)
    # Another database may hold them, and then maintains them.
    has_encodings = tables.exists("encodings")
    runs = complete_intents(tables, read_runs(tables))
    unneeded = list_unneeded_candidates(
        runs,
        now(),
        keep=timedelta(days=keep_candidates_days),
        retention=timedelta(hours=retention_hours),
    )
    done: dict[str, Any] = {
        "runs_removed": _delete_candidates(tables, unneeded),
        "encodings_removed": _delete_encodings(tables) if has_encodings else 0,
        "image_states_removed": _delete_image_states(tables) if has_encodings else 0,
        "history_removed": _delete_history(tables, now() - timedelta(days=keep_history_days)),
        "folders_removed": remove_old_folders(tables, LONGEST_RUN, temporary_folder),
    }
    tables.create_views()
    before, after = {}, {}
    for table in ddl.tables(tables.attributes):
        if table in ddl.SHARED and not has_encodings:
            continue
        before[table] = tables.describe(table)["numFiles"]
        _compact(tables, table, retention_hours)
        after[table] = tables.describe(table)["numFiles"]
    return done | {"files_before": before, "files_after": after}


@retried_on_conflict
def _compact(tables: Tables, table: str, retention_hours: int) -> None:
    """Join small files, and delete files of versions that are too old."""
    name = quote(tables.name(table))
    tables.spark.sql(f"OPTIMIZE {name}")
    with session_settings(tables.spark, _RESPECT_RETAIN):
        tables.spark.sql(f"VACUUM {name} RETAIN {int(retention_hours)} HOURS")


@retried_on_conflict
def _delete_candidates(tables: Tables, unneeded: list[str]) -> int:
    """Delete the candidates of runs; return the number of runs that had any."""
    candidates = tables.read("candidates").select("run_id").distinct()
    old = {row["run_id"] for row in candidates.collect()}.intersection(unneeded)
    if old:
        listed = ", ".join(map(quote_literal, sorted(old)))
        name = quote(tables.name("candidates"))
        tables.spark.sql(f"DELETE FROM {name} WHERE run_id IN ({listed})")
    return len(old)


@retried_on_conflict
def _delete_encodings(tables: Tables) -> int:
    """Delete encodings that no run will read again; return their number.

    These are encodings
    - of encoders that no run of the last 90 days has used,
    - of contents that neither a published row nor a young encoding has,
    - that are not the latest of their key.
    Young encodings that runs of other databases have written are kept.
    """
    cutoff, events = F.lit(now() - KEEP_UNUSED_ENCODINGS), tables.read("run_events")
    recent = events.where(F.col("at") > cutoff).select("encoder_version").distinct()
    versions = [row["encoder_version"] for row in recent.collect()]
    if not versions:
        return 0
    is_used = F.col("encoder_version").isin(versions) | F.col("_is_own").isNull()
    is_young = F.col("encoded_at") > cutoff
    own = events.select("run_id", F.lit(True).alias("_is_own")).distinct()
    published = tables.read("product_attributes").select("content_hash").distinct()
    keys = tables.read("encodings").select(
        "run_id", "content_hash", "encoder_version", "encoded_at"
    )
    latest = Window.partitionBy("encoder_version", "content_hash").orderBy(
        F.desc("encoded_at"), F.desc("run_id")
    )
    # Recent encodings may be of a live run, and are always kept.
    is_settled = F.col("encoded_at") < F.lit(now() - LONGEST_RUN)
    placed = keys.withColumn("_place", F.row_number().over(latest))
    placed = placed.join(own, "run_id", "left")
    placed = placed.join(published.withColumn("_is_published", F.lit(True)), "content_hash", "left")
    is_needed: Column = is_used & (F.col("_place") == 1) & (is_young | F.col("_is_published"))
    unneeded = placed.where(is_settled & ~F.coalesce(is_needed, F.lit(False)))
    return _delete_rows(
        tables, "encodings", unneeded.select("encoder_version", "run_id", "content_hash")
    )


@retried_on_conflict
def _delete_image_states(tables: Tables) -> int:
    """Delete states of pictures that no run will compare; return their number.

    These are all but the latest of a path, and latest ones that a run would have written anew.
    States are kept while a live run may have read them.
    """
    states = tables.read("images").select("path", "run_id", "looked_at", "size")
    latest = Window.partitionBy("path").orderBy(F.desc("looked_at"))

    def is_older(age: timedelta) -> Column:
        return F.col("looked_at") < F.lit(now() - age)

    is_unsure = F.col("size").isNull() & is_older(_KEEP_UNSURE_STATES)
    is_signed = F.col("path").rlike(_SIGNATURE) & is_older(_KEEP_SIGNED_STATES)
    placed = states.withColumn("_place", F.row_number().over(latest))
    is_replaced = is_older(LONGEST_RUN) & (F.col("_place") > 1)
    unneeded = placed.where(is_replaced | is_unsure | is_signed)
    return _delete_rows(tables, "images", unneeded.select("path", "run_id", "looked_at"))


@retried_on_conflict
def _delete_history(tables: Tables, before: datetime) -> int:
    """Delete what is only history, and older; return the number of rows.

    Findings about unreadable products stay, or each run would try these again. So do all events of
    runs with a younger one, that published a row, or whose candidates or findings are kept.
    """
    reasons = ", ".join(map(quote_literal, BROKEN))
    day, removed = quote_literal(before.date().isoformat()), 0
    for table, more in (("label_quality", ""), ("quarantine", f" AND reason IN ({reasons})")):
        name = quote(tables.name(table))
        done = tables.spark.sql(f"DELETE FROM {name} WHERE run_date < DATE {day}{more}")
        removed += int(done.collect()[0]["num_affected_rows"])
    last = select_last_events(tables.read("run_events"))
    runs = last.where(F.col("at") < F.lit(before)).select("run_id")
    for table in ("product_attributes", "candidates", "quarantine"):
        runs = runs.join(tables.read(table).select("run_id"), "run_id", "left_anti")
    return removed + _delete_rows(tables, "run_events", runs)


def _delete_rows(tables: Tables, table: str, keys: DataFrame) -> int:
    """Delete the rows of a table that have one of the keys; return their number."""
    keys = keys.distinct().persist()
    try:
        if keys.isEmpty():
            return 0
        same = " AND ".join(f"old.{name} = new.{name}" for name in keys.columns)
        done = tables.merge(table, keys, f"ON {same} WHEN MATCHED THEN DELETE")
        return int(done["num_deleted_rows"])
    finally:
        keys.unpersist()
