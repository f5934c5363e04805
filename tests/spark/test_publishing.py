"""Staged runs that wait for a person, runs out of order, and rows carried over."""

import re
from datetime import date
from typing import Any

import pandas as pd
import pytest
from commit_hook import CommitHook
from fake_shop import DAY, Shop, fails, passes, products
from long_tests import in_full

from enrich.errors import ConfigError, ValidationFailed
from enrich.fake_engine import FakeEngineSpec
from enrich.spark.console import show_run
from enrich.spark.plan import plan_refresh
from enrich.spark.publishing import select_publishable
from enrich.spark.records import InputRows, StagedRows
from enrich.spark.rollback import roll_back
from enrich.spark.settling import drop_staged_run
from enrich.spark.tables.output_tables import PublishedCounts
from schemas.verdict import Verdict

pytestmark = [
    pytest.mark.spark,
    in_full,
]

LATER = date(2026, 11, 25)
LABELS = {"color": ("red", "green", "blue"), "pattern": ("solid", "striped")}


def test_staged_run_is_published_as_if_it_had_been_published_at_once(shop: Shop) -> None:
    staged = shop.refresh(publish=False, run_id="monday")
    summary = shop.publish_staged("monday")
    version = shop.version("product_attributes")
    again = shop.publish_staged("monday")

    # Rounded in the ledger, of seconds that may be few.
    assert summary.products_per_second == pytest.approx(staged.products_per_second, rel=0.1)
    assert (summary.outcome, summary.counts["published"], summary.counts["withheld"]) == (
        "published",
        6,
        0,
    )
    assert again.counts == summary.counts
    assert shop.version("product_attributes") == version
    assert set(shop.table("product_attributes")["run_id"]) == {"monday"}
    rerun = shop.refresh(run_id="monday")
    assert (rerun.outcome, rerun.counts["unchanged"]) == ("nothing_to_do", 6)


def test_blocked_run_is_published_with_a_reason_that_the_ledger_keeps(shop: Shop) -> None:
    with pytest.raises(ValidationFailed):
        shop.refresh(validate=fails, run_id="odd")
    with pytest.raises(ConfigError, match=r"too blue.*say why"):
        shop.publish_staged("odd")
    assert shop.table("product_attributes").empty

    shop.publish_staged("odd", "it is the blue season")

    assert len(shop.table("product_attributes")) == 6
    ledger = shop.table("enrichment_runs").iloc[0]
    assert (ledger["outcome"], ledger["reason"]) == ("published", "it is the blue season")


def test_a_run_that_was_taken_back_is_published_again_only_with_a_reason(shop: Shop) -> None:
    shop.refresh(run_id="odd")
    roll_back(shop.tables, "odd", "wrong images")
    with pytest.raises(ConfigError, match=r"rolled_back \(with run odd: wrong images\).*say why"):
        shop.publish_staged("odd")

    shop.publish_staged("odd", "they were right")

    assert len(shop.table("product_attributes")) == 6


def test_a_run_whose_unchanged_products_were_taken_back_waits_for_the_run_that_had_published_them(
    shop: Shop,
) -> None:
    shop.refresh(run_id="monday")
    shop.write(products(7))
    assert shop.refresh(run_id="tuesday", publish=False).counts["unchanged"] == 6
    roll_back(shop.tables, "monday", "wrong images")

    with pytest.raises(ConfigError, match=r"6 products published .* and 0 are published now"):
        shop.publish_staged("tuesday")
    assert shop.table("product_attributes").empty

    for run in ("monday", "tuesday"):
        shop.publish_staged(run, "right after all")
    assert len(shop.table("product_attributes")) == 7


def test_counts_add_up_where_another_run_had_published_some_of_it_meanwhile(shop: Shop) -> None:
    shop.refresh(run_id="odd", publish=False)
    shop.refresh(run_id="trial", limit=1)
    assert shop.refresh(run_id="odd").counts["unchanged"] == 1
    roll_back(shop.tables, "odd", "wrong images")

    counts = shop.publish_staged("odd", "right after all").counts

    assert counts["read"] == 6 == counts["published"] + counts["unchanged"] + counts["withheld"]


