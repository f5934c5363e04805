"""Products that cannot be read: put away once, asked about again when that may help."""

from datetime import date, timedelta
from typing import Any

import pandas as pd
import pytest
from fake_shop import DAY, Shop, fails, products
from faulty_engines import SharpEyedSpec
from long_tests import in_full
from pyspark.sql import SparkSession

from enrich.errors import TooManyFailures, ValidationFailed
from enrich.spark.quarantine import select_new_quarantine
from enrich.spark.records import InputRows
from enrich.spark.survey import State, Survey, with_states
from expectations.counting import count_input
from expectations.figures import InputFigures
from schemas.images import ImageSample
from schemas.tables import CORRECTIONS, Reason
from schemas.verdict import Verdict

pytestmark = pytest.mark.spark

FOUND = "product_id STRING, content_hash STRING, reason STRING, error STRING, model_version STRING"


@pytest.mark.parametrize(
    ("before", "is_new"),
    [("image_unreadable: no answer", True), ("image_corrupt: no JPEG", False)],
)
def test_a_picture_that_proves_broken_once_its_store_answers_is_news(
    spark: SparkSession, before: str, is_new: bool
) -> None:
    rows = spark.createDataFrame(
        [("p", "h", None, None, "a.jpg", State.AGAIN)],
        "product_id STRING, content_hash STRING, title STRING, description STRING, "
        "image_path STRING, state STRING",
    )
    staged = spark.createDataFrame(
        [("p", "h", None, "image_corrupt", "no JPEG")],
        "product_id STRING, content_hash STRING, modalities STRING, status STRING, error STRING",
    )
    known = spark.createDataFrame([("p", "h", Reason.NO_MODALITY, before, "m")], FOUND)
    survey = Survey(rows, dict.fromkeys(State, 0), "f", 0, 0)

    new = select_new_quarantine(survey, staged, known, "m")

    assert new.count() == is_new


@pytest.mark.parametrize(
    ("store_failed", "state"),
    [([True], State.AGAIN), ([True, False], State.QUARANTINED), ([], State.NEW)],
)
def test_what_its_store_had_failed_to_deliver_is_tried_until_it_proves_broken(
    spark: SparkSession, store_failed: list[bool], state: State
) -> None:
    hashed = spark.createDataFrame(
        [("p", None, None, "a.jpg", None, None, False, "h")],
        "product_id STRING, title STRING, description STRING, image_path STRING, "
        "product_category STRING, priority DOUBLE, has_surplus_fields BOOLEAN, content_hash STRING",
    )
    published = spark.createDataFrame(
        [],
        "product_id STRING, is_of_this_checkpoint BOOLEAN, is_of_this_version BOOLEAN, "
        "is_newer BOOLEAN, content_hash STRING, product_category STRING, status STRING, "
        f"corrections {CORRECTIONS}",
    )
    said = spark.createDataFrame([], f"product_id STRING, corrections {CORRECTIONS}")
    quarantined = spark.createDataFrame(
        [("p", "h", failed) for failed in store_failed],
        "product_id STRING, content_hash STRING, store_failed BOOLEAN",
    )
    found = with_states(hashed, published, said, quarantined, is_whole=True)
    assert [row["state"] for row in found.collect()] == [state]


@in_full
def test_quarantined_product_is_not_tried_again_until_it_changes(shop: Shop) -> None:
    table = products()
    table.loc[0, "title"] = None
    shop.write(table)
    shop.refresh()
    again = shop.refresh(run_date=date(2026, 11, 25))
    table.loc[0, "title"] = "now it has one"
    shop.write(table)
    repaired = shop.refresh()

    assert (again.counts["pending"], again.counts["quarantined"]) == (0, 1)
    assert (repaired.counts["published"], repaired.counts["quarantined"]) == (1, 0)


@in_full
def test_what_another_model_cannot_read_either_is_tried_by_it_once(shop: Shop) -> None:
    table = products()
    table.loc[0, "title"] = None
    shop.write(table)
    shop.refresh()
    other = shop.refresh(model_version="fake-2")
    again = shop.refresh(model_version="fake-2", run_date=date(2026, 11, 25))

    assert (other.counts["pending"], again.counts["pending"]) == (6, 0)
    assert sorted(shop.table("quarantine")["model_version"]) == ["fake-1", "fake-2"]


@in_full
@pytest.mark.parametrize("is_blocked", [False, True])
def test_what_another_run_has_read_since_is_asked_about_whenever_it_is_back(
    shop: Shop, is_blocked: bool
) -> None:
    sharp: dict[str, Any] = {"spec": SharpEyedSpec()}
    table = products(300 if is_blocked else 6)
    table.loc[0, ["title", "image_path"]] = [None, "0.jpg"]
    table.loc[1, "title"] = None
    shop.write(table)
    shop.refresh(run_id="first")
    if is_blocked:
        # Too many others are unreadable, and a person says that it is well.
        table.loc[2:99, "title"] = None
        shop.write(table)
        with pytest.raises(TooManyFailures):
            shop.refresh(**sharp, full_refresh=True, run_id="raised")
        shop.publish_staged("raised", "they know")
    else:
        shop.refresh(**sharp, full_refresh=True, run_id="raised")
    assert "p0" not in set(shop.table("quarantine")["product_id"])
    assert "p1" in set(shop.table("quarantine").query("run_id == 'first'")["product_id"])

    for title in ("another", None):
        table.loc[0, "title"] = title
        shop.write(table)
        counts = shop.refresh(**sharp).counts

    assert (counts["pending"], counts["published"]) == (1, 1)


