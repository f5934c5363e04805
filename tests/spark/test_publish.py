"""What people decide about runs: approve, discard, roll back, release; and open intents."""

from datetime import date

import pytest
from prepared_shop import BETTER, blocked, rolled_back, staged
from shop import products

from bench.fake_engine import FakeEngineSpec
from enrich.errors import ConfigError, TableContended
from enrich.spark import publish, rules, runs
from enrich.spark.runs import read_event, read_runs

ANOTHER_DAY = date(2026, 11, 25)


def labels_of(shop):
    rows = shop.table("product_attributes")
    return dict(zip(rows["product_id"], rows["model_version"], strict=True))


def test_a_blocked_run_is_published_with_a_reason_and_only_once(open_shop):
    shop = open_shop(blocked)
    run_id = shop.summary.run_id
    with pytest.raises(ConfigError, match="--reason"):
        shop.approve(run_id)
    event = shop.approve(run_id, "a blue season")
    assert (event["state"], event["published"], event["withheld"]) == ("published", 6, 0)
    version = shop.version("product_attributes")
    assert shop.approve(run_id, "again")["state"] == "published"
    assert shop.version("product_attributes") == version
    assert shop.refresh().outcome == "nothing_to_do"


def test_a_staged_run_waits_under_its_trigger(open_shop):
    shop = open_shop(staged)
    assert (shop.summary.outcome, len(shop.table("product_attributes"))) == ("staged", 0)
    assert shop.approve("nightly")["run_id"] == shop.summary.run_id
    assert len(shop.table("product_attributes")) == 6


def test_a_new_attempt_of_a_trigger_supersedes_the_waiting_one(open_shop):
    shop = open_shop(staged)
    first = shop.summary
    second = shop.refresh(trigger="nightly", publish=False)
    assert second.counts["encoded"] == 0
    assert shop.state(first.run_id) == "superseded"
    with pytest.raises(ConfigError, match="superseded"):
        shop.approve(first.run_id)
    assert shop.approve("nightly")["run_id"] == second.run_id


def test_what_is_unknown_of_another_checkpoint_or_unpublished_is_refused(open_shop):
    shop = open_shop(staged)
    with pytest.raises(ConfigError, match="No run 'x'"):
        shop.approve("x")
    with pytest.raises(ConfigError, match="no run 'x'"):
        shop.roll_back("x")
    with pytest.raises(ConfigError, match="was made by fake-1"):
        shop.approve(shop.summary.run_id, spec=BETTER)
    with pytest.raises(ConfigError, match="published nothing"):
        shop.roll_back(shop.summary.run_id)


def test_a_discarded_run_is_not_published_and_its_encodings_serve_the_next(open_shop):
    shop = open_shop(blocked)
    run_id = shop.summary.run_id
    assert shop.discard(run_id)["state"] == "discarded"
    assert shop.discard(run_id)["state"] == "discarded"
    with pytest.raises(ConfigError, match="discarded"):
        shop.approve(run_id, "after all")
    summary = shop.refresh()
    assert (summary.counts["encoded"], summary.counts["published"]) == (0, 6)
    with pytest.raises(ConfigError, match="no candidates that wait"):
        shop.discard(summary.run_id)


def test_an_older_run_updates_only_rows_that_it_saw_once_a_newer_one_is_accepted(published_shop):
    shop = published_shop
    shop.write(products(8, mark=" staged"))
    waiting = shop.refresh(run_date=ANOTHER_DAY, publish=False)
    # A newer whole run sees a product table of five, of which one has another title.
    newer = products(5)
    newer.loc[0, "title"] = "seen by the newer run"
    shop.write(newer)
    shop.refresh(run_date=date(2026, 11, 26), config={"missing_products": "delete"} | OPEN)
    event = shop.approve(waiting.run_id)
    rows = shop.table("product_attributes")
    # No row is inserted again, and the newer run's row stays.
    assert sorted(rows["product_id"]) == [f"p{n}" for n in range(5)]
    assert rows.set_index("product_id")["run_id"]["p0"] != waiting.run_id
    assert event["published"] == 4
    assert event["withheld"] == 4


OPEN = {"max_deleted_share": 1.0}


def test_a_rollback_restores_and_holds_back_until_content_changes(open_shop):
    shop = open_shop(rolled_back)
    assert set(labels_of(shop).values()) == {"fake-1"}
    held = shop.refresh(spec=BETTER)
    assert (held.outcome, held.counts["withheld"]) == ("nothing_to_do", 6)
    assert any("held back" in note for note in held.validation["notes"])
    # Another target precision is the same checkpoint.
    stricter = FakeEngineSpec(model_version="fake-2-p95", threshold=0.8)
    assert shop.refresh(spec=stricter).outcome == "nothing_to_do"
    changed = products()
    changed.loc[0, "title"] = "another content"
    shop.write(changed)
    again = shop.refresh(spec=BETTER)
    assert (again.counts["published"], again.counts["withheld"]) == (1, 5)
    # A correction reaches what is held back.
    shop.correct("p2", "color", "green")
    corrected = shop.refresh(spec=BETTER)
    assert (corrected.counts["published"], corrected.counts["withheld"]) == (1, 4)
    row = shop.sql("SELECT * FROM shop.product_attributes WHERE product_id = 'p2'").iloc[0]
    assert (row["color"], row["model_version"]) == ("green", "fake-1")


