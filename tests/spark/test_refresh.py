"""A whole refresh on real Delta tables, with a fake engine in place of the model."""

import re
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pytest
from fake_shop import DAY, Shop, fails, passes, products
from long_tests import in_full
from pyspark.sql import SparkSession

from enrich.errors import NoAnswer, ValidationFailed
from enrich.fake_engine import FakeEngineSpec
from enrich.spark.inference import staging
from enrich.spark.plan import plan_refresh
from enrich.spark.records import RunSummary, StagedRows
from enrich.spark.survey import Survey, survey_products
from schemas.verdict import Verdict

pytestmark = pytest.mark.spark

# What the shared first night is told, so that it can be repeated.
FIRST_NIGHT: dict[str, Any] = {
    "model_version": "fake-counted",
    "config": {"products_per_task": 40, "products_per_chunk": 300, "batch_size": 10},
}
# Of a folder, as nobody should call one; plans are found by its beginning, the database's name.
ODD_NAME = "first_night %20 [1] {2} *"
WRITTEN = (
    "product_attributes",
    "staged_attributes",
    "quarantine",
    "enrichment_runs",
    "label_quality",
)


class FirstNight(NamedTuple):
    """A shop that tests leave as its first run left it, and what was seen of that run.

    Its profiles of executors, its scratch where it lay, and what lies around the database's folder.
    """

    shop: Shop
    summary: RunSummary
    profiles: list[bool]
    around: Path
    scratch: list[Path]


@pytest.fixture(scope="module")
def first_night(
    spark: SparkSession, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FirstNight]:
    """A night that publishes 400 of 404 rows, and puts four aside that are wrong in three ways.

    It has two chunks, and its database lies in a folder whose name nobody should give to one.
    """
    broken = pd.DataFrame(
        {
            "product_id": ["p0", None, "empty", "empty"],
            "title": ["another p0", "no id", None, None],
            "description": None,
            "image_path": None,
        }
    ).astype("string")
    shop = Shop(spark, tmp_path_factory.mktemp("shop"), "first_night")
    around, profiles, scratch = tmp_path_factory.mktemp("around"), [], []
    shop.sql(f"CREATE DATABASE first_night LOCATION '{around / ODD_NAME}'")
    shop.write(pd.concat([products(400), broken]))

    def see_scratch(staged: StagedRows) -> Verdict:
        scratch.extend(around.rglob("_scratch/*/*"))
        return passes(staged)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "build_gpu_profile", profiles.append)
        summary = shop.refresh(see_scratch, **FIRST_NIGHT)
    assert shop.table("staged_attributes")["chunk"].nunique() == 2
    yield FirstNight(shop, summary, profiles, around, scratch)
    spark.sql("DROP DATABASE first_night CASCADE")


def test_every_product_read_ends_published_unchanged_or_quarantined(
    first_night: FirstNight,
) -> None:
    shop, counts = first_night.shop, first_night.summary.counts

    assert (counts["read"], counts["published"], counts["quarantined"]) == (404, 400, 4)
    assert len(shop.table("product_attributes")) == 400
    quarantine = shop.table("quarantine")
    assert sorted(quarantine["reason"]) == [
        "duplicate_id",
        "duplicate_id",
        "no_modality",
        "null_id",
    ]
    unreadable = quarantine.set_index("reason").loc["no_modality"]
    assert unreadable["error"] == "image_missing: no image path"
    ledger = shop.table("enrichment_runs").iloc[0]
    assert ledger["read"] == ledger["published"] + ledger["unchanged"] + ledger["quarantined"]


def test_engine_is_loaded_once_per_python_worker(first_night: FirstNight) -> None:
    summary = first_night.summary

    assert summary.counts["enriched"] == 400
    assert summary.engine_loads
    assert set(summary.engine_loads.values()) == {1}


def test_all_chunks_are_for_the_same_executors(first_night: FirstNight) -> None:
    """Spark lets no executor serve two profiles, be they equal."""
    assert len(first_night.profiles) == 1


def test_a_database_in_a_folder_of_any_name_has_its_scratch_within(first_night: FirstNight) -> None:
    seen = {folder.name for folder in first_night.scratch}
    assert seen == {"survey", "chunks", "chunks_of_others"}
    assert [folder.name for folder in first_night.around.iterdir()] == [ODD_NAME]


