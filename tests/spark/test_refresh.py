"""A refresh with the fake engine: what becomes of a product over several nights."""

import os
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from prepared_shop import BETTER, blocked, rolled_back
from shop import DAY, FakeGate, products

from bench.fake_engine import FakeEngineSpec
from enrich.errors import ConfigError, TooManyFailures, ValidationFailed
from enrich.spark import tables
from enrich.spark.dry_run import plan_refresh
from enrich.spark.refresh import Refresh

DELETES = {"missing_products": "delete"}


def table_of(*rows):
    columns = ["product_id", "title", "description", "image_path"]
    return pd.DataFrame(rows, columns=columns).astype("string")


def adds_up(counts):
    parts = ("published", "unchanged", "withheld", "quarantined")
    return counts["read"] == sum(counts[name] for name in parts)


def test_first_run_publishes_every_product_and_the_next_adds_no_version(
    shop, tmp_path, monkeypatch
):
    left = list[str]()
    monkeypatch.setattr(tables, "remove_folder", lambda _, folder: left.append(folder))
    first = shop.refresh(config={"temporary_folder": str(tmp_path)})
    (folder,) = left
    assert folder.startswith(f"{tmp_path}/") and any(Path(folder).iterdir())
    assert first.outcome == "published"
    assert (first.counts["encoded"], first.counts["published"]) == (6, 6)
    rows = shop.table("product_attributes")
    assert sorted(rows["product_id"]) == [f"p{n}" for n in range(6)]
    assert set(rows["run_id"]) == {first.run_id}
    checks = shop.table("label_quality")[["run_id", "expectation"]]
    assert checks.to_numpy().tolist() == [[first.run_id, "expect_all_rows"]]
    version, events = shop.version("product_attributes"), shop.version("run_events")
    second = shop.refresh()
    assert second.outcome == "nothing_to_do"
    assert (second.counts["due"], second.counts["unchanged"]) == (0, 6)
    assert shop.version("product_attributes") == version
    # One event and no other commit.
    assert shop.version("run_events") == events + 1


def test_only_changed_products_are_encoded_again(published_shop):
    shop = published_shop
    changed = products()
    changed.loc[:1, "title"] = ["red dress", "blue dress"]
    new = [(product_id, "one content of two", None, None) for product_id in ("p6", "p7")]
    shop.write(pd.concat([changed, table_of(*new)]))
    summary = shop.refresh()
    assert (summary.counts["due"], summary.counts["encoded"]) == (4, 3)
    reasons = shop.sql(
        f"SELECT product_id, reason FROM shop.candidates WHERE run_id = '{summary.run_id}'"
    )
    found = dict(reasons.itertuples(index=False))
    assert found == {"p0": "changed", "p1": "changed", "p6": "new", "p7": "new"}
    assert summary.counts["published"] == 4
    assert adds_up(summary.counts)


def test_rows_without_a_usable_id_or_any_text_are_quarantined_once(shop):
    table = table_of(
        ("a", "shirt", None, None),
        ("a", "another shirt", None, None),
        (None, "no id", None, None),
        (" ", "blank id", None, None),
        ("b", None, None, None),
    )
    shop.write(table)
    summary = shop.refresh()
    assert (summary.counts["published"], summary.counts["quarantined"]) == (1, 4)
    assert summary.counts["answered"] == 1
    assert adds_up(summary.counts)
    reasons = shop.table("quarantine")["reason"].value_counts().to_dict()
    assert reasons == {"null_id": 2, "duplicate_id": 1, "no_modality": 1}
    again = shop.refresh()
    assert (again.outcome, again.counts["quarantined"]) == ("nothing_to_do", 4)
    assert len(shop.table("quarantine")) == 4
    shop.write(table.fillna({"title": "a title now"}))
    assert shop.refresh().counts["published"] == 1


def test_too_many_unreadable_products_block_this_night_and_the_next(shop):
    (shop.folder / "images").mkdir()
    for number in range(100):
        (shop.folder / "images" / f"{number}.jpg").write_bytes(f"broken {number}".encode())
    without_text = [(f"b{n}", None, None, f"images/{n}.jpg") for n in range(100)]
    shop.write(pd.concat([products(150), table_of(*without_text)]))
    spec = FakeEngineSpec(opens_images=True, image_root=str(shop.folder))
    for _ in range(2):
        with pytest.raises(TooManyFailures, match="max_quarantined_share"):
            shop.refresh(spec=spec)
        assert len(shop.table("product_attributes")) == 0
    # The pictures are read once.
    assert shop.summary.counts["images_opened"] == 0
    assert shop.refresh(spec=spec, config={"max_quarantined_share": 0.5}).outcome == "published"


