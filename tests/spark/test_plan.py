"""A dry run: says what the run then does, and leaves everything as it was."""

import dataclasses
import json
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from fake_shop import Shop, products
from faulty_engines import LostStoreSpec
from long_tests import is_long

from enrich.errors import NoAnswer, TooManyFailures
from enrich.spark.plan import plan_refresh
from enrich.spark.survey import take_survey
from enrich.spark.tables.output_tables import OutputTables

pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(not is_long(), reason="many small runs: make test-faults"),
]

TOMORROW = date(2026, 11, 25)


def files_of(shop: Shop) -> set[str]:
    warehouse = Path(shop.spark.conf.get("spark.sql.warehouse.dir").removeprefix("file:"))
    return {str(file) for file in warehouse.rglob("*") if shop.database in str(file)}


def test_dry_run_without_a_database_counts_all_as_new_and_creates_nothing(shop: Shop) -> None:
    plan = plan_refresh(shop.prepare())

    assert (plan.counts["read"], plan.counts["pending"]) == (6, 6)
    assert plan.reasons == {"pending": {"new": 6}, "quarantined": {}}
    assert (plan.expected_seconds, plan.expected_from) == (None, None)
    assert not shop.spark.catalog.databaseExists(shop.database)
    assert files_of(shop) == set()
    assert json.loads(json.dumps(dataclasses.asdict(plan)))["outcome"] == "dry_run"
    assert shop.refresh().run_id == plan.run_id


