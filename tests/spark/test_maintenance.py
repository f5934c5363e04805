"""Maintenance: what goes, and what a later command still needs."""

from pathlib import Path

import pytest
from shop import Shop, products

from enrich.engine.fake_engine import FakeEngineSpec
from enrich.spark import maintenance

AGED = {
    "run_events": ("at", "started_at"),
    "encodings": ("encoded_at",),
    "candidates": ("enriched_at",),
}


def age(shop: Shop, days: int, where: str = "true") -> None:
    """Let rows be as old as if they had been written so many days earlier."""
    for table, moments in AGED.items():
        for moment in moments:
            shop.spark.sql(
                f"UPDATE {shop.database}.{table} SET {moment} = {moment} - INTERVAL {days} DAYS "
                f"WHERE {where}"
            )


def runs_with_candidates(shop: Shop) -> set[str]:
    return set(shop.sql("SELECT DISTINCT run_id FROM shop.candidates")["run_id"])


@pytest.fixture(autouse=True)
def no_compaction(monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes nothing that stands in a table, and takes seconds."""
    monkeypatch.setattr(maintenance, "_compact", lambda *_: None)


def test_candidates_of_waiting_and_young_runs_stay_and_old_ones_go(published_shop: Shop) -> None:
    shop = published_shop
    shop.write(products(mark=" b"))
    superseded = shop.refresh(publish=False).run_id
    shop.write(products(mark=" c"))
    shop.refresh()
    shop.write(products(mark=" d"))
    waiting = shop.refresh(publish=False).run_id
    age(shop, 40)
    shop.write(products(mark=" e"))
    limited = shop.refresh(limit=2).run_id
    assert superseded in runs_with_candidates(shop)
    done = shop.maintain()
    assert runs_with_candidates(shop) == {waiting, limited}
    assert done["runs_removed"] == 3


def test_candidates_that_say_what_is_held_back_stay_while_their_checkpoint_is_in_use(
    shop: Shop,
) -> None:
    shop.refresh(spec=FakeEngineSpec(model_version="a-p90"))
    wrong = shop.refresh(spec=FakeEngineSpec(model_version="b-p90")).run_id
    shop.roll_back(wrong)
    age(shop, 40)
    shop.refresh(spec=FakeEngineSpec(model_version="b-p90"))
    shop.maintain()
    assert wrong in runs_with_candidates(shop)
    age(shop, 40)
    shop.refresh(spec=FakeEngineSpec(model_version="a-p90"))
    shop.maintain()
    assert wrong not in runs_with_candidates(shop)


def test_encodings_that_nobody_reads_go_and_published_contents_stay(published_shop: Shop) -> None:
    shop = published_shop
    shop.write(products(mark=" new"))
    shop.refresh()
    age(shop, 100)
    # A run of today says that the encoder is in use.
    shop.refresh()
    assert shop.maintain()["encodings_removed"] == 6
    assert len(shop.table("encodings")) == 6
    summary = shop.refresh(spec=FakeEngineSpec(model_version="fake-2"))
    assert (summary.counts["encoded"], summary.counts["reused"]) == (0, 6)


def test_folders_of_killed_runs_go_after_a_week(published_shop: Shop) -> None:
    shop = published_shop
    parent = Path(shop.tables.database_folder().removeprefix("file:")) / "_temporary_runs"
    (parent / "20200101T000000-killed").mkdir(parents=True)
    (parent / "29990101T000000-alive").mkdir()
    assert shop.maintain()["folders_removed"] == 1
    assert [folder.name for folder in parent.iterdir()] == ["29990101T000000-alive"]


def test_maintenance_without_tables_is_refused(bare_shop: Shop) -> None:
    with pytest.raises(Exception, match="missing"):
        bare_shop.maintain()