def test_staged_write_has_one_python_node(first_night: FirstNight) -> None:
    shop = first_night.shop

    executions = shop.spark._jsparkSession.sharedState().statusStore().executionsList()
    plans = [executions.apply(at).physicalPlanDescription() for at in range(executions.size())]
    staged = [plan for plan in plans if shop.database in plan and "MapInPandas" in plan]
    assert staged
    for plan in staged:
        initial = plan.split("== Initial Plan ==")[1]
        assert len(re.findall(r"- \w*(?:Python|Pandas)\w* \(\d+\)", initial)) == 1


def rerun(shop: Shop, **night: Any) -> RunSummary:
    """Runs again what has run before, and sees that no table gets another version."""
    before = [shop.version(table) for table in WRITTEN]
    again = shop.refresh(**night)
    assert [shop.version(table) for table in WRITTEN] == before
    return again


def test_rerun_of_the_same_run_changes_nothing(first_night: FirstNight) -> None:
    again = rerun(first_night.shop, **FIRST_NIGHT)

    assert again.outcome == "nothing_to_do"
    assert (again.counts["enriched"], again.counts["unchanged"]) == (0, 400)
    assert again.counts["quarantined"] == 4


def test_a_night_without_work_asks_spark_for_little(first_night: FirstNight) -> None:
    tracker = first_night.shop.spark.sparkContext.statusTracker()
    before = set(tracker.getJobIdsForGroup(None))

    night = first_night.shop.refresh(run_date=DAY + timedelta(days=1), **FIRST_NIGHT)

    assert night.outcome == "nothing_to_do"
    # Each costs a new Java a tenth of a second or more.
    assert 5 < len(set(tracker.getJobIdsForGroup(None)) - before) <= 45


def test_run_that_died_between_merge_and_ledger_is_finished_without_a_second_merge(
    first_night: FirstNight,
) -> None:
    shop, first, *_ = first_night
    version = shop.version("product_attributes")
    shop.sql("DELETE FROM shop.enrichment_runs")

    again = shop.refresh(**FIRST_NIGHT)

    assert again.counts == first.counts
    assert "inference" not in again.seconds
    assert shop.version("product_attributes") == version
    assert len(shop.table("enrichment_runs")) == 1


def test_a_plan_tells_what_a_night_would_find_and_writes_nothing(first_night: FirstNight) -> None:
    shop = first_night.shop
    before = [shop.version(table) for table in WRITTEN]

    plan = plan_refresh(shop.prepare(run_date=DAY + timedelta(days=2), **FIRST_NIGHT))

    assert (plan.counts["unchanged"], plan.counts["pending"]) == (400, 0)
    assert [shop.version(table) for table in WRITTEN] == before


# The last one on this shop, which it changes.
def test_only_what_changed_is_asked_about_and_published_once_validation_passes(
    first_night: FirstNight,
) -> None:
    shop, first, *_ = first_night
    changed = pd.read_parquet(shop.file)
    changed.loc[changed["product_id"] == "p2", "title"] = "a red shirt"
    shop.write(changed)

    with pytest.raises(ValidationFailed):
        shop.refresh(fails, run_date=DAY + timedelta(days=2), **FIRST_NIGHT)
    assert len(shop.table("product_attributes").groupby("run_id")) == 1
    blocked = shop.table("enrichment_runs").set_index("outcome").loc["blocked"]
    assert (blocked["asked"], blocked["withheld"]) == (1, 1)

    night = shop.refresh(run_date=DAY + timedelta(days=2), **FIRST_NIGHT)

    assert (night.counts["enriched"], night.counts["unchanged"]) == (1, 399)
    assert "inference" not in night.seconds
    assert len(shop.table("enrichment_runs")) == 2
    rows = shop.table("product_attributes").groupby("run_id").size()
    assert rows.to_dict() == {first.run_id: 399, night.run_id: 1}


def test_a_trial_in_another_database_is_a_run_of_its_own(shop: Shop) -> None:
    shop.write(products())
    inputs = [shop.prepare(config={"database": name}) for name in ("shop", "trial")]
    first, other = (one.name_run("the same products") for one in inputs)
    assert first != other