def publish_twenty(shop):
    """Publish twenty products."""
    shop.write(products(20))
    shop.refresh()


@pytest.fixture
def shop_of_twenty(open_shop):
    return open_shop(publish_twenty)


def test_missing_products_are_kept_or_deleted_as_configured(shop_of_twenty):
    shop = shop_of_twenty
    shop.write(products(19))
    kept = shop.refresh()
    assert (kept.outcome, kept.counts["missing"], kept.counts["deleted"]) == ("nothing_to_do", 1, 0)
    deleted = shop.refresh(config=DELETES)
    assert (deleted.outcome, deleted.counts["deleted"]) == ("published", 1)
    assert "p19" not in set(shop.table("product_attributes")["product_id"])


def test_a_cut_off_product_table_deletes_nothing(shop_of_twenty):
    shop = shop_of_twenty
    shop.write(products(10))
    with pytest.raises(TooManyFailures, match="max_deleted_share"):
        shop.refresh(config=DELETES)
    assert len(shop.table("product_attributes")) == 20
    assert shop.state(shop.summary.run_id) == "blocked"


def test_an_empty_product_table_blocks(published_shop):
    shop = published_shop
    shop.write(products(0))
    with pytest.raises(TooManyFailures, match="0 rows"):
        shop.refresh()
    assert len(shop.table("product_attributes")) == 6


def test_malformed_csv_rows_are_quarantined_and_the_others_published(shop):
    shop.write_csv("a,shirt,,", "b,Red, large shirt,,,x", "c,caf\u00e9,,", encoding="latin-1")
    shop.correct("a", "size", "xl")
    shop.correct("c", "color", "no such color")
    summary = shop.refresh()
    assert summary.counts["published"] == 2
    assert set(shop.table("quarantine")["reason"]) == {"malformed"}
    corrections, rows = summary.validation["notes"]
    assert "found 2 of attributes or labels" in corrections
    assert rows.startswith("1 rows of the product table hold U+FFFD")


def test_rows_with_lost_ids_keep_missing_products(shop):
    shop.write_csv(*(f"p{n},shirt {n},," for n in range(20)))
    shop.refresh()
    shop.write_csv(*(f"p{n},shirt {n},," for n in range(19)), "p19,a, b, c, d, e")
    summary = shop.refresh(config=DELETES)
    assert summary.counts["deleted"] == 0
    assert any("kept" in note for note in summary.validation["notes"])


def test_a_dry_run_says_why_products_are_due_and_how_long_a_run_takes(published_shop):
    shop = published_shop
    table = products(8)
    table.loc[0, "title"], table.loc[7, "product_id"] = "another", None
    shop.write(table)
    plan = plan_refresh(shop.prepare())
    due = {"new": 1, "changed": 1}
    assert plan.reasons == {"due": due, "quarantined": {"null_id": 1}, "withheld": {}}
    assert plan.expected_from is not None and plan.expected_seconds is not None
    assert plan.expected_from["run_id"] == shop.summary.run_id
    assert plan.expected_seconds > plan.seconds["diff"]


def test_a_dry_run_counts_the_products_that_a_rollback_holds_back(open_shop):
    shop = open_shop(rolled_back)
    plan = plan_refresh(shop.prepare(BETTER))
    assert (plan.counts["read"], plan.counts["withheld"]) == (6, 6)
    assert plan.reasons["withheld"] == {"held_back": 6}


def test_a_limited_run_deletes_nothing_and_publishes_the_first_rows(published_shop):
    shop = published_shop
    table = products(9, mark=" new")
    # Rows without an id do not count.
    table.loc[:1, "product_id"] = [None, " "]
    shop.write(table)
    summary = shop.refresh(limit=2, config=DELETES)
    assert (summary.counts["read"], summary.counts["published"]) == (2, 2)
    assert summary.counts["quarantined"] == 0
    assert len(shop.table("product_attributes")) == 6


def test_an_older_run_date_leaves_newer_rows_as_they_are(published_shop):
    shop = published_shop
    shop.write(products(mark=" older"))
    summary = shop.refresh(run_date=DAY - timedelta(days=1))
    assert (summary.outcome, summary.counts["unchanged"]) == ("nothing_to_do", 6)


def test_a_full_refresh_encodes_everything_each_time_it_is_given(published_shop):
    shop = published_shop
    for _ in range(2):
        summary = shop.refresh(full_refresh=True)
        assert (summary.counts["encoded"], summary.counts["published"]) == (6, 6)


