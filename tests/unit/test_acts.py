"""Acts on the published table that fail at a bad moment, without Spark."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from enrich.spark import publish, runs, tables
from enrich.spark.failures import explain_failure
from enrich.spark.rules import Run
from enrich.spark.tables import Commit, Tables
from schemas.tables import State

NOW = datetime(2026, 12, 1, tzinfo=UTC)
PUBLISHED = Run(
    *("a", 3, State.PUBLISHED, NOW, None, NOW.date(), NOW, True, False, "one-p90"),
    caused_by=None,
    published_version=6,
)


def event_of(run, **columns):
    counts = {"published": 6, "deleted": 0, "withheld": 0, "error": None, "reason": None}
    return run._asdict() | counts | columns


def test_a_folder_that_cannot_be_removed_fails_no_run(monkeypatch, caplog, tmp_path):
    def fail(*_):
        raise OSError("busy")

    monkeypatch.setattr(tables, "remove_folder", fail)
    with tables.temporary_folder(Tables(None, "shop", ()), str(tmp_path)) as folder:  # type: ignore[arg-type]
        pass
    assert f"the temporary folder {folder} stays: busy" in caplog.text


@pytest.mark.parametrize(
    ("commits", "operation", "version"),
    [
        # The store's clock is two minutes behind this process's.
        ([("MERGE", -2)], "MERGE", 0),
        ([("MERGE", -6)], "MERGE", None),
        ([("MERGE", -4), ("RESTORE", -3)], "MERGE", None),
        ([("MERGE", -4), ("RESTORE", -3), ("MERGE", -2)], "MERGE", 2),
        ([("MERGE", -4), ("RESTORE", -3)], "RESTORE", 1),
        ([("RESTORE", -4), ("MERGE", -3)], "RESTORE", None),
    ],
)
def test_an_act_is_found_though_the_clocks_differ_and_not_if_it_is_undone(
    monkeypatch, commits, operation, version
):
    made = [
        Commit(number, NOW + timedelta(minutes=minutes), "a", what, 1, 0)
        for number, (what, minutes) in enumerate(commits)
    ]

    def read(_, since):
        return [one for one in made if one.made_at >= since]

    monkeypatch.setattr(Tables, "read_commits", read)
    found = Tables(None, "shop", ()).find_commit("a", operation, since=NOW)  # type: ignore[arg-type]
    assert (None if found is None else found.version) == version


def test_a_rollback_that_was_killed_before_its_commit_leaves_the_run_as_it_was(monkeypatch):
    killed = PUBLISHED._replace(number=4, state=State.ROLLING_BACK)
    events = {
        None: event_of(killed, reason="wrong pictures"),
        3: event_of(PUBLISHED, reason="a blue season"),
    }
    written: list[dict[str, Any]] = []
    monkeypatch.setattr(runs, "read_runs", lambda _: [])
    monkeypatch.setattr(runs, "read_event", lambda _, __, number=None: events[number])
    monkeypatch.setattr(runs, "append_exclusively", lambda _, events: written.extend(events))
    stub: Any = SimpleNamespace(find_commit=lambda *_, **__: None)
    runs.complete_intents(stub, [killed])
    (event,) = written
    assert (event["state"], event["error"], event["reason"]) == ("published", None, "a blue season")


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_run_is_published_after_a_failed_rollback_only_if_nothing_was_restored(
    monkeypatch, is_committed
):
    outcomes: list[str] = []
    commit = Commit(7, NOW, "a", "RESTORE", 0, 0) if is_committed else None
    stub: Any = SimpleNamespace(
        name=lambda table: f"shop.{table}",
        read_run=lambda *_: SimpleNamespace(isEmpty=lambda: False),
        find_commit=lambda _, operation, **__: commit if operation == "RESTORE" else None,
    )

    def fail(*_):
        raise OSError("the answer was lost")

    known = {
        "complete_intents": lambda *_: [PUBLISHED],
        "read_runs": lambda _: [PUBLISHED],
        "read_event": lambda *_: event_of(PUBLISHED),
        "append_exclusively": lambda *_: None,
        "append_outcome": lambda _, __, state, **___: outcomes.append(state),
        "_restore": fail,
    }
    for name, function in known.items():
        monkeypatch.setattr(publish, name, function)
    with pytest.raises(OSError, match="was lost"):
        publish.roll_back(stub, "a", "wrong pictures")
    assert outcomes == ([] if is_committed else ["published"])


def test_a_rollback_undoes_what_ended_while_it_restored(monkeypatch):
    ended = PUBLISHED._replace(run_id="b", published_version=7)
    stub: Any = SimpleNamespace(
        name=lambda table: f"shop.{table}",
        read_run=lambda *_: SimpleNamespace(isEmpty=lambda: False),
        create_views=lambda: None,
    )
    known: dict[str, Callable[..., Any]] = {
        "complete_intents": lambda *_: [PUBLISHED],
        "read_runs": lambda _: [PUBLISHED, ended],
        "read_event": lambda *_: event_of(PUBLISHED),
        "append_exclusively": lambda *_: None,
        "_restore": lambda *_: None,
        "append_rollback_outcomes": lambda _, __, runs, until: [r.run_id for r in runs[1:]],
    }
    for name, function in known.items():
        monkeypatch.setattr(publish, name, function)
    assert publish.roll_back(stub, "a", "wrong pictures") == ["a", "b"]


def test_a_database_without_its_folder_is_explained():
    error = explain_failure(
        ValueError("[DELTA_TABLE_NOT_FOUND] Delta table `big`.`run_events` doesn't exist.")
    )
    assert str(error).startswith("Table big.run_events has no files: found it in the metastore")
    assert "run DROP DATABASE big CASCADE in spark-sql" in str(error)
    by_path = "[DELTA_TABLE_NOT_FOUND] Delta table delta.`/shop/products` doesn't exist."
    assert explain_failure(ValueError(by_path)) is None
