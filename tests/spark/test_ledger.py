"""The ledger's rows, as they are written and read."""

import time
from datetime import UTC, date, datetime

import pytest
from fake_shop import Shop, products
from long_tests import in_full
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from enrich.errors import ValidationFailed
from enrich.spark.ledger import describe_ending, has_newer_run, read_run, write_rows
from enrich.spark.publishing import with_attempt
from enrich.spark.records import Attempt
from enrich.spark.rollback import roll_back
from enrich.spark.tables.creation import create_table
from enrich.spark.tables.output_tables import OutputTables
from schemas.verdict import Verdict

# 1:30 of the second time in New York, where clocks go back at 6:00 UTC.
STARTED = datetime(2026, 11, 1, 6, 30, tzinfo=UTC)
ROW = {
    "run_id": "monday",
    "run_date": date(2026, 11, 26),
    "outcome": "published",
    "started_at": STARTED,
    "finished_at": STARTED,
    "catalog": "products",
    "catalog_version": "3",
    "model_version": "fake-1",
    **dict.fromkeys(("read", "pending", "enriched", "published"), 5),
    **dict.fromkeys(("unchanged", "quarantined", "withheld"), 0),
    "abstained": {"color": 2},
    "seconds": {"survey": 1.5},
}


def attempt_in_vain(shop: Shop, run_id: str, run_date: date) -> None:
    """Has a run stopped before it asks the classifier."""
    shop.write(products().assign(title="renamed"))
    with pytest.raises(ValidationFailed):
        shop.refresh(
            run_id=run_id,
            run_date=run_date,
            validate_input=lambda _: Verdict(failures=("no image can be read",)),
        )


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch):
    """A machine whose clock is not on UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_row_that_is_read_and_written_again_keeps_its_times(spark: SparkSession, elsewhere):
    tables = OutputTables(spark, "ledger_of_elsewhere", ("color",))
    spark.sql("CREATE DATABASE ledger_of_elsewhere")
    create_table(spark, "ledger_of_elsewhere", "enrichment_runs", ("color",))
    try:
        write_rows(tables, "enrichment_runs", [ROW], "monday")
        read = read_run(tables, "monday")
        assert read is not None
        assert read["started_at"] == STARTED
        of_the_run = with_attempt(spark.range(1), Attempt.of(read))
        enriched_at = F.unix_timestamp("enriched_at")
        assert of_the_run.select(enriched_at).first()[0] == STARTED.timestamp()
        write_rows(tables, "enrichment_runs", [read | {"outcome": "rolled_back"}], "monday")
        again = read_run(tables, "monday")
        assert again == read | {"outcome": "rolled_back"}
        assert (again["abstained"], again["seconds"]) == ({"color": 2}, {"survey": 1.5})
    finally:
        spark.sql("DROP DATABASE ledger_of_elsewhere CASCADE")


@in_full
def test_a_run_that_came_to_its_end_still_counts_when_it_is_tried_again_in_vain(shop: Shop):
    shop.refresh(run_id="nightly", run_date=date(2026, 11, 25))
    for _ in range(2):
        attempt_in_vain(shop, "nightly", date(2026, 11, 26))

    now = datetime.now(UTC)
    assert has_newer_run(shop.tables, Attempt(date(2026, 11, 24), now))
    assert not has_newer_run(shop.tables, Attempt(date(2026, 11, 25), now))


@in_full
def test_a_run_whose_findings_were_taken_back_does_not_count_however_its_last_attempt_ended(
    shop: Shop,
):
    shop.refresh(run_id="monday", run_date=date(2026, 11, 23))
    shop.refresh(run_id="tuesday", run_date=date(2026, 11, 24))
    attempt_in_vain(shop, "tuesday", date(2026, 11, 24))
    assert has_newer_run(shop.tables, Attempt(date(2026, 11, 23), datetime.now(UTC)))

    roll_back(shop.tables, "monday", "the images were of last year")

    assert not has_newer_run(shop.tables, Attempt(date(2026, 11, 20), datetime.now(UTC)))


@pytest.mark.parametrize(
    ("row", "ends"),
    [
        (None, "run it again (jobs/enrich_catalog.py --run-id monday, on another day with its"),
        (ROW, "--run-id monday"),
        (ROW | {"outcome": "staged"}, "(jobs/enrich_catalog.py --publish-run monday)"),
        (ROW | {"outcome": "blocked"}, "--publish-run monday --reason"),
        (ROW | {"outcome": "rolled_back"}, "--publish-run monday --reason"),
        # It was stopped before inference.
        (ROW | {"outcome": "blocked", "enriched": 0}, "--run-id monday"),
    ],
)
def test_a_run_that_was_killed_after_it_published_is_ended_by_the_command_that_it_waits_for(
    row: dict[str, object] | None, ends: str
) -> None:
    assert ends in describe_ending("monday", row)
