"""Runs taken back: the table as it was, the ledger's word, and what the next run does."""

import contextlib
import os
import re
import time
from datetime import date, datetime
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
from commit_hook import CommitHook
from fake_shop import Shop, fails, passes, products
from long_tests import in_full

from enrich.config import JobConfig
from enrich.errors import ConfigError, TableContended, ValidationFailed
from enrich.fake_engine import FakeEngineSpec
from enrich.spark import rollback
from enrich.spark.rollback import roll_back
from enrich.spark.settling import drop_staged_run, publish_staged_run
from enrich.spark.tables.history import read_commits, select_standing
from enrich.spark.tables.maintenance import maintain_tables
from enrich.spark.tables.output_tables import OutputTables

pytestmark = [
    pytest.mark.spark,
    in_full,
]

WIDER = {"color": ("red",), "fit": ("slim", "wide")}


def test_table_is_as_before_the_run_in_one_commit_and_nothing_else_is_enriched_again(
    shop: Shop,
) -> None:
    shop.refresh(run_id="monday")
    before = shop.table("product_attributes").sort_values("product_id", ignore_index=True)
    changed = products(7)
    changed.loc[0, "title"] = "a red shirt"
    shop.write(changed)
    shop.refresh(run_id="tuesday", run_date=date(2026, 11, 25))
    shop.refresh(run_id="wednesday", run_date=date(2026, 11, 26), full_refresh=True)
    version = shop.version("product_attributes")

    taken_back = roll_back(shop.tables, "tuesday", "wrong images")

    after = shop.table("product_attributes").sort_values("product_id", ignore_index=True)
    assert after.drop(columns="predictions").equals(before.drop(columns="predictions"))
    assert taken_back == ["tuesday", "wednesday"]
    assert shop.version("product_attributes") == version + 1
    ledger = shop.table("enrichment_runs").set_index("run_id")
    assert ledger["outcome"].to_dict() == {
        "monday": "published",
        "tuesday": "rolled_back",
        "wednesday": "rolled_back",
    }
    assert ledger.loc["wednesday", "reason"] == "with run tuesday: wrong images"
    # A call that is cut off is not said to be done: the run that it names is marked last.
    assert ledger["finished_at"].idxmax() == "tuesday"
    assert roll_back(shop.tables, "tuesday", "again") == []
    assert shop.version("product_attributes") == version + 1

    next_run = shop.refresh(run_id="thursday", run_date=date(2026, 11, 27))
    assert (next_run.counts["pending"], next_run.counts["unchanged"]) == (2, 5)


def test_a_person_s_restore_to_a_time_is_understood(shop: Shop) -> None:
    shop.refresh(run_id="first")
    shop.write(products(7))
    shop.refresh(run_id="second")
    time.sleep(1.1)
    between = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
    time.sleep(1.1)
    shop.write(products(8))
    shop.refresh(run_id="third")
    shop.sql(f"RESTORE TABLE shop.product_attributes TO TIMESTAMP AS OF '{between}'")
    standing = select_standing(read_commits(shop.tables))
    assert [commit.run_id for commit in standing] == ["first", "second"]
    assert roll_back(shop.tables, "second", "a mistake") == ["second", "third"]
    assert len(shop.table("product_attributes")) == 6


def test_run_that_was_taken_back_is_published_again_without_inference(shop: Shop) -> None:
    shop.refresh(run_id="first")
    changed = products(7)
    shop.write(changed)
    shop.refresh(run_id="second")
    roll_back(shop.tables, "second", "a mistake")

    again = shop.refresh(run_id="second")

    assert (again.outcome, again.counts["published"]) == ("published", 1)
    assert "inference" not in again.seconds
    assert len(shop.table("product_attributes")) == 7
    assert roll_back(shop.tables, "second", "a mistake after all") == ["second"]
    assert len(shop.table("product_attributes")) == 6
    # As if it had been killed before the ledger said so.
    shop.sql(
        "UPDATE shop.enrichment_runs SET outcome = 'published', finished_at = started_at "
        "WHERE run_id = 'second'"
    )
    version = shop.version("product_attributes")
    assert roll_back(shop.tables, "second", "a mistake after all") == ["second"]
    assert shop.version("product_attributes") == version
    assert shop.table("enrichment_runs").set_index("run_id").loc["second", "published"] == 0