def test_a_target_precision_and_a_fitted_checkpoint_reanswer_without_encoding(published_shop):
    shop = published_shop
    for version, threshold in (("fake-1-p95", 0.8), ("shop-2-p90", 0.5)):
        spec = FakeEngineSpec(model_version=version, threshold=threshold)
        summary = shop.refresh(spec=spec)
        assert (summary.counts["encoded"], summary.counts["reused"]) == (0, 6)
        assert summary.counts["published"] == 6
        assert set(shop.table("product_attributes")["model_version"]) == {version}


def test_a_blocked_run_publishes_nothing_and_the_next_encodes_nothing_again(open_shop):
    shop = open_shop(blocked)
    assert len(shop.table("product_attributes")) == 0
    assert shop.state(shop.summary.run_id) == "blocked"
    assert len(shop.table("candidates")) == 6
    summary = shop.refresh()
    assert (summary.counts["encoded"], summary.counts["published"]) == (0, 6)


def test_an_input_that_fails_its_check_is_not_encoded(shop):
    with pytest.raises(ValidationFailed, match="no images"):
        shop.refresh(input_failures=["no images"])
    assert len(shop.table("encodings")) == 0


def test_wrong_settings_of_the_gate_end_a_run_before_encoding(shop):
    class WrongGate(FakeGate):
        def prepare(self):
            raise ConfigError("no such expectation")

    with pytest.raises(ConfigError, match="no such expectation"):
        Refresh(shop.prepare(), WrongGate()).run()
    assert len(shop.table("encodings")) == 0


def test_a_correction_and_a_category_revise_rows_without_encodings(published_shop):
    shop, first = published_shop, published_shop.summary.run_id
    shop.correct("p1", "color", "green")
    summary = shop.refresh()
    assert (summary.counts["due"], summary.counts["encoded"], summary.counts["reused"]) == (1, 0, 0)
    row = shop.sql("SELECT * FROM shop.product_attributes WHERE product_id = 'p1'").iloc[0]
    assert (row["color"], row["run_id"]) == ("green", summary.run_id)
    assert shop.refresh().outcome == "nothing_to_do"
    said = row.notna()
    shop.write(products().assign(kind="shirts"))
    revised = shop.refresh(config={"columns": {"category": "kind"}})
    assert (revised.counts["published"], revised.counts["encoded"]) == (6, 0)
    row = shop.sql("SELECT * FROM shop.product_attributes WHERE product_id = 'p1'").iloc[0]
    assert (row["color"], row["product_category"]) == ("green", "shirts")
    # No column of the row is lost.
    assert row[said].notna().all()
    assert first not in set(shop.table("product_attributes")["run_id"])


def test_tables_of_the_first_edition_are_refused_in_one_sentence(bare_shop):
    bare_shop.spark.sql(f"CREATE DATABASE IF NOT EXISTS {bare_shop.database}")
    bare_shop.spark.sql(
        f"CREATE TABLE {bare_shop.database}.staged_attributes (run_id STRING) USING DELTA"
    )
    with pytest.raises(Exception, match=r"earlier version.*Drop them"):
        bare_shop.refresh()


def test_a_wider_checkpoint_adds_its_attribute_and_keeps_foreign_columns(published_shop):
    shop = published_shop
    columns = "note STRING, size INT"
    shop.spark.sql(f"ALTER TABLE {shop.database}.product_attributes ADD COLUMNS ({columns})")
    shop.spark.sql(f"UPDATE {shop.database}.product_attributes SET note = 'ours'")
    in_the_way = {**FakeEngineSpec().attributes, "size": ("small", "large")}
    with pytest.raises(Exception, match="size int, expected size string"):
        shop.refresh(spec=FakeEngineSpec(model_version="fake-2", attributes=in_the_way))
    labels = {**FakeEngineSpec().attributes, "fit": ("slim", "loose")}
    summary = shop.refresh(spec=FakeEngineSpec(model_version="fake-2", attributes=labels))
    rows = shop.table("product_attributes")
    assert (summary.counts["published"], summary.counts["encoded"]) == (6, 0)
    assert rows["fit_confidence"].notna().all()
    assert set(rows["note"]) == {"ours"}


def test_a_checkpoint_without_an_attribute_says_which_labels_it_empties(published_shop):
    shop = published_shop
    labels = {**FakeEngineSpec().attributes, "fit": ("slim", "loose")}
    shop.refresh(spec=FakeEngineSpec(model_version="fake-2", attributes=labels))
    assert shop.table("product_attributes")["fit"].notna().sum() == 4
    summary = shop.refresh(spec=FakeEngineSpec(model_version="fake-3"))
    assert any("4 published labels of fit become NULL" in n for n in summary.validation["notes"])
    assert shop.table("product_attributes")["fit"].isna().all()
    summary = shop.refresh(spec=FakeEngineSpec(model_version="fake-4"))
    assert not any("become NULL" in note for note in summary.validation["notes"])


