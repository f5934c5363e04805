"""What becomes of published rows whose product is no longer in the product table."""

import re
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from commit_hook import CommitHook
from delta.exceptions import ConcurrentAppendException
from delta.tables import DeltaTable
from fake_shop import FakeGate, Shop, fails, passes, products
from long_tests import in_full

from enrich.errors import ConfigError, TooManyFailures, ValidationFailed
from enrich.spark.plan import plan_refresh
from enrich.spark.records import RunSummary, StagedRows
from enrich.spark.rollback import roll_back
from enrich.spark.run import Refresh
from enrich.spark.settling import drop_staged_run
from enrich.spark.source import Source, open_source
from schemas.verdict import Verdict

pytestmark = [
    pytest.mark.spark,
    in_full,
]

PRODUCTS_SCHEMA = "product_id STRING, title STRING, description STRING, image_path STRING"
DELETE = {"missing_products": "delete", "max_deleted_share": 0.5}


def publish(shop: Shop, run_id: str, **settings: float) -> RunSummary:
    """Publishes a staged run as the main job does where vanished products are deleted."""
    return shop.publish_staged(run_id, config=DELETE | settings)


@pytest.fixture
def smaller(shop: Shop) -> Shop:
    """A shop that published six products and now has four."""
    shop.refresh()
    shop.write(products(4))
    return shop


def test_vanished_products_are_counted_and_kept_by_default(smaller: Shop) -> None:
    counts = smaller.refresh().counts

    assert (counts["read"], counts["unchanged"]) == (4, 4)
    assert (counts["vanished"], counts["deleted"]) == (2, 0)
    assert len(smaller.table("product_attributes")) == 6


def test_an_empty_product_table_is_no_night_with_nothing_to_do(smaller: Shop) -> None:
    smaller.write(products(4))
    smaller.refresh(run_id="done")
    smaller.write(products(0))
    for run_id in (None, "again", "again", "done"):
        with pytest.raises(TooManyFailures, match="has no row, and 6 products are published"):
            smaller.refresh(run_id=run_id)
    assert (smaller.table("enrichment_runs")["outcome"] == "blocked").sum() >= 3
    wanted = DELETE | {"max_deleted_share": 1.0}
    assert smaller.refresh(run_id="closed", config=wanted).counts["deleted"] == 6


def test_an_empty_product_table_of_a_past_day_is_no_success_either(smaller: Shop) -> None:
    smaller.write(products(0))
    past = {"run_date": date(2026, 11, 1)}

    with pytest.raises(TooManyFailures, match="has no row, and 6 products are published"):
        smaller.refresh(**past)
    planned = plan_refresh(smaller.prepare(**past)).error
    assert planned is not None and "6 products are published" in planned
    assert smaller.refresh(**past, limit=3).outcome == "nothing_to_do"


def test_vanished_products_are_deleted_where_configured(smaller: Shop) -> None:
    summary = smaller.refresh(config=DELETE)

    assert summary.outcome == "published"
    assert (summary.counts["vanished"], summary.counts["deleted"]) == (2, 2)
    left = smaller.table("product_attributes")["product_id"]
    assert sorted(left) == ["p0", "p1", "p2", "p3"]
    ledger = smaller.table("enrichment_runs").set_index("run_id").loc[summary.run_id]
    assert (ledger["vanished"], ledger["deleted"]) == (2, 2)
    again = smaller.refresh(config=DELETE)
    assert (again.outcome, again.counts["vanished"]) == ("nothing_to_do", 0)


def test_a_trial_run_deletes_nothing(smaller: Shop) -> None:
    counts = smaller.refresh(config=DELETE, limit=2).counts

    assert (counts["vanished"], counts["deleted"]) == (0, 0)
    assert len(smaller.table("product_attributes")) == 6


def test_a_run_that_only_stages_leaves_deleting_to_who_publishes_it(smaller: Shop) -> None:
    staged = smaller.refresh(config=DELETE, publish=False)

    assert (staged.outcome, staged.counts["vanished"], staged.counts["deleted"]) == ("staged", 2, 0)
    assert len(smaller.table("product_attributes")) == 6

    published = publish(smaller, staged.run_id)
    assert (published.outcome, published.counts["deleted"]) == ("published", 2)
    left = smaller.table("product_attributes")["product_id"]
    assert sorted(left) == ["p0", "p1", "p2", "p3"]
    assert publish(smaller, staged.run_id).counts == published.counts