def test_a_run_that_found_its_answers_there_is_marked_with_the_run_that_had_published_them(
    shop: Shop,
) -> None:
    shop.refresh(run_id="first")
    shop.write(products(7))
    shop.refresh(run_id="second")
    shop.refresh(run_id="idle")
    # As of a run that was repeated after another one had published the same.
    shop.sql("UPDATE shop.enrichment_runs SET outcome = 'published' WHERE run_id = 'idle'")

    assert roll_back(shop.tables, "second", "a mistake") == ["second"]

    outcomes = shop.table("enrichment_runs").set_index("run_id")["outcome"].to_dict()
    assert outcomes == {"first": "published", "second": "rolled_back", "idle": "rolled_back"}


def test_what_a_run_could_not_read_is_asked_again_once_it_is_dropped_or_taken_back(
    shop: Shop,
) -> None:
    table = pd.concat([products(), products(1)])
    table.loc[3, "title"] = None
    table.loc[3, "image_path"] = "3.jpg"
    shop.write(table)
    with pytest.raises(ValidationFailed):
        shop.refresh(fails, run_id="nightly")
    asked = []
    for undo in (drop_staged_run, roll_back):
        undo(shop.tables, "nightly", "the pictures were another shop's")
        assert list(shop.table("quarantine")["reason"]) == ["duplicate_id"]
        again = shop.refresh(run_id="nightly")
        assert (again.counts["published"], again.counts["quarantined"]) == (5, 2)
        asked.append(shop.table("enrichment_runs")["asked"].item())

    assert asked == [6, 6]


def test_a_run_whose_answers_another_one_had_published_is_not_taken_back_with_a_later_one(
    shop: Shop,
) -> None:
    shop.refresh(run_id="trial", limit=1)
    shop.refresh(run_id="first")
    roll_back(shop.tables, "first", "a mistake")
    shop.refresh(run_id="second")
    assert shop.refresh(run_id="first").counts["published"] == 0
    shop.write(products(7))
    shop.refresh(run_id="third")

    assert roll_back(shop.tables, "third", "another mistake") == ["third"]
    outcomes = shop.table("enrichment_runs").set_index("run_id")["outcome"]
    assert (outcomes["first"], outcomes["second"]) == ("nothing_to_do", "published")


def test_what_a_killed_rollback_took_back_is_said_by_the_next_one(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day, (run_id, count) in enumerate({"a": 6, "b": 7, "c": 8}.items(), start=20):
        shop.write(products(count))
        shop.refresh(run_id=run_id, run_date=date(2026, 11, day))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rollback, "_mark", Mock(side_effect=KeyboardInterrupt))
        roll_back(shop.tables, "b", "a mistake")
    shop.write(products(9))
    shop.refresh(run_id="d", run_date=date(2026, 11, 23))

    assert roll_back(shop.tables, "d", "another mistake") == ["b", "c", "d"]
    outcomes = shop.table("enrichment_runs").set_index("run_id")["outcome"]
    assert outcomes.to_dict() == {"a": "published", **dict.fromkeys("bcd", "rolled_back")}
    assert roll_back(shop.tables, "b", "a mistake") == []


def test_run_that_published_nothing_cannot_be_taken_back(shop: Shop) -> None:
    shop.refresh(run_id="draft", publish=False)

    with pytest.raises(ConfigError, match="is staged: it has nothing to take back"):
        roll_back(shop.tables, "draft", "a mistake")
    with pytest.raises(ConfigError, match="has no run 'nobody'"):
        roll_back(shop.tables, "nobody", "a mistake")


def test_nothing_is_taken_back_while_the_run_or_a_later_one_is_still_at_work(shop: Shop) -> None:
    shop.refresh(run_id="monday")
    changed = products(7)
    shop.write(changed)
    shop.refresh(run_id="tuesday", run_date=date(2026, 11, 25))
    # As it is between a run's MERGE and its row in the ledger.
    shop.sql("DELETE FROM shop.enrichment_runs WHERE run_id = 'tuesday'")
    version = shop.version("product_attributes")

    for run_id in ("monday", "tuesday"):
        with pytest.raises(ConfigError, match=r"'tuesday' published .* does not say so"):
            roll_back(shop.tables, run_id, "wrong images")

    assert shop.version("product_attributes") == version


def test_nothing_is_taken_back_while_a_run_that_had_published_before_is_at_work_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.refresh(run_id="first")
    shop.write(products(7))
    shop.refresh(run_id="nightly")
    shop.write(products(8))

    def take_back() -> None:
        with pytest.raises(ConfigError, match=r"'nightly' published .* does not say so"):
            roll_back(shop.tables, "nightly", "wrong images")

    hook = CommitHook(monkeypatch)
    hook.at("after", take_back, of=("publish",))
    assert shop.refresh(run_id="nightly").outcome == "published"
    assert "publish" in hook.done

    assert len(shop.table("product_attributes")) == 8
    assert roll_back(shop.tables, "nightly", "wrong images") == ["nightly"]
    assert len(shop.table("product_attributes")) == 6