def with_pictures(shop):
    """Give six products pictures of their own; return an engine that reads these."""
    (shop.folder / "images").mkdir()
    for number in range(6):
        file = shop.folder / "images" / f"{number}.jpg"
        file.write_bytes(f"picture {number}".encode())
        os.utime(file, (1_700_000_000, 1_700_000_000))
    paths = [f"images/{number}.jpg" for number in range(6)]
    shop.write(products().assign(image_path=paths).astype("string"))
    return reading(shop)


def reading(shop, **others):
    return FakeEngineSpec(opens_images=True, image_root=str(shop.folder), **others)


def publish_pictures(shop):
    """Publish six products with pictures of their own."""
    shop.refresh(spec=with_pictures(shop))


@pytest.fixture
def shop_of_pictures(open_shop):
    return open_shop(publish_pictures)


def test_pictures_are_compared_by_size_and_time_and_read_only_where_these_differ(shop_of_pictures):
    shop = shop_of_pictures
    pictures, first = reading(shop), shop.summary
    assert (first.counts["images_opened"], first.counts["images_compared"]) == (6, 6)
    second = shop.refresh(spec=pictures)
    assert (second.outcome, second.counts["images_compared"]) == ("nothing_to_do", 0)
    (shop.folder / "images" / "0.jpg").write_bytes(b"another picture")
    os.utime(shop.folder / "images" / "1.jpg", (1_700_000_001, 1_700_000_001))
    third = shop.refresh(spec=pictures)
    assert (third.counts["images_compared"], third.counts["images_opened"]) == (2, 1)
    assert third.counts["published"] == 1


def test_of_a_list_the_first_picture_that_can_be_read_counts(shop):
    pictures = with_pictures(shop)
    lists = [["gone.jpg", "images/0.jpg"], ["images/1.jpg"], [], None, ["https://a.b/c"], ["../x"]]
    shop.write(products().assign(image_path=lists))
    first = shop.refresh(spec=pictures)
    assert (first.counts["images_opened"], first.counts["images_compared"]) == (2, 2)
    statuses = shop.table("product_attributes").set_index("product_id")["status"].sort_index()
    missing, forbidden = ["image_missing"] * 2, ["image_forbidden"] * 2
    assert statuses.tolist() == ["ok", "ok", *missing, *forbidden]
    lists[0] = ["gone.jpg", "images/2.jpg", "images/0.jpg"]
    lists[1] = ["gone.jpg", "images/1.jpg"]
    shop.write(products().assign(image_path=lists))
    third = shop.refresh(spec=pictures)
    assert (third.counts["images_compared"], third.counts["published"]) == (2, 1)


def test_another_target_precision_opens_no_picture(shop_of_pictures):
    shop = shop_of_pictures
    for file in (shop.folder / "images").iterdir():
        stat = file.stat()
        file.write_bytes(bytes(stat.st_size))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    summary = shop.refresh(spec=reading(shop, model_version="fake-1-p95", threshold=0.8))
    assert (summary.counts["images_opened"], summary.counts["images_compared"]) == (0, 0)
    assert summary.counts["published"] == 6


def test_identity_by_content_notices_a_picture_of_the_same_size_and_time(shop_of_pictures):
    shop = shop_of_pictures
    file = shop.folder / "images" / "2.jpg"
    stat = file.stat()
    file.write_bytes(b"pictureX2")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    summary = shop.refresh(spec=reading(shop), config={"image_identity": "content"})
    assert (summary.counts["images_compared"], summary.counts["images_opened"]) == (6, 1)


def test_a_picture_that_is_written_over_unnoticed_is_asked_for_again(shop_of_pictures):
    shop = shop_of_pictures
    file = shop.folder / "images" / "3.jpg"
    stat = file.stat()
    file.write_bytes(b"picture X")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    spec = reading(shop, model_version="fake-2", encoder_version="222222222222")
    # Another encoder encodes everything again.
    assert shop.refresh(spec=spec).counts["encoded"] == 6
    encodings = shop.sql("SELECT * FROM shop.encodings WHERE status = 'image_unreadable'")
    assert len(encodings) == 1
    summary = shop.refresh(spec=spec)
    assert (summary.counts["images_compared"], summary.counts["images_opened"]) == (1, 1)
    assert set(shop.table("product_attributes")["status"]) == {"ok"}