@in_full
def test_run_whose_few_products_cannot_be_read_leaves_nothing_to_publish(shop: Shop) -> None:
    shop.refresh()
    grown = products(7)
    grown.loc[6, "title"] = None
    shop.write(grown)

    staged = shop.refresh(publish=False)

    assert (staged.outcome, staged.counts["pending"]) == ("nothing_to_do", 1)


@in_full
def test_too_many_unreadable_products_publish_nothing(shop: Shop) -> None:
    table = products(300)
    table.loc[:99, "title"] = None
    shop.write(table)

    night = {"run_id": "nightly"}
    # Said again, and on the next night: nobody has decided anything meanwhile.
    for again in (night, night, {"run_date": DAY + timedelta(days=1)}):
        with pytest.raises(TooManyFailures, match=r"33\.3% of 300 new or changed products"):
            shop.refresh(**again)

    assert shop.table("product_attributes").empty
    shop.publish_staged("nightly", "the shop knows of it")
    assert len(shop.table("product_attributes")) == 200
    assert set(shop.table("quarantine")["reason"]) == {"no_modality"}
    shop.write(pd.concat([table, products(301)[300:]]))
    next_night = shop.refresh(run_date=DAY + timedelta(days=2))
    assert (next_night.outcome, next_night.counts["pending"]) == ("published", 1)
    assert next_night.counts["quarantined"] == 100


@in_full
def test_unreadable_products_of_a_published_run_are_put_away_whatever_an_earlier_attempt_had(
    shop: Shop,
) -> None:
    table = products(300)
    shop.write(pd.concat([table.head(20), table.head(1)]))
    with pytest.raises(ValidationFailed):
        shop.refresh(run_id="nightly", validate=fails)
    assert list(shop.table("quarantine")["reason"]) == ["duplicate_id"]
    table.loc[200:, "title"] = None
    shop.write(table)
    with pytest.raises(TooManyFailures):
        shop.refresh(run_id="nightly")

    shop.publish_staged("nightly", "they know")

    reasons = shop.table("quarantine")["reason"].value_counts().to_dict()
    assert reasons == {"no_modality": 100, "duplicate_id": 1}
    next_night = shop.refresh(run_date=DAY + timedelta(days=1))
    assert (next_night.outcome, next_night.counts["quarantined"]) == ("nothing_to_do", 100)


@in_full
def test_unreadable_products_are_no_smaller_share_for_answers_that_are_carried_over(
    shop: Shop,
) -> None:
    table = products(600).assign(department="sale")
    shop.write(table.head(300))
    shop.refresh()
    table.loc[300:399, "title"] = None
    shop.write(table)

    with pytest.raises(TooManyFailures, match=r"33\.3% of 300 new or changed products"):
        shop.refresh(config={"columns": {"category": "department"}})


@in_full
def test_unreadable_products_are_no_smaller_share_for_what_the_same_run_has_published(
    shop: Shop,
) -> None:
    table = products(600)
    shop.write(table.head(300))
    shop.refresh(run_id="nightly")
    table.loc[300:399, "title"] = None
    shop.write(table)

    for _ in range(2):
        with pytest.raises(TooManyFailures, match=r"33\.3% of 300 new or changed products"):
            shop.refresh(run_id="nightly")
    assert shop.table("quarantine").empty


@in_full
def test_answers_are_judged_too_where_unreadable_products_have_stopped_their_run(
    shop: Shop,
) -> None:
    table = products(300)
    table.loc[:99, "title"] = None
    shop.write(table)

    both = r"33\.3% of 300 new or changed products could not be read.* color: too blue"
    with pytest.raises(TooManyFailures, match=both):
        shop.refresh(fails, run_id="blue")
    with pytest.raises(TooManyFailures, match=r"33\.3%") as stopped:
        shop.refresh(run_id="cards")

    # Whoever publishes a run overrides by name what its error says.
    errors = shop.table("enrichment_runs").set_index("run_id")["error"]
    assert "too blue" in errors["blue"]
    assert errors["cards"] == str(stopped.value)
    assert "validation" not in errors["cards"]
    assert shop.table("label_quality")["run_id"].tolist() == ["cards"]
    assert shop.table("quarantine").empty


@pytest.mark.parametrize(("unreadable", "allowed"), [(100, 0.5), (10, 0.05)])
@in_full
def test_a_share_of_unreadable_products_that_is_allowed_blocks_nothing(
    shop: Shop, unreadable: int, allowed: float
) -> None:
    table = products(200)
    table.loc[: unreadable - 1, "title"] = None
    shop.write(table)
    assert shop.refresh(config={"max_quarantined_share": allowed}).outcome == "published"
    assert len(shop.table("quarantine")) == unreadable


