"""Maintenance: what goes, and what a later command still needs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from prepared_shop import BETTER, Start, rolled_back
from shop import Shop, products

from enrich.engine.fake_engine import FakeEngineSpec

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


def test_what_nobody_reads_goes_and_published_rows_and_views_stay(published_shop: Shop) -> None:
    shop, old = published_shop, published_shop.summary.run_id
    shop.write(products(mark=" b"))
    waiting = shop.refresh(publish=False).run_id
    age(shop, 100)
    shop.write(products(mark=" c"))
    # It says that the encoder is in use.
    young = shop.refresh().run_id
    folders = Path(shop.tables.location().removeprefix("file:")) / "_temporary_runs"
    (folders / "20200101T000000-killed").mkdir(parents=True)
    (folders / "29990101T000000-alive").mkdir()
    before = shop.table("product_attributes").sort_values("product_id").to_dict("records")

    done = shop.maintain()

    assert runs_with_candidates(shop) == {waiting, young}
    assert old not in runs_with_candidates(shop) and done["runs_removed"] == 1
    # Those of contents that neither a published row nor a young encoding has.
    assert done["encodings_removed"] == 12
    assert set(shop.table("encodings")["run_id"]) == {young}
    assert done["folders_removed"] == 1
    assert [folder.name for folder in folders.iterdir()] == ["29990101T000000-alive"]
    after = shop.table("product_attributes").sort_values("product_id").to_dict("records")
    assert str(after) == str(before)
    assert len(shop.table("attribute_changes")) > 0
    summary = shop.refresh(spec=FakeEngineSpec(model_version="fake-2"))
    assert (summary.counts["encoded"], summary.counts["reused"]) == (0, 6)


def test_candidates_that_say_what_is_held_back_stay_while_their_checkpoint_is_in_use(
    open_shop: Callable[[Start], Shop],
) -> None:
    shop = open_shop(rolled_back)
    wrong = shop.summary.run_id
    age(shop, 40)
    shop.refresh(spec=BETTER)
    shop.maintain()
    assert wrong in runs_with_candidates(shop)
    age(shop, 40)
    shop.refresh()
    shop.maintain()
    assert wrong not in runs_with_candidates(shop)


def test_maintenance_without_tables_is_refused(bare_shop: Shop) -> None:
    with pytest.raises(Exception, match="missing"):
        bare_shop.maintain()