def test_an_answer_that_another_run_publishes_at_the_same_time_is_unchanged_and_not_withheld(
    shop: Shop,
) -> None:
    shop.refresh(run_id="slow", publish=False)
    shop.refresh(run_id="quick", limit=4)
    staged = shop.tables.read_rows("staged_attributes", "slow")
    rows = select_publishable(shop.tables, staged, LABELS, is_behind=False)

    # It had seen none of them when it began.
    found = shop.tables.publish(lambda: rows, "slow", full_refresh=False, is_all_new=True)

    assert found == PublishedCounts(published=2, unchanged=4, withheld=0)


def test_a_run_that_was_staged_again_on_another_day_is_published_as_of_that_day(
    shop: Shop,
) -> None:
    shop.refresh(run_id="odd", publish=False)
    other = products()
    other.loc[0, "title"] = "a red shirt"
    shop.write(other)
    shop.refresh(run_id="tuesday", run_date=date(2026, 11, 25))
    shop.write(products())
    shop.refresh(run_id="odd", run_date=date(2026, 11, 26), publish=False)

    counts = shop.publish_staged("odd").counts

    assert counts["withheld"] == 0
    published = shop.table("product_attributes").set_index("product_id")
    assert published.loc["p0", "run_date"] == date(2026, 11, 26)


def test_dropped_run_is_gone_and_cannot_be_published(shop: Shop) -> None:
    shop.refresh(publish=False, run_id="draft")
    drop_staged_run(shop.tables, "draft", "a mistake")

    assert shop.table("staged_attributes").empty
    ledger = shop.table("enrichment_runs")
    assert ledger.iloc[0]["outcome"] == "dropped"
    assert drop_staged_run(shop.tables, "draft", "another reason").reason == "a mistake"
    pd.testing.assert_frame_equal(shop.table("enrichment_runs"), ledger)
    with pytest.raises(ConfigError, match=r"dropped \(a mistake\)"):
        shop.publish_staged("draft", "after all")
    with pytest.raises(ConfigError, match="has no run 'nobody'"):
        shop.publish_staged("nobody")
    assert shop.refresh(run_id="draft").counts["published"] == 6


def test_published_run_cannot_be_dropped(shop: Shop) -> None:
    run_id = shop.refresh().run_id

    with pytest.raises(ConfigError, match="is published"):
        drop_staged_run(shop.tables, run_id, "a mistake")


def test_rows_of_a_day_to_come_are_by_a_wrong_clock_and_give_way(shop: Shop) -> None:
    shop.refresh(run_id="wrong-clock", run_date=date(2999, 1, 1))
    assert shop.refresh(run_id="same").outcome == "nothing_to_do"
    shop.write(products(5).assign(title="a red shirt"))
    delete = {"missing_products": "delete", "max_deleted_share": 0.5}

    counts = shop.refresh(run_id="right", config=delete).counts

    assert (counts["published"], counts["deleted"]) == (5, 1)
    assert set(shop.table("product_attributes")["run_id"]) == {"right"}