@in_full
def test_rerun_of_a_named_run_changes_nothing(shop: Shop) -> None:
    table = products(7)
    table.loc[6, "title"] = None
    shop.write(table)
    shop.refresh(run_id="nightly")

    again = rerun(shop, run_id="nightly")

    assert again.outcome == "nothing_to_do"
    assert (again.counts["enriched"], again.counts["unchanged"]) == (0, 6)
    assert again.counts["quarantined"] == 1


@in_full
@pytest.mark.parametrize("publish", [True, False])
def test_full_refresh_under_yesterdays_run_id_publishes_everything_again(
    shop: Shop, publish: bool
) -> None:
    shop.refresh(run_id="nightly", run_date=date(2026, 11, 24))
    # As of pictures that were exchanged, where products are known by their paths.
    labels = {"color": ("green", "blue", "red"), "pattern": ("striped", "solid")}
    today = {"spec": FakeEngineSpec("fake-1", labels), "run_id": "nightly", "full_refresh": True}
    today |= {"run_date": date(2026, 11, 25)}
    again = shop.refresh(**today, publish=publish)
    asked = shop.table("enrichment_runs")["asked"].tolist()
    if not publish:
        again = shop.publish_staged("nightly")

    assert asked == [6]
    assert (again.outcome, again.counts["published"]) == ("published", 6)
    rows = shop.table("product_attributes").set_index("product_id")
    staged = shop.table("staged_attributes").set_index("product_id").loc[rows.index]
    assert rows[["color", "pattern"]].equals(staged[["color", "pattern"]])
    assert set(rows["run_date"]) == {date(2026, 11, 25)}
    version = shop.version("product_attributes")
    assert shop.refresh(**today).outcome == "nothing_to_do"
    assert shop.version("product_attributes") == version


@in_full
@pytest.mark.parametrize("is_removed", [False, True])
def test_a_product_table_that_is_replaced_under_way_stops_the_run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, is_removed: bool
) -> None:
    def survey_meanwhile(*args: object) -> Survey:
        survey = survey_products(*args)
        if is_removed:
            shop.file.parent.rename(shop.folder.with_name("moved"))
        else:
            shop.write(products(7))
        return survey

    monkeypatch.setattr("enrich.spark.run.survey_products", survey_meanwhile)
    with pytest.raises(NoAnswer, match="was replaced while it was read: run this again"):
        shop.refresh()
    monkeypatch.undo()
    shop.file.parent.mkdir(exist_ok=True)
    shop.write(products(7))

    assert shop.refresh().counts["published"] == 7


@in_full
def test_full_refresh_run_twice_changes_nothing_the_second_time(shop: Shop) -> None:
    shop.refresh()
    first = shop.refresh(full_refresh=True)
    version = shop.version("product_attributes")

    second = shop.refresh(full_refresh=True)

    assert (first.counts["enriched"], second.counts["enriched"]) == (6, 0)
    assert second.outcome == "nothing_to_do"
    assert shop.version("product_attributes") == version


@in_full
def test_an_image_that_appears_makes_its_product_pending(shop: Shop) -> None:
    table = products()
    table.loc[0, "image_path"] = "late.jpg"
    shop.write(table)
    shop.refresh()
    (shop.folder / "late.jpg").write_bytes(b"arrived")

    assert shop.refresh().counts["enriched"] == 1


@in_full
def test_a_new_model_version_enriches_everything_again(shop: Shop) -> None:
    shop.refresh()
    counts = shop.refresh(model_version="fake-2").counts

    assert counts["enriched"] == 6
    assert set(shop.table("product_attributes")["model_version"]) == {"fake-2"}


@in_full
def test_failed_validation_publishes_nothing_and_keeps_the_staged_rows(shop: Shop) -> None:
    with pytest.raises(ValidationFailed, match="too blue"):
        shop.refresh(validate=fails)

    assert shop.table("product_attributes").empty
    assert len(shop.table("staged_attributes")) == 6
    ledger = shop.table("enrichment_runs").iloc[0]
    assert (ledger["outcome"], ledger["withheld"], ledger["published"]) == ("blocked", 6, 0)