def test_a_staged_run_deletes_nothing_once_the_product_table_is_another(smaller: Shop) -> None:
    staged = smaller.refresh(config=DELETE, publish=False)
    smaller.write(products(1))

    assert publish(smaller, staged.run_id).counts["deleted"] == 0
    assert len(smaller.table("product_attributes")) == 6


@pytest.mark.parametrize("lost", [None, "commit", "files"])
def test_a_delta_table_that_goes_on_being_written_is_looked_up_as_the_staged_run_read_it(
    shop: Shop, lost: str | None
) -> None:
    def write(rows: pd.DataFrame) -> None:
        frame = shop.spark.createDataFrame(rows.astype(object), PRODUCTS_SCHEMA)
        frame.write.format("delta").mode("overwrite").save(str(shop.file))

    shop.file = shop.folder / "products_delta"
    write(products())
    shop.refresh()
    write(products(4))
    staged = shop.refresh(config=DELETE, publish=False)
    write(products(1))
    commit = shop.file / "_delta_log" / f"{1:020}.json"
    if lost == "commit":
        commit.unlink()
    if lost == "files":
        for name in re.findall(r'"add":{"path":"([^"]+)"', commit.read_text()):
            (shop.file / name).unlink()

    assert publish(shop, staged.run_id).counts["deleted"] == (0 if lost else 2)
    assert len(shop.table("product_attributes")) == (6 if lost else 4)