def test_older_run_never_overwrites_what_a_newer_one_published(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    late = products()
    late.loc[0, "title"] = "an old title"
    shop.write(late)
    shop.refresh(publish=False, run_id="late", run_date=date(2026, 11, 23))
    shop.write(products(5))
    shop.refresh(run_id="newer")

    published = shop.publish_staged("late")
    shop.write(late)
    backfill = shop.refresh(run_id="backfill", run_date=date(2026, 11, 22))
    assert "1 products stay as a run of a later date has published them" in caplog.text

    assert (published.counts["published"], published.counts["withheld"]) == (1, 5)
    rows = shop.table("product_attributes").set_index("product_id")["run_id"]
    assert rows.to_dict() == {"p5": "late", **{f"p{n}": "newer" for n in range(5)}}
    assert (backfill.counts["pending"], backfill.counts["unchanged"]) == (0, 6)


def test_new_category_is_published_without_asking_the_classifier(shop: Shop) -> None:
    shop.write(products().assign(department="shirts"))
    shop.refresh()
    with_category = {"columns": {"category": "department"}}
    before = shop.table("product_attributes").set_index("product_id")

    summary = shop.refresh(config=with_category)

    assert (summary.counts["carried"], summary.counts["published"]) == (6, 6)
    assert summary.engine_loads == {}
    after = shop.table("product_attributes").set_index("product_id").loc[before.index]
    assert set(after["product_category"]) == {"shirts"}
    assert after["color"].tolist() == before["color"].tolist()
    assert shop.refresh(config=with_category).outcome == "nothing_to_do"
    # As if it had been killed after its MERGE.
    shop.sql(f"DELETE FROM shop.enrichment_runs WHERE run_id = '{summary.run_id}'")
    assert shop.refresh(config=with_category).counts == summary.counts


def test_input_that_fails_its_check_is_never_shown_to_the_classifier(shop: Shop) -> None:
    seen: list[tuple[int, int]] = []

    def refuses(rows: InputRows) -> Verdict:
        products = rows.products
        seen.append((products.count(), products.where("is_new").count()))
        check = {"expectation": "expect_images", "outcome": "fail", "suite": "input"}
        return Verdict(failures=("no image could be read",), quality=(check,))

    with pytest.raises(ValidationFailed, match="no image could be read"):
        shop.refresh(validate_input=refuses, run_id="blind")

    assert seen == [(6, 6)]
    assert shop.table("staged_attributes").empty
    ledger = shop.table("enrichment_runs").iloc[0]
    assert (ledger["outcome"], ledger["withheld"], ledger["enriched"]) == ("blocked", 6, 0)
    assert shop.table("label_quality")["suite"].tolist() == ["input"]
    with pytest.raises(ConfigError, match="staged no answer"):
        shop.publish_staged("blind", "why not")
    assert ledger["run_date"] == DAY


def test_run_that_goes_on_keeps_what_was_found_about_its_input(shop: Shop) -> None:
    def finds(rows: InputRows) -> Verdict:
        check = {"expectation": "expect_images", "outcome": "pass", "suite": "input"}
        return Verdict(quality=(check,))

    with pytest.raises(ValidationFailed):
        shop.refresh(validate=fails, validate_input=finds)

    shop.refresh(validate_input=finds)

    assert sorted(shop.table("label_quality")["suite"]) == ["input", "staged"]


def judged(failure: str, suite: str) -> Verdict:
    check = {"expectation": f"expect_no_{failure}", "outcome": "fail", "suite": suite}
    return Verdict(failures=(failure,), quality=(check,))


def test_checks_that_failed_are_the_run_s_no_more_once_what_they_were_about_is_put_right(
    shop: Shop,
) -> None:
    shop.refresh(run_id="first")
    shop.write(products(8))
    with pytest.raises(ValidationFailed, match="blue"):
        shop.refresh(lambda _: judged("blue", "staged"), run_id="night")
    shop.write(products(9))
    with pytest.raises(ValidationFailed, match="blank"):
        shop.refresh(validate_input=lambda _: judged("blank", "input"), run_id="night")
    # An attempt that is stopped before the answers are judged says nothing of them.
    blocked = shop.sql("SELECT suite FROM shop.quality_history WHERE outcome = 'fail'")
    assert sorted(blocked["suite"]) == ["input", "staged"]

    shop.write(products())
    assert shop.refresh(run_id="night").outcome == "nothing_to_do"

    assert set(shop.table("label_quality")["run_id"]) == {"first"}


def test_checks_that_failed_are_the_run_s_no_more_where_all_that_is_left_is_carried_over(
    shop: Shop,
) -> None:
    shop.write(products().assign(department="shirts"))
    shop.refresh(run_id="first")
    with_category = {"columns": {"category": "department"}}
    shop.write(products(8).assign(department="shirts"))
    with pytest.raises(ValidationFailed):
        shop.refresh(lambda _: judged("blue", "staged"), config=with_category, run_id="night")

    shop.write(products().assign(department="shirts"))
    assert shop.refresh(config=with_category, run_id="night").counts["published"] == 6

    assert set(shop.table("label_quality")["run_id"]) == {"first"}


def test_what_a_newer_run_has_published_counts_as_withheld(shop: Shop) -> None:
    with pytest.raises(ValidationFailed):
        shop.refresh(validate=fails, run_id="monday")
    changed = products()
    changed["title"] = "a red shirt"
    shop.write(changed)
    shop.refresh(run_id="tuesday", run_date=date(2026, 11, 25))

    monday = shop.publish_staged("monday", "it was right")

    assert (monday.counts["published"], monday.counts["withheld"]) == (0, 6)
    assert set(shop.table("product_attributes")["run_id"]) == {"tuesday"}


def test_a_run_whose_staged_rows_are_gone_is_not_said_to_be_published(shop: Shop) -> None:
    shop.refresh(publish=False, run_id="draft")
    shop.sql("DELETE FROM shop.staged_attributes WHERE product_id > 'p1'")

    with pytest.raises(ConfigError, match="staged 6 answers, and 2 are there now"):
        shop.publish_staged("draft")
    assert shop.table("enrichment_runs").iloc[0]["outcome"] == "staged"


def test_inputs_that_are_again_as_staged_this_morning_are_published_again(shop: Shop) -> None:
    shop.refresh(run_id="morning", publish=False)
    shop.publish_staged("morning")
    wrong = products()
    wrong["title"] = "the titles of another shop"
    shop.write(wrong)
    shop.refresh(run_id="noon")
    shop.write(products())
    shop.refresh(run_id="morning", publish=False)

    again = shop.publish_staged("morning")

    assert (again.counts["published"], again.counts["withheld"]) == (6, 0)
    assert set(shop.table("product_attributes")["run_id"]) == {"morning"}


def test_run_of_another_checkpoint_is_not_published_with_this_one(shop: Shop) -> None:
    shop.refresh(run_id="draft", publish=False)

    with pytest.raises(ConfigError, match="was staged by fake-1, and this is fake-2"):
        shop.publish_staged("draft", model_version="fake-2")


def test_run_that_was_killed_after_its_merge_cannot_be_dropped(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationFailed):
        shop.refresh(fails, run_id="nightly")
    with CommitHook(monkeypatch).killed_after("publish"):
        shop.refresh(run_id="nightly")

    said = r"'nightly' published .* does not say so yet.* --publish-run nightly --reason"
    with pytest.raises(ConfigError, match=said):
        drop_staged_run(shop.tables, "nightly", "a mistake")
    assert len(shop.table("staged_attributes")) == 6
    assert shop.publish_staged("nightly", "they were right").counts["published"] == 6
    with pytest.raises(ConfigError, match="is published"):
        drop_staged_run(shop.tables, "nightly", "a mistake")


def test_of_a_run_that_had_published_what_a_blocked_attempt_staged_since_is_dropped(
    shop: Shop,
) -> None:
    shop.refresh(run_id="night")
    shop.write(products(8))
    with pytest.raises(ValidationFailed, match="--drop-run settles it"):
        shop.refresh(fails, run_id="night")

    dropped = drop_staged_run(shop.tables, "night", "a mistake")

    assert (dropped.outcome, dropped.counts["published"]) == ("dropped", 6)
    for table in ("product_attributes", "staged_attributes"):
        assert sorted(shop.table(table)["product_id"]) == [f"p{number}" for number in range(6)]
    again = shop.refresh(run_id="night")
    assert (again.counts["published"], len(shop.table("product_attributes"))) == (8, 8)


def test_an_answer_that_a_blocked_attempt_gave_anew_is_dropped_though_the_product_is_the_same(
    shop: Shop,
) -> None:
    shop.refresh(run_id="night")
    before = shop.table("product_attributes")
    with pytest.raises(ValidationFailed):
        shop.refresh(fails, spec=OTHERWISE, run_id="night", run_date=LATER, full_refresh=True)

    drop_staged_run(shop.tables, "night", "a mistake")

    assert shop.table("staged_attributes").empty
    pd.testing.assert_frame_equal(shop.table("product_attributes"), before)
    assert roll_back(shop.tables, "night", "these were wrong too") == ["night"]
    assert shop.table("product_attributes").empty


def test_what_has_vanished_is_no_row_of_the_input(shop: Shop) -> None:
    shop.refresh()
    shop.write(products(9).iloc[4:])
    seen: list[int] = []

    def counts(rows: InputRows) -> Verdict:
        seen.append(rows.products.count())
        return Verdict()

    shop.refresh(validate_input=counts, run_id="fewer")
    assert seen == [5]


def test_a_table_that_has_lost_its_ids_is_no_quiet_night(shop: Shop) -> None:
    shop.refresh()
    shop.write(products().assign(product_id=None))
    seen: list[tuple[int, int]] = []

    def refuses(rows: InputRows) -> Verdict:
        seen.append((rows.products.count(), rows.products.where("is_new").count()))
        return Verdict(failures=("no ids",))

    with pytest.raises(ValidationFailed, match="no ids"):
        shop.refresh(validate_input=refuses, run_id="lost")
    assert seen == [(6, 0)]
    assert shop.table("enrichment_runs").set_index("run_id").loc["lost", "outcome"] == "blocked"
    assert len(shop.table("product_attributes")) == 6


def test_ids_that_rich_takes_for_markup_are_shown_as_they_are(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.write(products(2).assign(product_id=["[/b]", "a[bold]"]))
    show_run(shop.tables, shop.refresh())
    said = capsys.readouterr().out
    assert "[/b]" in said and "a[bold]" in said


def test_a_confidence_beside_a_person_s_label_says_of_which_label_it_is(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.refresh(run_id="first")
    (best,) = shop.sql(
        "SELECT candidate FROM shop.product_attribute_values "
        "WHERE product_id = 'p0' AND attribute = 'color'"
    )["candidate"]
    other = "red" if best != "red" else "blue"
    correction = f"'p0', 'color', '{other}', 'ana', current_timestamp(), NULL"
    shop.sql(f"INSERT INTO shop.attribute_corrections VALUES ({correction})")

    show_run(shop.tables, shop.refresh(run_id="second"))

    assert re.search(rf"p0\W+{other}\W+{best} 0\.\d\d\W", capsys.readouterr().out)


def test_what_a_named_run_staged_of_other_inputs_is_not_published(shop: Shop) -> None:
    shop.refresh(run_id="sunday")
    wrong = products(7)
    wrong.loc[0, "title"] = "another shop's title"
    shop.write(wrong)
    with pytest.raises(ValidationFailed):
        shop.refresh(validate=fails, run_id="monday")
    before = shop.table("product_attributes")

    shop.write(products())
    summary = shop.refresh(run_id="monday")

    assert (summary.outcome, summary.counts["unchanged"]) == ("nothing_to_do", 6)
    assert summary.counts["quarantined"] == 0
    assert shop.table("product_attributes").equals(before)


def kill_when_staged(shop: Shop, patch: pytest.MonkeyPatch, **night: Any) -> None:
    """Has an attempt at a run die after its first chunk, before anybody has judged that."""
    with CommitHook(patch).killed_after("append_chunk"):
        shop.refresh(**night)


@pytest.mark.parametrize("second", [{}, {"model_version": "fake-2"}], ids=["inputs", "checkpoint"])
def test_what_no_gate_has_seen_is_not_published_though_it_is_as_many(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, second: dict[str, str]
) -> None:
    with pytest.raises(ValidationFailed):
        shop.refresh(fails, run_id="night")
    if not second:
        shop.write(products().assign(title="put right"))
    kill_when_staged(shop, monkeypatch, run_id="night", **second)

    with pytest.raises(ConfigError, match=r"staged 6 answers, and 0 .*started again"):
        shop.publish_staged("night", "looked at it")

    assert shop.table("product_attributes").empty


def test_of_a_run_that_was_started_again_what_the_gate_has_seen_is_published(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValidationFailed):
        shop.refresh(fails, run_id="night")
    shop.write(products(7))
    kill_when_staged(shop, monkeypatch, run_id="night")

    shop.publish_staged("night", "looked at it")
    published = sorted(shop.table("product_attributes")["product_id"])
    rest = shop.refresh(run_id="night")

    assert published == [f"p{number}" for number in range(6)]
    assert "inference" not in rest.seconds
    assert len(shop.table("product_attributes")) == 7


def test_what_another_process_stages_for_the_same_run_meanwhile_is_not_published_by_this_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start_again() -> None:
        shop.write(products().assign(title="other inputs"))
        with pytest.raises(ValidationFailed):
            shop.refresh(fails, run_id="night")

    CommitHook(monkeypatch).at("before", start_again, of=("publish",))
    counts = shop.refresh(run_id="night").counts

    assert shop.table("product_attributes").empty
    assert (counts["published"], counts["withheld"]) == (0, 6)


# Under other limits, say: the same products, and other answers of the same checkpoint.
OTHERWISE = FakeEngineSpec(
    "fake-1", {"color": ("green", "blue", "red"), "pattern": ("striped", "solid")}
)


def publish_morning_and_noon(shop: Shop) -> pd.DataFrame:
    """Lets a run answer in the morning, and another one anew at noon; returns what stands then."""
    shop.refresh(run_id="night")
    morning = shop.table("product_attributes").set_index("product_id")
    shop.refresh(spec=OTHERWISE, run_id="noon", full_refresh=True)
    noon = shop.table("product_attributes").set_index("product_id")
    assert morning.loc["p1", "pattern"] != noon.loc["p1", "pattern"]
    return noon


def test_a_run_that_goes_on_later_leaves_newer_answers_of_another_run_as_they_are(
    shop: Shop,
) -> None:
    noon = publish_morning_and_noon(shop)
    shop.write(products(7))

    planned = plan_refresh(shop.prepare(run_id="night"))
    staged = shop.refresh(run_id="night", publish=False)
    counts = shop.publish_staged("night").counts

    assert (planned.staged, staged.counts["enriched"]) == (0, 1)
    assert (counts["published"], counts["unchanged"], counts["withheld"]) == (1, 6, 0)
    rows = shop.table("product_attributes").set_index("product_id")
    assert rows["run_id"].to_dict() == dict.fromkeys(noon.index, "noon") | {"p6": "night"}
    assert rows["pattern"].drop("p6").to_dict() == noon["pattern"].to_dict()


def test_a_run_that_goes_on_later_lays_a_correction_over_the_newer_answer_of_another_run(
    shop: Shop,
) -> None:
    noon = publish_morning_and_noon(shop)
    shop.sql(
        "INSERT INTO shop.attribute_corrections VALUES "
        "('p1', 'color', 'red', 'ana', current_timestamp(), NULL)"
    )

    counts = shop.refresh(run_id="night").counts

    assert (counts["carried"], counts["published"], counts["unchanged"]) == (1, 1, 5)
    corrected = shop.table("product_attributes").set_index("product_id").loc["p1"]
    assert (corrected["run_id"], corrected["color"]) == ("night", "red")
    assert corrected["pattern"] == noon.loc["p1", "pattern"]


def test_an_answer_that_was_taken_back_does_not_come_back_by_a_run_that_had_carried_it_over(
    shop: Shop,
) -> None:
    shop.refresh(run_id="good")
    good = shop.table("product_attributes").set_index("product_id").loc["p1", "pattern"]
    shop.refresh(spec=OTHERWISE, run_id="bad", full_refresh=True)
    shop.sql(
        "INSERT INTO shop.attribute_corrections VALUES "
        "('p1', 'color', 'red', 'ana', current_timestamp(), NULL)"
    )
    shop.refresh(run_id="night")
    bad = shop.table("product_attributes").set_index("product_id").loc["p1"]
    assert (bad["run_id"], bad["color"], bad["pattern"] == good) == ("night", "red", False)
    roll_back(shop.tables, "bad", "a bad GPU")

    counts = shop.publish_staged("night", "its correction was right").counts
    taken_back = shop.table("product_attributes").set_index("product_id").loc["p1"]
    again = shop.refresh(run_id="night")

    assert (counts["published"], counts["withheld"], counts["unchanged"]) == (0, 1, 5)
    assert (taken_back["run_id"], taken_back["pattern"]) == ("good", good)
    assert (again.counts["carried"], again.counts["published"]) == (1, 1)
    assert again.engine_loads == {}
    corrected = shop.table("product_attributes").set_index("product_id").loc["p1"]
    assert (corrected["color"], corrected["pattern"]) == ("red", good)


def test_a_run_that_has_carried_all_waits_for_the_run_that_had_published_what_it_carried(
    shop: Shop,
) -> None:
    shop.write(products().assign(department="shirts"))
    shop.refresh(run_id="monday")
    with_category = {"columns": {"category": "department"}}
    shop.refresh(config=with_category, run_id="tuesday", publish=False)
    roll_back(shop.tables, "monday", "wrong images")

    with pytest.raises(ConfigError, match=r"6 products published .* and 0 are published now"):
        shop.publish_staged("tuesday", config=with_category)
    for run in ("monday", "tuesday"):
        shop.publish_staged(run, "right after all", config=with_category)

    assert set(shop.table("product_attributes")["product_category"]) == {"shirts"}


def test_a_second_attempt_that_is_blocked_leaves_the_word_of_what_the_first_one_published(
    shop: Shop,
) -> None:
    shop.refresh(run_id="night")
    shop.write(products(7))
    with pytest.raises(ValidationFailed, match="nothing more was published: color: too blue"):
        shop.refresh(fails, run_id="night")
    blocked = shop.table("enrichment_runs").iloc[0]
    staged = shop.refresh(run_id="night", publish=False)

    assert blocked["outcome"] == "blocked"
    for counts in (blocked, staged.counts):
        fates = [counts[fate] for fate in ("published", "unchanged", "withheld")]
        assert fates == [6, 0, 1]
    assert shop.refresh(run_id="night").counts["published"] == 7


def test_an_attempt_that_is_stopped_before_inference_leaves_the_word_of_what_was_published(
    shop: Shop,
) -> None:
    shop.refresh(run_id="night")
    shop.write(products(8))
    with pytest.raises(ValidationFailed, match="nothing more was published: ids are lost"):
        shop.refresh(run_id="night", validate_input=lambda _: Verdict(failures=("ids are lost",)))

    blocked = shop.table("enrichment_runs").iloc[0]
    assert [blocked[fate] for fate in ("published", "unchanged", "withheld")] == [6, 0, 2]
    with pytest.raises(ConfigError, match="run it again, it goes on from what was staged"):
        shop.publish_staged("night", "why not")
    assert drop_staged_run(shop.tables, "night", "a mistake").counts["published"] == 6
    assert roll_back(shop.tables, "night", "these were wrong too") == ["night"]
    taken_back = shop.table("enrichment_runs").iloc[0]
    assert [taken_back[fate] for fate in ("published", "unchanged", "withheld")] == [0, 0, 8]


def test_of_a_blocked_run_that_is_taken_back_with_another_nothing_is_said_to_be_published(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.refresh(run_id="first")
    shop.write(products(7))
    with CommitHook(monkeypatch).killed_after("publish"):
        shop.refresh(run_id="second")
    with pytest.raises(ValidationFailed):
        shop.refresh(fails, run_id="second")
    ledger = shop.table("enrichment_runs").set_index("run_id")
    assert ledger.loc["second", "published"] == 1

    roll_back(shop.tables, "first", "wrong images")

    second = shop.table("enrichment_runs").set_index("run_id").loc["second"]
    assert (second["outcome"], second["published"], second["withheld"]) == ("rolled_back", 0, 1)


class Gate:
    """Lets all pass, and keeps of what: the ids it saw, in one text, for each time it was asked."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __call__(self, staged: StagedRows) -> Verdict:
        ids = sorted(row["product_id"] for row in staged.rows.select("product_id").collect())
        assert staged.expected == len(ids)
        self.seen.append(" ".join(ids))
        return passes(staged)


@pytest.mark.parametrize("by_hand", [False, True], ids=["by the run", "by a person"])
def test_what_a_run_has_published_does_not_hide_what_it_brings_now(
    shop: Shop, by_hand: bool
) -> None:
    if by_hand:
        with pytest.raises(ValidationFailed):
            shop.refresh(fails, run_id="night")
        shop.publish_staged("night", "the summer collection is in")
    else:
        shop.refresh(run_id="night")
    gate = Gate()
    shop.write(products(8))
    shop.refresh(gate, run_id="night", publish=False)
    shop.publish_staged("night")
    shop.write(products(9))

    counts = shop.refresh(gate, run_id="night", run_date=LATER).counts

    assert gate.seen == ["p6 p7", "p8"]
    assert (counts["published"], counts["withheld"]) == (9, 0)


def test_what_a_killed_attempt_has_published_is_judged_until_its_checks_are_written(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate()
    for count in (6, 8):
        shop.write(products(count))
        with CommitHook(monkeypatch).killed_after("publish"):
            shop.refresh(run_id="night")
        shop.refresh(gate, run_id="night")

    assert gate.seen == ["p0 p1 p2 p3 p4 p5", "p6 p7"]
    assert set(shop.table("label_quality")["observed"]) == {2.0}
    assert shop.refresh(gate, run_id="night").outcome == "nothing_to_do"


def test_a_full_refresh_is_judged_whole_unless_its_own_answers_are_published(shop: Shop) -> None:
    shop.refresh(run_id="night")
    gate = Gate()
    anew = {"spec": OTHERWISE, "run_id": "night", "run_date": LATER, "full_refresh": True}
    shop.refresh(gate, **anew)
    shop.write(products(7))
    shop.refresh(gate, **anew)

    assert gate.seen == ["p0 p1 p2 p3 p4 p5", "p6"]


def test_a_correction_of_what_the_same_run_has_published_is_not_held_up_by_the_gate(
    shop: Shop,
) -> None:
    shop.refresh(run_id="night")
    shop.sql(
        "INSERT INTO shop.attribute_corrections VALUES "
        "('p1', 'color', 'red', 'ana', current_timestamp(), NULL)"
    )

    summary = shop.refresh(fails, run_id="night")

    assert (summary.outcome, summary.counts["published"]) == ("published", 6)
    rows = shop.table("product_attributes").set_index("product_id")
    assert rows.loc["p1", "color"] == "red"


def breaks(staged: StagedRows) -> Verdict:
    raise RuntimeError("no space left")


def test_answers_that_no_gate_has_judged_are_published_by_nobody(shop: Shop) -> None:
    shop.refresh(run_id="night")
    shop.write(products(8))
    with pytest.raises(RuntimeError):
        shop.refresh(breaks, run_id="night")

    refused = r"'night' failed \(.*no space.*\), and no gate .* run it again"
    for reason in (None, "the disk was full"):
        with pytest.raises(ConfigError, match=refused):
            shop.publish_staged("night", reason)

    assert len(shop.table("product_attributes")) == 6
    assert "inference" not in shop.refresh(run_id="night").seconds


def test_a_run_that_failed_after_its_gate_is_published_with_a_reason(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_store() -> None:
        raise RuntimeError("the store is gone")

    CommitHook(monkeypatch).at("before", lose_the_store, of=("publish",))
    with pytest.raises(RuntimeError, match="the store is gone"):
        shop.refresh(run_id="night")

    assert shop.publish_staged("night", "the store is back").counts["published"] == 6