def test_a_dry_run_over_a_table_that_is_replaced_under_way_tells_no_counts(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def survey_meanwhile(*args: object) -> object:
        survey = take_survey(*args)
        shop.write(products(7))
        return survey

    monkeypatch.setattr("enrich.spark.plan.take_survey", survey_meanwhile)
    with pytest.raises(NoAnswer, match="was replaced while it was read: run this again"):
        plan_refresh(shop.prepare())


def test_dry_run_says_what_the_run_then_does(shop: Shop) -> None:
    table = products(8).assign(department="shirts")
    table.loc[0, "title"] = None
    shop.write(table)
    with_category = {"columns": {"category": "department"}, "missing_products": "delete"}
    generous = {**with_category, "max_deleted_share": 0.5}
    first = shop.refresh(config=generous)
    table.loc[1, "title"] = "a red shirt"
    table.loc[2, "department"] = "coats"
    broken = pd.DataFrame(
        {"product_id": [None, "p3", "late"], "title": ["no id", "shirt number 3, a twin", "new"]}
    ).astype("string")
    shop.write(pd.concat([table.drop(index=4), broken]))
    before = files_of(shop)

    plan = plan_refresh(shop.prepare(config=generous, run_date=TOMORROW))

    assert files_of(shop) == before
    assert plan.counts == {
        "read": 10,
        "pending": 3,
        "carried": 1,
        "unchanged": 4,
        "quarantined": 3,
        "vanished": 1,
        "deleted": 1,
    }
    assert plan.reasons == {
        "pending": {"new": 1, "changed": 1, "carried": 1},
        "quarantined": {"unreadable_before": 1, "null_id": 1, "duplicate_id": 1},
    }
    assert plan.expected_from is not None and plan.expected_seconds is not None
    assert plan.expected_from["run_id"] == first.run_id
    assert plan.expected_from["products"] == 8
    summary = shop.refresh(config=generous, run_date=TOMORROW)
    assert summary.run_id == plan.run_id
    assert {name: summary.counts[name] for name in plan.counts} == plan.counts


def test_what_was_asked_in_vain_is_asked_again_with_a_text_and_without(shop: Shop) -> None:
    table = products(3)
    table.loc[:1, "image_path"] = "shirt.jpg"
    table.loc[0, "title"] = None
    shop.write(table)
    (shop.folder / "shirt.jpg").write_bytes(b"a shirt")
    down = shop.folder / "down"
    down.touch()
    shop.refresh(spec=LostStoreSpec("lost-1", down=down))
    assert shop.table("quarantine")["product_id"].tolist() == ["p0"]

    same = shop.prepare(spec=LostStoreSpec("lost-1", down=down), run_date=TOMORROW)
    other = shop.prepare(spec=LostStoreSpec("lost-2", down=down), run_date=TOMORROW)

    assert plan_refresh(same).reasons["pending"] == {"image_unreadable": 2}
    assert plan_refresh(other).reasons["pending"] == {"new": 1, "other_model_or_full_refresh": 2}


def test_dry_run_says_what_would_stop_the_run(shop: Shop) -> None:
    delete = {"missing_products": "delete", "max_deleted_share": 0.1}
    shop.refresh()
    changed = products(3).assign(title="a new title", image_path=["a.jpg", "b.jpg", None])
    (shop.folder / "a.jpg").write_bytes(b"read, but not decoded")
    shop.write(changed)

    plan = plan_refresh(shop.prepare(config=delete))

    assert plan.error is not None and "max_deleted_share" in plan.error
    assert (plan.counts["vanished"], plan.counts["deleted"]) == (3, 0)
    assert (plan.images["tried"], plan.images["read"]) == (2, 1)
    assert plan.images["problem"].startswith("b.jpg: image_missing")
    with pytest.raises(TooManyFailures, match="max_deleted_share"):
        shop.refresh(config=delete)


def test_dry_run_when_nothing_is_to_be_done_expects_a_survey(shop: Shop) -> None:
    shop.refresh()

    plan = plan_refresh(shop.prepare())

    assert (plan.counts["pending"], plan.counts["unchanged"]) == (0, 6)
    assert plan.expected_seconds == plan.seconds["survey"]


def test_expected_time_follows_the_run_of_the_nearest_size(shop: Shop) -> None:
    shop.tables.create_missing()
    ledger = "run_id, run_date, outcome, started_at, finished_at, catalog, catalog_version, "
    ledger += "model_version, read, pending, carried, enriched, published, unchanged, quarantined, "
    ledger += "withheld, seconds"
    runs = {
        # outcome, model, pending, carried, inference_s, publish_s
        "small": ("published", "fake-1", 10, 0, 5, 2),
        "large": ("blocked", "fake-1", 1100, 100, 10, 30),
        "unfinished": ("failed", "fake-1", 600, 0, 0.1, 1),
        "other": ("published", "fake-0", 600, 0, 600, 1),
    }
    for run_id, (outcome, model, pending, carried, inference_s, publish_s) in runs.items():
        shop.sql(
            f"""INSERT INTO shop.enrichment_runs ({ledger}) VALUES ('{run_id}', date'2026-01-01',
            '{outcome}', timestamp'2026-01-01 00:00:00', timestamp'2026-01-01 00:01:00', 'c', 'v',
            '{model}', 0, {pending}, {carried}, 0, 0, 0, 0, 0,
            map('survey', 50D, 'inference', {inference_s}D, 'publish', {publish_s}D))"""
        )
    shop.write(products(600))

    plan = plan_refresh(shop.prepare())

    assert plan.expected_from == {
        "run_id": "large",
        "model_version": "fake-1",
        "products": 1000,
        "products_per_second": 100.0,
    }
    # 600 products at 100 a second, the other stages as then, and this survey instead of that one.
    assert plan.expected_seconds == pytest.approx(plan.seconds["survey"] + 6 + 30, abs=0.1)
    other = plan_refresh(shop.prepare(model_version="fake-0"))
    assert other.expected_from is not None and other.expected_from["run_id"] == "other"
    unknown = plan_refresh(shop.prepare(model_version="fake-9"))
    assert unknown.expected_from is not None


def test_a_run_that_went_on_tells_of_what_its_last_attempt_asked(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.write(products(40))
    with monkeypatch.context() as broken:
        broken.setattr(OutputTables, "publish", _fails)
        with pytest.raises(OSError, match="gone"):
            shop.refresh(run_id="one")
    shop.sql("DELETE FROM shop.staged_attributes WHERE product_id > 'p3'")
    left = len(shop.table("staged_attributes"))
    assert shop.refresh(run_id="one").counts["pending"] == 40
    row = shop.table("enrichment_runs").iloc[0]
    assert (row["pending"], row["asked"]) == (40, 40 - left)
    plan = plan_refresh(shop.prepare(run_id="two", full_refresh=True))
    assert plan.expected_from is not None and plan.expected_from["products"] == 40 - left


def _fails(*_: object, **__: object) -> None:
    raise OSError("gone")


def test_what_a_run_has_staged_already_takes_no_time(shop: Shop) -> None:
    first = shop.refresh(publish=False)

    plan = plan_refresh(shop.prepare(publish=False))

    assert (plan.run_id, plan.staged) == (first.run_id, 6)
    # The ledger's own stage ends after its row is written.
    not_repeated = ("survey", "inference", "ledger")
    others = sum(s for stage, s in first.seconds.items() if stage not in not_repeated)
    assert plan.expected_seconds == pytest.approx(plan.seconds["survey"] + others, abs=0.2)


def test_full_refresh_asks_about_everything_again(shop: Shop) -> None:
    shop.refresh()

    plan = plan_refresh(shop.prepare(full_refresh=True))

    assert plan.reasons["pending"] == {"other_model_or_full_refresh": 6}


def test_dry_run_on_tables_of_an_older_version_changes_none(shop: Shop) -> None:
    shop.refresh()
    for column in ("corrections", "product_category"):
        shop.sql(
            "ALTER TABLE shop.product_attributes SET TBLPROPERTIES "
            "('delta.columnMapping.mode' = 'name')"
        )
        shop.sql(f"ALTER TABLE shop.product_attributes DROP COLUMN {column}")
    version = shop.version("product_attributes")

    plan = plan_refresh(shop.prepare())

    assert plan.counts["unchanged"] == 6
    assert shop.version("product_attributes") == version