def test_what_is_written_over_the_product_table_while_a_staged_run_is_published_deletes_no_more(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.refresh()
    shop.write_csv(*(f"p{number},renamed,," for number in range(5)))
    staged = shop.refresh(config=DELETE, publish=False)
    begin_export = partial(shop.write_csv, "p0,renamed,,")
    CommitHook(monkeypatch).at("before", begin_export, of=("publish",))

    assert publish(shop, staged.run_id).counts["deleted"] == 1

    left = shop.table("product_attributes")["product_id"]
    assert sorted(left) == ["p0", "p1", "p2", "p3", "p4"]


def test_a_product_table_that_is_replaced_while_deletions_are_looked_up_deletes_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.refresh()
    shop.write_csv(*(f"p{number},shirt number {number},," for number in range(5)))
    staged = shop.refresh(config=DELETE, publish=False)

    def open_and_begin_export(*arguments: Any) -> Source:
        catalog = open_source(*arguments)
        shop.write_csv(*(f"p{number},shirt number {number},," for number in range(4)))
        return catalog

    monkeypatch.setattr("enrich.spark.vanished.open_source", open_and_begin_export)

    assert publish(shop, staged.run_id).counts["deleted"] == 0
    assert len(shop.table("product_attributes")) == 6


def test_a_staged_run_is_not_published_if_too_much_is_gone_by_then(smaller: Shop) -> None:
    staged = smaller.refresh(config=DELETE, publish=False)

    with pytest.raises(TooManyFailures, match=r"2 published products .* 4 rows: 33\.3%"):
        publish(smaller, staged.run_id, max_deleted_share=0.3)
    assert len(smaller.table("product_attributes")) == 6


def test_a_product_table_that_looks_cut_off_deletes_nothing(smaller: Shop) -> None:
    with pytest.raises(TooManyFailures, match=r"2 published products .* 4 rows: 33\.3%"):
        smaller.refresh(config=DELETE | {"max_deleted_share": 0.3})

    assert len(smaller.table("product_attributes")) == 6
    assert smaller.table("enrichment_runs")["outcome"].tolist().count("blocked") == 1


def test_a_backfill_deletes_nothing_that_a_newer_run_published(smaller: Shop) -> None:
    counts = smaller.refresh(config=DELETE, run_date=date(2026, 11, 20)).counts

    assert (counts["vanished"], counts["deleted"]) == (0, 0)
    assert len(smaller.table("product_attributes")) == 6


def test_of_two_runs_of_one_day_the_older_deletes_nothing(shop: Shop) -> None:
    shop.refresh()
    whole, shop.file = shop.file, shop.folder / "cut_off.parquet"
    shop.write(products(4))
    older = shop.prepare(config=DELETE, run_id="older")
    shop.file = whole
    shop.refresh(config=DELETE, run_id="newer")

    counts = Refresh(older, FakeGate()).run().counts

    assert (counts["vanished"], counts["deleted"]) == (2, 0)
    assert len(shop.table("product_attributes")) == 6


def _publish_beside_a_newer_run(
    shop: Shop, commits: CommitHook, when: str, newer_reads: Path, by_hand: bool
) -> RunSummary:
    """Publishes a run before or after whose MERGE a newer one ends, of another product table."""
    if by_hand:
        shop.refresh(config=DELETE, run_id="older", publish=False)

    def run_newer() -> None:
        shop.file = newer_reads
        shop.refresh(run_date=date(2026, 11, 25), config=DELETE)

    commits.at(when, run_newer, of=("publish",))
    return publish(shop, "older") if by_hand else shop.refresh(config=DELETE, run_id="older")


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_a_newer_run_finds_while_an_older_one_publishes_is_not_deleted(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    shop.refresh(run_date=date(2026, 11, 20))
    whole, cut_off = shop.file, shop.folder / "cut_off.parquet"
    shop.file = cut_off
    shop.write(products(4).assign(title="renamed"))

    older = _publish_beside_a_newer_run(shop, CommitHook(monkeypatch), "after", whole, by_hand)

    counts = older.counts
    assert (counts["published"], counts["vanished"], counts["deleted"]) == (4, 2, 0)
    assert len(shop.table("product_attributes")) == 6


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_a_newer_run_finds_is_not_deleted_by_an_older_one_that_begins_anew_after_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    shop.refresh(run_date=date(2026, 11, 20))
    whole, shop.file = shop.file, shop.folder / "cut_off.parquet"
    shop.write(products(4))
    if by_hand:
        shop.refresh(config=DELETE, run_id="older", publish=False)
    merge = DeltaTable.merge

    def lose_to_a_newer_run(*_: Any) -> None:
        monkeypatch.setattr(DeltaTable, "merge", merge)
        shop.file = whole
        shop.refresh(run_date=date(2026, 11, 25), config=DELETE)
        raise ConcurrentAppendException("a newer run was faster")

    monkeypatch.setattr(DeltaTable, "merge", lose_to_a_newer_run)

    older = publish(shop, "older") if by_hand else shop.refresh(config=DELETE, run_id="older")

    assert (older.counts["vanished"], older.counts["deleted"]) == (2, 0)
    assert len(shop.table("product_attributes")) == 6


@pytest.mark.parametrize("by_hand", [False, True])
def test_what_a_newer_run_no_longer_finds_is_not_brought_back_by_an_older_one_that_goes_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    shop.write(products(4))
    shop.refresh(run_date=date(2026, 11, 20))
    today, shop.file = shop.file, shop.folder / "of_before.parquet"
    shop.write(products(6))

    older = _publish_beside_a_newer_run(shop, CommitHook(monkeypatch), "before", today, by_hand)

    assert (older.counts["published"], older.counts["withheld"]) == (0, 2)
    assert len(shop.table("product_attributes")) == 4


def test_of_two_runs_of_one_day_the_older_brings_nothing_back(shop: Shop) -> None:
    shop.write(products(8))
    shop.refresh(config=DELETE, run_id="older", publish=False)
    shop.write(products(6))
    shop.refresh(config=DELETE, run_id="newer")

    counts = publish(shop, "older").counts

    assert (counts["published"], counts["withheld"]) == (0, 8)
    assert len(shop.table("product_attributes")) == 6


def test_a_row_that_a_newer_run_published_meanwhile_is_not_deleted(smaller: Shop) -> None:
    rows = smaller.tables.read("product_attributes").where("product_id IN ('p4', 'p5')")
    older = rows.select("product_id", "run_date", "enriched_at").toPandas()
    smaller.sql(
        "UPDATE shop.product_attributes SET enriched_at = enriched_at + INTERVAL 1 SECOND "
        "WHERE product_id = 'p4'"
    )
    stale = smaller.spark.createDataFrame(older)

    assert smaller.tables.delete_published(lambda: stale, "older") == 1

    assert "p4" in set(smaller.table("product_attributes")["product_id"])


def test_a_run_that_was_killed_after_it_deleted_says_so_when_it_is_run_again(
    smaller: Shop,
) -> None:
    first = smaller.refresh(config=DELETE)
    smaller.sql(f"DELETE FROM shop.enrichment_runs WHERE run_id = '{first.run_id}'")

    again = smaller.refresh(config=DELETE)

    assert (again.run_id, again.outcome) == (first.run_id, "published")
    assert again.counts == first.counts


def test_a_run_that_was_killed_after_it_only_deleted_cannot_be_dropped(
    smaller: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    smaller.write(products(7))
    with pytest.raises(ValidationFailed):
        smaller.refresh(fails, run_id="nightly", config=DELETE)
    smaller.write(products(4))
    with CommitHook(monkeypatch).killed_after("delete_published"):
        smaller.refresh(run_id="nightly", config=DELETE)

    with pytest.raises(ConfigError, match=r"'nightly' published or deleted rows, and .* run it a"):
        drop_staged_run(smaller.tables, "nightly", "a mistake")
    assert smaller.refresh(run_id="nightly", config=DELETE).counts["deleted"] == 2


def test_a_publishing_that_was_killed_after_it_deleted_says_so_when_it_is_repeated(
    smaller: Shop,
) -> None:
    staged = smaller.refresh(config=DELETE, publish=False)
    publish(smaller, staged.run_id)
    smaller.sql(
        f"UPDATE shop.enrichment_runs SET outcome = 'staged', deleted = 0 "
        f"WHERE run_id = '{staged.run_id}'"
    )

    assert publish(smaller, staged.run_id).counts["deleted"] == 2


def test_a_backfill_deletes_nothing_that_a_newer_run_found_as_it_was(shop: Shop) -> None:
    shop.refresh(run_date=date(2026, 11, 1))
    shop.refresh(run_date=date(2026, 11, 3))
    shop.write(products(4))

    counts = shop.refresh(config=DELETE, run_date=date(2026, 11, 2)).counts

    assert (counts["vanished"], counts["deleted"]) == (2, 0)
    assert len(shop.table("product_attributes")) == 6


def test_a_backfill_does_not_bring_back_what_a_newer_run_deleted(smaller: Shop) -> None:
    smaller.refresh(config=DELETE)
    smaller.write(products(6))

    past = {"config": DELETE, "run_date": date(2026, 11, 1)}
    counts = smaller.refresh(**past, run_id="backfill").counts
    assert (counts["enriched"], counts["published"], counts["withheld"]) == (2, 0, 2)
    version = smaller.version("product_attributes")
    again = smaller.refresh(**past, run_id="backfill")
    assert again.outcome == "nothing_to_do"
    assert smaller.version("product_attributes") == version

    staged = smaller.refresh(**past, run_id="staged", publish=False)
    settled = publish(smaller, staged.run_id).counts
    assert (settled["published"], settled["withheld"]) == (0, 2)
    assert len(smaller.table("product_attributes")) == 4


def test_a_later_trial_run_keeps_no_new_product_out(smaller: Shop) -> None:
    smaller.write(products(8))
    staged = smaller.refresh(config=DELETE, publish=False)
    smaller.refresh(config=DELETE, run_date=date(2026, 11, 30), limit=1)

    assert publish(smaller, staged.run_id).counts["published"] == 2


def test_publishing_a_staged_run_deletes_what_a_run_by_a_wrong_clock_has_published(
    shop: Shop,
) -> None:
    shop.refresh(run_id="wrong-clock", run_date=date(2999, 1, 1))
    shop.write(products(4))
    staged = shop.refresh(config=DELETE, publish=False)
    assert (staged.outcome, staged.counts["vanished"]) == ("staged", 2)

    assert publish(shop, staged.run_id).counts["deleted"] == 2

    assert len(shop.table("product_attributes")) == 4


def test_a_run_that_ends_during_a_backfill_s_inference_saves_its_rows(shop: Shop) -> None:
    shop.refresh(run_date=date(2026, 11, 1))
    shop.write(products(7).drop(index=0))

    def meanwhile(staged: StagedRows) -> Verdict:
        shop.write(products(6))
        shop.refresh(run_date=date(2026, 11, 3), run_id="newer")
        return passes(staged)

    counts = shop.refresh(meanwhile, config=DELETE, run_date=date(2026, 11, 2)).counts

    assert (counts["vanished"], counts["deleted"]) == (1, 0)
    assert "p0" in set(shop.table("product_attributes")["product_id"])


def test_a_run_that_is_taken_back_during_a_backfill_s_inference_lets_no_cut_off_table_delete(
    shop: Shop,
) -> None:
    shop.refresh(run_date=date(2026, 11, 1))
    shop.write(products(7))
    shop.refresh(run_date=date(2026, 11, 3), run_id="newer")
    cut_off = products(2)
    cut_off.loc[0, "title"] = "a red shirt"
    shop.write(cut_off)

    def meanwhile(staged: StagedRows) -> Verdict:
        # From here on the backfill is the newest run, and may delete.
        roll_back(shop.tables, "newer", "a mistake")
        return passes(staged)

    with pytest.raises(TooManyFailures, match=r"4 published products .* 2 rows: 66\.7%"):
        shop.refresh(meanwhile, config=DELETE, run_date=date(2026, 11, 2))

    assert len(shop.table("product_attributes")) == 6


def test_a_run_that_was_taken_back_is_whole_again_though_a_later_one_had_found_nothing_to_do(
    shop: Shop,
) -> None:
    shop.refresh(run_id="monday", config=DELETE)
    shop.write(products(7).iloc[1:])
    tuesday = {"run_id": "tuesday", "run_date": date(2026, 11, 25), "config": DELETE}
    shop.refresh(**tuesday)
    quiet = shop.refresh(run_id="wednesday", run_date=date(2026, 11, 26), config=DELETE)
    assert quiet.outcome == "nothing_to_do"

    assert roll_back(shop.tables, "tuesday", "a mistake") == ["tuesday"]

    ledger = shop.table("enrichment_runs").set_index("run_id")
    assert ledger["outcome"].to_dict() == {
        "monday": "published",
        "tuesday": "rolled_back",
        "wednesday": "rolled_back",
    }
    again = shop.refresh(**tuesday)
    assert (again.counts["published"], again.counts["deleted"]) == (1, 1)
    assert sorted(shop.table("product_attributes")["product_id"]) == [f"p{n}" for n in range(1, 7)]


def test_a_product_that_is_not_brought_back_is_withheld_however_often_its_run_is_repeated(
    smaller: Shop,
) -> None:
    smaller.refresh(run_id="newest", run_date=date(2026, 11, 26), config=DELETE)
    smaller.write(products())
    older = {"run_id": "older", "run_date": date(2026, 11, 25), "config": DELETE}
    for _ in range(2):
        counts = smaller.refresh(**older).counts
        assert (counts["unchanged"], counts["withheld"]) == (4, 2)


def test_what_an_earlier_attempt_deleted_is_not_deleted_again_by_a_later_one(
    smaller: Shop,
) -> None:
    named = {"run_id": "named", "config": DELETE}
    assert smaller.refresh(**named).counts["deleted"] == 2
    smaller.write(products())

    counts = smaller.refresh(**named).counts

    assert (counts["published"], counts["vanished"], counts["deleted"]) == (2, 0, 0)


def test_deletions_of_an_earlier_publication_are_not_counted_again(smaller: Shop) -> None:
    for count in (4, 6, 4):
        smaller.write(products(count))
        published = publish(smaller, smaller.refresh(config=DELETE, publish=False).run_id)
    assert (published.counts["vanished"], published.counts["deleted"]) == (2, 2)


def breaks(staged: StagedRows) -> Verdict:
    raise OSError("disk")


@pytest.mark.parametrize(
    ("ending", "error"),
    [(fails, ValidationFailed), (breaks, OSError)],
    ids=["blocked", "failed"],
)
def test_what_a_run_of_that_name_deleted_yesterday_is_not_told_again(
    smaller: Shop, ending: Callable[[StagedRows], Verdict], error: type[Exception]
) -> None:
    tomorrow = {"run_id": "nightly", "run_date": date(2026, 11, 25), "config": DELETE}
    assert smaller.refresh(run_id="nightly", config=DELETE).counts["deleted"] == 2
    changed = products(4)
    changed.loc[0, "title"] = "renamed"
    smaller.write(changed)
    with pytest.raises(error):
        smaller.refresh(validate=ending, **tomorrow)

    counts = smaller.refresh(**tomorrow).counts

    assert (counts["published"], counts["vanished"], counts["deleted"]) == (1, 0, 0)


def _assert_that_nothing_is_deleted(shop: Shop) -> None:
    """By a run that publishes, and by one that is published later."""
    assert shop.refresh(config=DELETE).counts["deleted"] == 0
    staged = shop.refresh(config=DELETE, publish=False, run_id="staged", full_refresh=True)
    assert publish(shop, staged.run_id).counts["deleted"] == 0

    assert len(shop.table("product_attributes")) == 6


def test_nothing_is_deleted_while_a_row_s_fields_may_hold_another_id(smaller: Shop) -> None:
    rows = [f"shirt number {number},p{number},," for number in range(4)]
    rows += ["Red, large shirt,p4,text,1.jpg"]
    smaller.write_csv(*rows, header="title,product_id,description,image_path")

    _assert_that_nothing_is_deleted(smaller)


@in_full
def test_nothing_is_deleted_while_bytes_of_an_id_are_no_utf_8(smaller: Shop) -> None:
    rows = [f"p{number},shirt number {number},p{number}," for number in range(4)]
    smaller.write_csv(*rows, "\u00c44,red shirt,,", encoding="cp1252")

    _assert_that_nothing_is_deleted(smaller)


@in_full
def test_nothing_is_deleted_while_a_row_s_fields_have_left_its_id_empty(smaller: Shop) -> None:
    rows = [f"shirt number {number},,p{number}," for number in range(4)]
    rows += ["shirt, number 4,,p4,4.jpg"]
    smaller.write_csv(*rows, header="title,description,product_id,image_path")

    _assert_that_nothing_is_deleted(smaller)
    assert list(smaller.table("quarantine")["reason"]) == ["surplus_fields"]


def rows_of(count: int, *more: str) -> list[str]:
    return [f"p{number},shirt number {number},," for number in range(count)] + list(more)


def test_a_row_whose_id_is_lost_makes_no_cut_off_table_whole(shop: Shop) -> None:
    shop.write_csv(*rows_of(20))
    shop.refresh(run_id="nightly", config={"missing_products": "delete"})
    shop.write_csv(*rows_of(3, "Red, large shirt,p3,text,3.jpg"))

    for run_id in (None, "nightly"):
        request = {"run_id": run_id, "config": {"missing_products": "delete"}}
        planned = plan_refresh(shop.prepare(**request)).error
        with pytest.raises(TooManyFailures, match=r"16 published products .* 80\.0%") as stopped:
            shop.refresh(**request)
        assert planned == str(stopped.value)
    assert "blocked" in set(shop.table("enrichment_runs")["outcome"])


def test_a_run_says_what_it_keeps_because_a_row_s_id_is_lost(shop: Shop) -> None:
    shop.write_csv(*rows_of(20))
    shop.refresh()
    shop.write_csv(*rows_of(19, "Red, large shirt,p19,text,19.jpg"))

    kept, told = shop.refresh(), shop.refresh(config={"missing_products": "delete"})

    assert kept.validation["notes"] == []
    (note,) = told.validation["notes"]
    assert note.startswith("1 vanished products are kept: of 1 rows the id cannot be told")
    assert (told.counts["vanished"], told.counts["deleted"]) == (1, 0)
