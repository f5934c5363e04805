"""What people do first after an update, on tables that no run has brought up to date yet."""

import pytest
from fake_shop import Shop, products
from long_tests import in_full
from older_tables import create_old, create_old_ledger, publish_old, stage_old

from enrich.errors import ConfigError
from enrich.fake_engine import FakeEngineSpec
from enrich.spark.correction_jobs import read_last_labels
from enrich.spark.rollback import roll_back
from enrich.spark.settling import drop_staged_run
from enrich.spark.tables.maintenance import maintain_tables
from enrich.spark.tables.output_tables import open_published

pytestmark = [
    pytest.mark.spark,
    in_full,
]
LABELS = FakeEngineSpec().attributes


@pytest.fixture
def older(shop: Shop) -> Shop:
    create_old(shop)
    create_old_ledger(shop)
    return shop


def test_a_rollback_to_older_columns_ends_with_its_views_and_its_word_in_the_ledger(
    older: Shop,
) -> None:
    publish_old(older, "before", "p8")
    publish_old(older, "wrong", "p9")
    older.write(products())
    older.refresh(run_id="after")

    taken_back = roll_back(open_published(older.spark, older.database), "wrong", "trial")

    assert taken_back == ["wrong", "after"]
    assert sorted(older.table("product_attributes")["product_id"]) == ["old", "p8"]
    ledger = older.table("enrichment_runs").set_index("run_id")
    assert ledger["outcome"].to_dict() == {
        "before": "published",
        "wrong": "rolled_back",
        "after": "rolled_back",
    }
    assert ledger.loc["wrong", "reason"] == "with run wrong: trial"
    for view in ("product_attribute_values", "category_coverage", "attribute_changes"):
        older.table(view)
    assert older.refresh(run_id="next").counts["enriched"] == 6


def test_a_run_that_was_taken_back_first_thing_says_why(older: Shop) -> None:
    publish_old(older, "wrong", "p9")

    roll_back(open_published(older.spark, older.database), "wrong", "trial")

    ledger = older.table("enrichment_runs").set_index("run_id")
    assert ledger.loc["wrong", ["outcome", "reason"]].tolist() == [
        "rolled_back",
        "with run wrong: trial",
    ]


def test_what_an_older_version_staged_is_dropped_or_published_first_thing(older: Shop) -> None:
    stage_old(older, "bad", "p8")
    stage_old(older, "good", "p9")

    dropped = drop_staged_run(older.tables, "bad", "nonsense")
    published = older.publish_staged("good", "looked at it")

    assert (dropped.outcome, published.outcome) == ("dropped", "published")
    assert published.counts["carried"] == 0 and published.counts["published"] == 1
    ledger = older.table("enrichment_runs").set_index("run_id")
    assert ledger["reason"].to_dict() == {"bad": "nonsense", "good": "looked at it"}
    assert sorted(older.table("product_attributes")["product_id"]) == ["old", "p9"]


def test_tables_are_maintained_before_any_run(older: Shop) -> None:
    tables = open_published(older.spark, older.database)
    done = maintain_tables(tables, retention_hours=720, keep_staged_days=30)
    assert done["files_after"]["product_attributes"] == 1


def test_a_table_that_an_older_version_lacks_is_said_to_come_with_a_run(older: Shop) -> None:
    with pytest.raises(ConfigError, match="of a later version than the others"):
        read_last_labels(older.tables, LABELS)