def test_a_rollback_undoes_later_runs_which_return_without_encoding(published_shop):
    shop = published_shop
    changed = products()
    changed.loc[0, "title"] = "wrong picture"
    shop.write(changed)
    wrong = shop.refresh()
    changed.loc[1, "title"] = "a later title"
    shop.write(changed)
    later = shop.refresh()
    assert shop.roll_back(wrong.run_id) == [wrong.run_id, later.run_id]
    assert shop.state(later.run_id) == "rolled_back"
    summary = shop.refresh()
    assert (summary.counts["encoded"], summary.counts["published"]) == (0, 1)
    assert summary.counts["withheld"] == 1
    # Repeated, it changes nothing.
    version = shop.version("product_attributes")
    shop.roll_back(wrong.run_id)
    assert shop.version("product_attributes") == version


def test_a_rollback_to_rows_whose_files_maintenance_has_deleted_is_refused(published_shop):
    shop = published_shop
    shop.write(products(mark=" anew"))
    run_id = shop.refresh().run_id
    shop.maintain(retention_hours=0)
    with pytest.raises(ConfigError, match="is gone: maintenance has deleted files of it") as error:
        shop.roll_back(run_id)
    assert "\n" not in str(error.value)
    assert shop.state(run_id) == "published" and len(shop.table("product_attributes")) == 6


def test_a_released_run_is_published_again(open_shop):
    shop = open_shop(rolled_back)
    run = shop.summary
    with pytest.raises(ConfigError, match="--reason"):
        # The reason of the rollback is not one for the release.
        publish.approve(shop.tables, run.run_id, None, BETTER.attributes, "fake-2-p90")
    event = shop.approve(run.run_id, "was right", spec=BETTER)
    assert (event["state"], event["published"]) == ("published", 6)
    assert shop.refresh(spec=BETTER).outcome == "nothing_to_do"


def test_a_run_that_newer_answers_keep_out_says_so(open_shop, caplog):
    shop = open_shop(rolled_back)
    run = shop.summary
    assert shop.refresh(spec=FakeEngineSpec(model_version="fake-3-p90")).counts["published"] == 6
    event = shop.approve(run.run_id, "was right", spec=BETTER)
    assert (event["published"], set(labels_of(shop).values())) == (0, {"fake-3-p90"})
    assert any(run.run_id in line and "newer runs" in line for line in caplog.messages)


def test_an_intent_whose_merge_was_committed_is_completed(shop, monkeypatch):
    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(publish, "append_publication", die)
        with pytest.raises(KeyboardInterrupt):
            shop.refresh()
    run_id = shop.summary.run_id
    assert shop.state(run_id) == "publishing"
    assert shop.refresh().outcome == "nothing_to_do"
    event = read_event(shop.tables, run_id)
    assert (event["state"], event["published"], event["withheld"]) == ("published", 6, 0)
    assert shop.roll_back(run_id)[0] == run_id
    assert len(shop.table("product_attributes")) == 0


def test_an_intent_without_a_commit_becomes_failed_after_a_while(shop, monkeypatch):
    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(publish, "merge_candidates", die)
        with pytest.raises(KeyboardInterrupt):
            shop.refresh()
    run_id = shop.summary.run_id
    assert shop.refresh().counts["encoded"] == 0
    assert shop.state(run_id) == "publishing"
    monkeypatch.setattr(runs, "INTENT_TIMEOUT", rules.INTENT_TIMEOUT * 0)
    shop.refresh()
    assert shop.state(run_id) == "failed"


def test_an_approval_whose_merge_failed_may_be_repeated(open_shop, monkeypatch):
    shop = open_shop(blocked)
    run_id = shop.summary.run_id

    def fail(*_, **__):
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr(publish, "merge_candidates", fail)
        with pytest.raises(OSError, match="no space"):
            shop.approve(run_id, "a blue season")
    assert shop.state(run_id) == "approved"
    assert shop.approve(run_id)["state"] == "published"


def test_an_approval_waits_for_one_that_was_killed(open_shop, monkeypatch):
    shop = open_shop(staged)

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(publish, "merge_candidates", die)
        with pytest.raises(KeyboardInterrupt):
            shop.approve("nightly")
    with pytest.raises(TableContended, match="Repeat the command after"):
        shop.approve("nightly")
    monkeypatch.setattr(runs, "INTENT_TIMEOUT", rules.INTENT_TIMEOUT * 0)
    assert shop.approve("nightly")["state"] == "published"


def test_of_two_decisions_about_one_run_the_second_is_refused(open_shop):
    shop = open_shop(staged)
    run_id = shop.summary.run_id
    event = read_event(shop.tables, run_id)
    one = runs.next_event(event, rules.State.APPROVED, reason="one")
    other = runs.next_event(event, rules.State.DISCARDED, reason="other")
    runs.append_exclusively(shop.tables, [one])
    with pytest.raises(TableContended, match="decided about"):
        runs.append_exclusively(shop.tables, [other])
    assert shop.state(run_id) == "approved"
    assert [run.state for run in read_runs(shop.tables)] == ["approved"]
