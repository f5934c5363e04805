"""Maintenance joins small files, and makes missing tables; test_views.py sees what it keeps."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from fake_shop import Shop

from enrich.errors import ConfigError
from enrich.spark.tables.maintenance import maintain_tables

pytestmark = pytest.mark.spark


def test_small_files_are_joined_and_tables_that_were_dropped_made_anew(shop: Shop) -> None:
    shop.tables.create_missing()
    for run in ("monday", "tuesday"):
        shop.sql(
            "INSERT INTO shop.quarantine (reason, content_hash, model_version, run_id, run_date) "
            f"VALUES ('null_id', 'hash', 'fake-1', '{run}', DATE'2026-11-24')"
        )
    for product in ("p0", "p1"):
        shop.sql(
            "INSERT INTO shop.staged_attributes "
            "(product_id, status, content_hash, model_version, run_id, run_date, enriched_at) "
            f"VALUES ('{product}', 'ok', 'hash', 'fake-1', 'at-work', DATE'2026-11-24', now())"
        )
    for table in ("label_quality", "attribute_corrections"):
        shop.sql(f"DROP TABLE shop.{table}")
    scratch = Path(shop.tables.location().removeprefix("file:")) / "_scratch"
    for made_at in ("20200131T120000", f"{datetime.now(UTC):%Y%m%dT%H%M%S}"):
        (scratch / f"{made_at}-of-a-run").mkdir(parents=True)

    done = maintain_tables(shop.tables, retention_hours=168, keep_staged_days=1)

    assert done["files_before"]["quarantine"] > done["files_after"]["quarantine"] == 1
    assert done["staged_runs_removed"] == 0
    # The run that is at work would take it for another process that stages the same.
    assert done["files_after"]["staged_attributes"] == 2
    assert done["scratch_removed"] == 1
    assert [folder.name for folder in scratch.iterdir()] == [f"{made_at}-of-a-run"]
    assert set(done["files_after"]) == {
        "product_attributes",
        "staged_attributes",
        "quarantine",
        "enrichment_runs",
        "label_quality",
        "attribute_corrections",
    }


def test_staged_rows_are_left_alone_while_no_ledger_says_whose_they_are(shop: Shop) -> None:
    shop.tables.create_missing()
    shop.sql(
        "INSERT INTO shop.staged_attributes "
        "(product_id, status, content_hash, model_version, run_id, run_date, enriched_at) VALUES "
        "('p0', 'ok', 'hash', 'fake-1', 'published', DATE'2020-01-01', TIMESTAMP'2020-01-01')"
    )
    shop.sql("DROP TABLE shop.enrichment_runs")

    # Also by the second call: a ledger that was made anew would know of no run.
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"no table .*enrichment_runs: dropped, or"):
            maintain_tables(shop.tables, retention_hours=168, keep_staged_days=1)

    assert set(shop.table("staged_attributes")["run_id"]) == {"published"}