@in_full
def test_no_publish_stages_and_validates_only(shop: Shop) -> None:
    summary = shop.refresh(publish=False)

    assert (summary.outcome, summary.counts["withheld"]) == ("staged", 6)
    assert shop.table("product_attributes").empty
    assert len(shop.table("label_quality")) == 1


@in_full
def test_limit_takes_the_first_products_by_id_as_texts(shop: Shop) -> None:
    shop.write(products().assign(product_id=["9", "10", "11", "1", "2", "3"]))

    summary = shop.refresh(limit=2)

    assert summary.counts["read"] == 2
    assert sorted(shop.table("product_attributes")["product_id"]) == ["1", "10"]


@in_full
def test_the_same_one_of_duplicates_is_kept_whatever_their_order(shop: Shop) -> None:
    twins = products(1)._append({"product_id": "p0", "title": "a twin"}, ignore_index=True)
    shop.write(twins)
    shop.refresh()
    first = shop.table("product_attributes")["content_hash"].tolist()
    shop.write(twins.iloc[::-1])

    assert shop.refresh().counts["enriched"] == 0
    assert shop.table("product_attributes")["content_hash"].tolist() == first


@in_full
def test_a_product_of_two_categories_keeps_one_of_them_whatever_the_order(shop: Shop) -> None:
    config = {"columns": {"category": "department"}}
    table = pd.concat([products(1).assign(department=d) for d in ("shirts", "sale")])
    shop.write(table)
    shop.refresh(config=config)
    shop.write(table.iloc[::-1])

    assert shop.refresh(config=config, run_id="later").outcome == "nothing_to_do"
    assert shop.table("product_attributes")["product_category"].tolist() == ["sale"]


@in_full
def test_a_limit_that_falls_among_duplicates_keeps_the_one_that_a_whole_run_keeps(
    shop: Shop,
) -> None:
    twins = pd.concat([products(2).assign(title=title) for title in ("z", "b", "a")])
    shop.write(twins)
    shop.refresh(limit=1)
    shop.refresh(run_id="whole")

    runs = shop.table("product_attributes").set_index("product_id")["run_id"]
    assert runs["p0"] != "whole" and runs["p1"] == "whole"


@in_full
def test_a_run_id_that_is_given_again_on_another_day_counts_from_that_day(shop: Shop) -> None:
    shop.refresh(run_id="named")
    other = products()
    other.loc[0, "title"] = "a red shirt"
    shop.write(other)
    shop.refresh(run_id="tuesday", run_date=date(2026, 11, 25))
    shop.write(products())

    again = shop.refresh(run_id="named", run_date=date(2026, 11, 26))

    assert again.counts["withheld"] == 0
    p0 = shop.table("product_attributes").set_index("product_id").loc["p0"]
    assert (p0["run_id"], p0["run_date"]) == ("named", date(2026, 11, 26))
    assert shop.refresh(run_id="named", run_date=date(2026, 11, 26)).outcome == "nothing_to_do"


@in_full
def test_inputs_that_are_again_as_they_were_this_morning_are_published_again(shop: Shop) -> None:
    morning = shop.refresh()
    wrong = products()
    wrong["title"] = "the titles of another shop"
    shop.write(wrong)
    shop.refresh()
    shop.write(products())

    again = shop.refresh()

    assert (again.run_id, again.outcome) == (morning.run_id, "published")
    assert (again.counts["published"], again.counts["withheld"]) == (6, 0)
    assert "inference" not in again.seconds
    assert set(shop.table("product_attributes")["run_id"]) == {morning.run_id}
    assert shop.refresh().outcome == "nothing_to_do"


@in_full
def test_commit_says_which_run_made_it(shop: Shop) -> None:
    summary = shop.refresh()
    history = shop.spark.sql(f"DESCRIBE HISTORY {shop.database}.product_attributes LIMIT 1")

    assert summary.run_id in history.collect()[0]["userMetadata"]


@in_full
def test_new_attributes_add_columns_and_keep_the_old_rows(shop: Shop) -> None:
    shop.refresh()
    wider = FakeEngineSpec("fake-wide", {"color": ("red",), "fit": ("slim", "wide")})
    shop.refresh(spec=wider)

    rows = shop.table("product_attributes")
    assert {"pattern", "fit", "fit_confidence"} <= set(rows.columns)
    assert rows["fit_confidence"].notna().all()