def test_what_a_run_publishes_while_a_rollback_looks_is_not_taken_back_unseen(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.refresh(run_id="first")
    shop.write(products(7))
    shop.refresh(run_id="second")
    shop.write(products(8))
    hook = CommitHook(monkeypatch)
    find_run = rollback.find_run

    def publish_meanwhile(*arguments: str) -> object:
        # Not at its end yet, so that the ledger does not know of it.
        with hook.killed_after("publish"):
            shop.refresh(run_id="third")
        return find_run(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(rollback, "find_run", publish_meanwhile)
        with pytest.raises(TableContended, match=r"nothing was taken back. Repeat the command"):
            roll_back(shop.tables, "second", "wrong images")

    assert len(shop.table("product_attributes")) == 8
    with pytest.raises(ConfigError, match=r"'third' published .* does not say so"):
        roll_back(shop.tables, "second", "wrong images")
    assert shop.refresh(run_id="third").outcome == "published"
    assert roll_back(shop.tables, "second", "wrong images") == ["second", "third"]


def test_a_run_that_says_it_published_after_that_was_taken_back_is_marked_by_the_next_rollback(
    shop: Shop,
) -> None:
    for day, (run_id, count) in enumerate({"a": 6, "b": 7, "c": 8}.items(), start=20):
        shop.write(products(count))
        shop.refresh(run_id=run_id, run_date=date(2026, 11, day))
    assert roll_back(shop.tables, "b", "a mistake") == ["b", "c"]
    # As if it had published in the moment before.
    shop.sql(
        "UPDATE shop.enrichment_runs SET outcome = 'published', published = 1, withheld = 0, "
        "finished_at = current_timestamp() WHERE run_id = 'c'"
    )

    assert roll_back(shop.tables, "b", "a mistake") == ["c"]
    assert roll_back(shop.tables, "b", "a mistake") == []


def test_a_run_that_was_killed_after_it_published_again_can_be_taken_back_once_it_is_repeated(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.refresh(run_id="nightly")
    shop.write(products(7))
    with CommitHook(monkeypatch).killed_after("publish"):
        shop.refresh(run_id="nightly")
    again = r"'nightly' published .* run it again .* --run-id nightly, on another day"
    with pytest.raises(ConfigError, match=again):
        roll_back(shop.tables, "nightly", "wrong images")

    again = shop.refresh(run_id="nightly")

    assert (again.outcome, again.counts["published"]) == ("published", 7)
    assert shop.refresh(run_id="nightly").outcome == "nothing_to_do"
    assert roll_back(shop.tables, "nightly", "wrong images") == ["nightly"]


def test_a_run_is_taken_back_from_a_table_that_had_not_changed_for_weeks(shop: Shop) -> None:
    shop.refresh(run_id="long-ago")
    location = shop.sql("DESCRIBE DETAIL shop.product_attributes").loc[0, "location"]
    weeks_ago = time.time() - 40 * 86_400
    for commit in Path(location.removeprefix("file:")).glob("_delta_log/*.json"):
        os.utime(commit, (weeks_ago, weeks_ago))
    shop.spark.sql(f"REFRESH TABLE {shop.database}.product_attributes")
    shop.write(products(7))
    shop.refresh(run_id="today")

    assert roll_back(shop.tables, "today", "wrong images") == ["today"]
    assert len(shop.table("product_attributes")) == 6


@pytest.fixture
def taken_back(shop: Shop) -> Shop:
    """A shop with one good run; of two later ones the first was taken back, and so both."""
    shop.refresh(run_id="good")
    bad = products()
    bad["title"] = "the titles of another shop"
    shop.write(bad)
    shop.refresh(run_id="bad", run_date=date(2026, 11, 25))
    right = products(7)
    shop.write(right)
    shop.refresh(run_id="right", run_date=date(2026, 11, 26))
    roll_back(shop.tables, "bad", "titles of another shop")
    return shop


def test_taking_a_run_back_never_brings_back_one_that_was_taken_back_before(
    taken_back: Shop,
) -> None:
    taken_back.refresh(run_id="right", run_date=date(2026, 11, 26))
    assert roll_back(taken_back.tables, "right", "after all") == ["right"]

    assert set(taken_back.table("product_attributes")["run_id"]) == {"good"}


def test_a_rollback_that_was_killed_within_the_ledger_is_finished_by_the_same_call(
    taken_back: Shop,
) -> None:
    version = taken_back.version("product_attributes")
    taken_back.sql(
        "UPDATE shop.enrichment_runs SET outcome = 'published', finished_at = started_at "
        "WHERE run_id = 'bad'"
    )

    assert roll_back(taken_back.tables, "bad", "titles of another shop") == ["bad"]

    ledger = taken_back.table("enrichment_runs").set_index("run_id")["outcome"]
    assert ledger["bad"] == ledger["right"] == "rolled_back"
    assert taken_back.version("product_attributes") == version


def test_a_run_that_published_and_was_staged_again_can_be_taken_back(shop: Shop) -> None:
    shop.refresh(run_id="first")
    shop.write(products(7))
    shop.refresh(run_id="nightly")
    shop.write(products(8))
    shop.refresh(run_id="nightly", publish=False)

    assert roll_back(shop.tables, "nightly", "wrong images") == ["nightly"]
    assert len(shop.table("product_attributes")) == 6
    assert roll_back(shop.tables, "first", "wrong images") == ["first"]
    assert shop.table("product_attributes").empty


@pytest.fixture
def widened(shop: Shop) -> Shop:
    """A shop with two runs, and a third by a checkpoint of other attributes."""
    shop.refresh(run_id="first")
    shop.write(products(7))
    shop.refresh(run_id="second")
    shop.refresh(spec=FakeEngineSpec("fake-wide", WIDER), run_id="wider")
    return shop


def test_views_answer_after_a_checkpoint_s_columns_were_taken_back(widened: Shop) -> None:
    shop = widened
    shop.tables.keep_changes_since(2)

    roll_back(shop.tables, "second", "wrong images")

    assert "fit" not in shop.table("product_attributes").columns
    assert set(shop.table("product_attribute_values")["attribute"]) == {"color", "pattern"}
    # Changes of rows that had more columns cannot be read; what the rollback itself did can.
    changes = shop.table("attribute_changes")
    assert set(changes["change"]) == {"taken_back", "gone"}
    maintain_tables(shop.tables, retention_hours=720, keep_staged_days=30)
    assert len(shop.table("attribute_changes")) == len(changes)
    shop.write(products(8))
    shop.refresh(run_id="next")
    assert "next" in set(shop.table("attribute_changes")["run_id"])


def test_maintenance_has_views_answer_again_that_a_person_s_restore_had_broken(
    widened: Shop,
) -> None:
    shop = widened
    shop.sql("RESTORE TABLE shop.product_attributes TO VERSION AS OF 2")
    shop.write(products(8))
    shop.refresh(run_id="next")
    # One that took no columns away.
    shop.sql(
        f"RESTORE TABLE shop.product_attributes TO VERSION AS OF "
        f"{shop.version('product_attributes')}"
    )

    maintain_tables(shop.tables, retention_hours=720, keep_staged_days=30)

    assert set(shop.table("product_attribute_values")["attribute"]) == {"color", "pattern"}
    assert "next" in set(shop.table("attribute_changes")["run_id"])


def test_a_rollback_that_was_killed_in_the_middle_is_finished_by_the_same_call(
    widened: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = widened
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(rollback, "leave_out_wider_rows", Mock(side_effect=KeyboardInterrupt))
        roll_back(shop.tables, "second", "wrong images")

    assert roll_back(shop.tables, "second", "wrong images") == ["second", "wider"]

    assert set(shop.table("attribute_changes")["change"]) == {"taken_back", "gone"}


def test_what_maintenance_deleted_of_the_changes_does_not_come_back(shop: Shop) -> None:
    for number in range(3):
        shop.write(products(6 + number))
        shop.refresh(run_id=f"run-{number}")
    shop.tables.keep_changes_since(2)

    roll_back(shop.tables, "run-1", "wrong images")

    assert shop.tables.changes_since() == 2


def test_what_maintenance_has_deleted_is_not_brought_back_and_said_in_one_line(shop: Shop) -> None:
    shop.refresh(run_id="monday")
    shop.refresh(run_id="tuesday", run_date=date(2026, 11, 25), full_refresh=True)
    version = shop.version("product_attributes")
    name = f"{shop.database}.product_attributes"
    unchecked = "spark.databricks.delta.retentionDurationCheck.enabled"
    shop.spark.conf.set(unchecked, "false")
    shop.sql(f"VACUUM {name} RETAIN 0 HOURS")
    shop.spark.conf.unset(unchecked)

    with pytest.raises(ConfigError, match=r"before run 'tuesday' .* is gone: maintenance"):
        roll_back(shop.tables, "tuesday", "wrong images")
    assert shop.version("product_attributes") >= version
    assert set(shop.table("product_attributes")["run_id"]) == {"tuesday"}


def test_a_run_is_published_whole_after_a_rollback_took_its_columns_away(widened: Shop) -> None:
    shop = widened
    roll_back(shop.tables, "second", "wrong images")
    assert "fit" not in shop.table("product_attributes").columns

    tables = OutputTables(shop.spark, shop.database, tuple(WIDER))
    config = JobConfig(database=shop.database)
    publish_staged_run(tables, WIDER, "fake-wide", "wider", "it was right", config)

    assert shop.table("product_attributes")["fit_confidence"].notna().tolist() == [True] * 7


def test_a_new_attribute_is_published_although_a_rollback_takes_its_columns_away_meanwhile(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.refresh(run_id="first")
    shop.write(products(7))
    shop.refresh(run_id="second")

    def take_back() -> None:
        roll_back(shop.tables, "second", "wrong images")

    CommitHook(monkeypatch).at("before", take_back, of=("publish",))

    wider = shop.refresh(spec=FakeEngineSpec("fake-wide", WIDER), run_id="wider")

    assert wider.counts["published"] == 7
    assert shop.table("product_attributes")["fit_confidence"].notna().tolist() == [True] * 7


def test_a_repeated_run_that_changed_nothing_cannot_be_taken_back_again(shop: Shop) -> None:
    shop.refresh(run_id="first")
    shop.write(products(7))
    shop.refresh(run_id="second")
    roll_back(shop.tables, "second", "wrong images")
    shop.refresh(run_id="third")
    assert shop.refresh(run_id="second").outcome == "published"
    version = shop.version("product_attributes")

    with pytest.raises(ConfigError, match="'second' changed nothing since it was taken back"):
        roll_back(shop.tables, "second", "wrong images")

    assert shop.version("product_attributes") == version
    assert "rolled_back" not in set(shop.table("enrichment_runs")["outcome"])


def test_a_run_that_published_again_after_the_one_taken_back_is_taken_back_as_far_as_that(
    shop: Shop,
) -> None:
    for run_id, count in (("a", 6), ("b", 7), ("a", 8)):
        shop.write(products(count))
        shop.refresh(run_id=run_id)

    assert roll_back(shop.tables, "b", "wrong images") == ["b", "a"]

    ledger = shop.table("enrichment_runs").set_index("run_id")
    assert ledger["outcome"].to_dict() == dict.fromkeys("ab", "rolled_back")
    # Of the later attempt at run a only what the earlier one had published stands.
    assert ledger.loc["a", ["published", "unchanged", "withheld"]].tolist() == [6, 1, 1]
    assert roll_back(shop.tables, "b", "wrong images") == []
    assert shop.publish_staged("a", "these were right").counts["published"] == 7
    assert len(shop.table("product_attributes")) == 7
    assert roll_back(shop.tables, "b", "wrong images") == []
    assert roll_back(shop.tables, "a", "wrong as well") == ["a"]
    assert shop.table("enrichment_runs").set_index("run_id").loc["a", "published"] == 0


def test_rows_that_may_be_deleted_by_the_docs_are_missed_by_nobody(shop: Shop) -> None:
    shop.refresh(run_id="old")
    for run_id in ("later", "waits"):
        shop.write(products().assign(title=run_id))
        with contextlib.suppress(ValidationFailed):
            shop.refresh(fails if run_id == "waits" else passes, run_id=run_id)
    long_ago = "finished_at = finished_at - INTERVAL 400 DAYS"
    shop.sql(f"UPDATE shop.enrichment_runs SET {long_ago} WHERE run_id <> 'later'")
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    deletions = re.findall(r"^DELETE FROM enriched\.[^;]+", page, re.MULTILINE)

    for deletion in deletions:
        shop.sql(deletion.replace("enriched.", "shop."))

    assert len(deletions) == 3
    assert set(shop.table("enrichment_runs")["run_id"]) == {"later", "waits"}
    assert roll_back(shop.tables, "later", "a mistake") == ["later"]


def test_a_published_run_without_its_row_in_the_ledger_holds_up_rollbacks(shop: Shop) -> None:
    shop.refresh(run_id="first")
    shop.write(products().assign(title="another"))
    shop.refresh(run_id="second")
    shop.sql("DELETE FROM shop.enrichment_runs WHERE run_id = 'second'")
    for run_id in ("first", "second"):
        with pytest.raises(ConfigError, match=r"run 'second' published .* does not say so yet"):
            roll_back(shop.tables, run_id, "a mistake")
