"""The metrics file of a run: what a scraper reads of it, and that no run fails by it."""

import dataclasses
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from enrich.metrics import recorded, write_metrics
from schemas.tables import State

STARTED = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
ENDED = STARTED + timedelta(seconds=90)


@dataclass
class Summary:
    """As much of a `RunSummary` as metrics are made of."""

    run_id: str = "monday"
    outcome: str = ""
    counts: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    products_per_second: float | None = None
    validation: dict[str, Any] = field(default_factory=lambda: {"outcome": "not_run"})


PUBLISHED = Summary(
    outcome="published",
    counts={"read": 300, "published": 295, "quarantined": 5, "abstained": {"color": 66}},
    seconds={"survey": 11.71, "inference": 14.2},
    products_per_second=20.9,
    validation={"outcome": "passed", "failures": []},
)


def read(folder):
    """Returns the files of database `shop` as a scraper sees them: name, further labels, value."""
    text = "".join(file.read_text() for file in folder.glob("catalog_enrichment_shop*.prom"))
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type == "gauge"
        for name, labels, value, *_ in family.samples:
            assert labels.pop("database") == "shop"
            short = name.removeprefix("catalog_enrichment_")
            found.setdefault(short, {})[tuple(labels.values())] = value
    return found


def write(folder, summary, started=STARTED):
    ended = started + (ENDED - STARTED)
    write_metrics(folder, "shop", dataclasses.asdict(summary), started, ended)


def test_a_published_run_is_there_with_all_its_figures(tmp_path):
    write(tmp_path / "new", PUBLISHED)

    found = read(tmp_path / "new")
    assert found["last_run_outcome"] == {(o,): float(o == "published") for o in State}
    assert found["last_run_start_timestamp_seconds"] == {(): STARTED.timestamp()}
    assert found["last_run_end_timestamp_seconds"] == {(): ENDED.timestamp()}
    assert found["last_success_timestamp_seconds"] == {(): ENDED.timestamp()}
    assert found["last_run_products"] == {("read",): 300, ("published",): 295, ("quarantined",): 5}
    assert found["last_run_abstained_products"] == {("color",): 66}
    assert found["last_run_stage_duration_seconds"] == {("survey",): 11.71, ("inference",): 14.2}
    assert found["last_run_products_per_second"] == {(): 20.9}
    assert found["last_run_validation_failures"] == {(): 0}
    names = sorted(file.name for file in (tmp_path / "new").iterdir())
    assert names == ["catalog_enrichment_shop.prom", "catalog_enrichment_shop_success.prom"]


def test_a_blocked_run_keeps_the_time_of_the_last_success(tmp_path):
    write(tmp_path, PUBLISHED)
    failures = {"outcome": "failed", "failures": ["too blue", "too few"]}
    for day in (1, 2):
        blocked = Summary(outcome="blocked", validation=failures)
        write(tmp_path, blocked, STARTED + timedelta(days=day))

    found = read(tmp_path)
    assert found["last_run_outcome"][("blocked",)] == 1
    assert found["last_run_validation_failures"] == {(): 2}
    assert found["last_success_timestamp_seconds"] == {(): ENDED.timestamp()}
    assert found["last_run_end_timestamp_seconds"][()] > ENDED.timestamp()
    assert "last_run_products_per_second" not in found


def test_nothing_to_do_is_a_success(tmp_path):
    write(tmp_path, Summary(outcome="nothing_to_do"))
    assert read(tmp_path)["last_success_timestamp_seconds"] == {(): ENDED.timestamp()}


@pytest.mark.parametrize("summary", [Summary(), PUBLISHED])
def test_a_run_that_ends_in_an_error_has_failed_whatever_it_had_done(tmp_path, summary):
    with pytest.raises(RuntimeError, match="lost"), recorded(tmp_path, "shop", summary):
        raise RuntimeError("lost")
    outcome = read(tmp_path)["last_run_outcome"]
    assert (outcome[("failed",)], outcome[("published",)]) == (1, 0)


def test_a_run_empties_the_figures_that_a_killed_one_has_left(tmp_path):
    left = tmp_path / "catalog_enrichment_shop_running.prom"
    left.write_text("catalog_enrichment_encoding_done 7\n")
    with recorded(tmp_path, "shop", PUBLISHED):
        assert not left.read_bytes()


def test_a_run_is_recorded_as_it_is_at_its_end(tmp_path):
    summary = Summary()
    with recorded(tmp_path, "shop", summary):
        summary.outcome = "staged"
    assert read(tmp_path)["last_run_outcome"][("staged",)] == 1


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with recorded(None, "shop", PUBLISHED):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("obstacle", ["folder is a file", "file is a folder"])
def test_no_run_fails_by_its_metrics(tmp_path, obstacle, caplog):
    folder, file = tmp_path / "metrics", tmp_path / "metrics" / "catalog_enrichment_shop.prom"
    if obstacle == "folder is a file":
        folder.write_text("")
    else:
        file.mkdir(parents=True)

    with caplog.at_level(logging.ERROR), recorded(folder, "shop", PUBLISHED):
        pass
    (said,) = caplog.records
    assert said.getMessage().startswith("the metrics of shop could not be written")
    # One line: a folder that may not be written is no defect of the job's.
    assert said.exc_info is None
    assert not list(tmp_path.rglob("*.prom.*"))