@in_full
def test_one_unreadable_product_of_a_few_blocks_nothing(shop: Shop) -> None:
    table = products(2)
    table.loc[0, "title"] = None
    shop.write(table)

    assert shop.refresh().outcome == "published"


@in_full
def test_another_attempt_at_a_run_keeps_what_it_had_put_into_quarantine(shop: Shop) -> None:
    empty = products(7)
    empty.loc[6, "title"] = None
    shop.write(empty)
    shop.refresh(run_id="nightly")
    grown = products(9)
    grown.loc[6:7, "title"] = None
    shop.write(grown)

    counts = shop.refresh(run_id="nightly").counts

    assert sorted(shop.table("quarantine")["product_id"]) == ["p6", "p7"]
    assert (counts["quarantined"], counts["published"], counts["unchanged"]) == (2, 7, 0)
    assert len(shop.table("staged_attributes")) == 9


@in_full
def test_who_deletes_what_could_not_be_read_from_quarantine_has_it_asked_again(shop: Shop) -> None:
    # docs/operations.md, Maintenance, says which rows may be deleted.
    table = products(250)
    table.loc[:239, "title"] = None
    table.loc[249, "product_id"] = None
    shop.write(table)
    allowed = {"max_quarantined_share": 1}
    shop.refresh(config=allowed)

    shop.sql("DELETE FROM shop.quarantine WHERE reason = 'null_id'")
    assert shop.refresh(run_id="next").outcome == "nothing_to_do"
    assert (shop.table("quarantine")["reason"] == "null_id").sum() == 1

    shop.sql("DELETE FROM shop.quarantine WHERE reason = 'no_modality'")
    with pytest.raises(TooManyFailures, match="240 new or changed products could not be read"):
        shop.refresh(run_id="blocked")
    assert shop.refresh(config=allowed, run_id="raised").counts["quarantined"] == 241
    assert shop.refresh(run_id="quiet").outcome == "nothing_to_do"


def test_a_csv_row_with_surplus_fields_is_put_aside_and_keeps_its_answer(shop: Shop) -> None:
    shop.tables.create_missing()
    said = "'ok', 'hash', 'fake-1', 'before', DATE'2020-01-01', TIMESTAMP'2020-01-01'"
    shop.sql(
        "INSERT INTO shop.product_attributes (product_id, modalities, "
        "status, content_hash, model_version, run_id, run_date, enriched_at) VALUES "
        + ", ".join(f"('p{n}', 'text', {said})" for n in range(3))
    )
    shop.write_csv("p0,shirt number 0", "p1,red, large,shirt,p1.jpg", "p2,shirt number 2", "p3,new")

    counts = shop.refresh(config={"missing_products": "delete"}).counts

    found = {name: counts[name] for name in ("read", "published", "quarantined", "vanished")}
    assert found == {"read": 4, "published": 3, "quarantined": 1, "vanished": 0}
    runs = shop.table("product_attributes").set_index("product_id")["run_id"]
    assert sorted(runs.index) == ["p0", "p1", "p2", "p3"]
    assert runs.index[runs == "before"].tolist() == ["p1"]
    aside = shop.table("quarantine").iloc[0]
    assert aside[["product_id", "reason", "title"]].tolist() == ["p1", "surplus_fields", "red"]


def test_a_table_of_rows_with_surplus_fields_has_no_ids_to_the_gate(shop: Shop) -> None:
    shop.write_csv(*(f"p{n},red, large,shirt,1.jpg" for n in range(40)))
    found: list[InputFigures] = []

    def refuses(rows: InputRows) -> Verdict:
        found.append(count_input(rows.products, ImageSample(0, 0)))
        return Verdict(failures=("no ids",))

    with pytest.raises(ValidationFailed):
        shop.refresh(validate_input=refuses)

    assert (found[0].rows, found[0].without_id, found[0].repeated_id) == (40, 40, 0)


def test_ids_in_which_bytes_were_replaced_are_none_and_the_user_is_told(shop: Shop) -> None:
    rows = "p0,black shirt,,", "\u00c41,white shirt,,"
    shop.write_csv(*rows)
    shop.refresh()
    # As a spreadsheet writes what it calls CSV, and not CSV UTF-8.
    damaged = "\u00d61,blue shirt,,", "p3,wei\u00dfes Hemd,,"
    shop.write_csv(*rows, *damaged, encoding="cp1252")

    again = shop.refresh(config={"missing_products": "delete"})

    assert [again.counts[name] for name in ("published", "unchanged", "quarantined")] == [1, 1, 2]
    # One of the rows whose ids are lost may be of the product that seems to have vanished.
    assert set(shop.table("product_attributes")["product_id"]) == {"p0", "\u00c41", "p3"}
    assert shop.table("quarantine")["reason"].tolist() == ["null_id"] * 2
    kept, note = again.validation["notes"]
    assert kept.startswith("1 vanished products are kept: of 2 rows the id cannot be told")
    assert note.startswith("3 rows of the product table hold U+FFFD") and "CSV UTF-8" in note
