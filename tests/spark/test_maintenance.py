"""Maintenance: what goes, and what a later command still needs."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from shop import products

from bench.fake_engine import FakeEngineSpec
from enrich.errors import ConfigError
from enrich.spark import maintenance, runs, tables

Patch = Callable[..., None]


@pytest.fixture
def later(monkeypatch):
    """Let maintenance and events happen so many days later."""

    def patch(days):
        for module in (maintenance, runs):
            monkeypatch.setattr(module, "now", lambda: tables.now() + timedelta(days))

    return patch


@pytest.fixture(autouse=True)
def no_compaction(monkeypatch):
    """It changes nothing that stands in a table, and takes seconds."""
    monkeypatch.setattr(maintenance, "_compact", lambda *_: None)


def test_a_run_whose_candidates_are_gone_is_not_rolled_back(published_shop, later):
    shop = published_shop
    run_id = shop.summary.run_id
    later(40)
    assert shop.maintain(keep_candidates_days=50)["runs_removed"] == 0
    assert shop.maintain()["runs_removed"] == 1
    with pytest.raises(ConfigError, match="found 0 candidates of it, expected 6 or more"):
        shop.roll_back(run_id)
    assert shop.state(run_id) == "published"


def test_encodings_that_nobody_reads_go_and_published_contents_stay(published_shop, later):
    shop = published_shop
    shop.write(products(mark=" new"))
    shop.refresh()
    later(100)
    # A run of that day says that the encoder is in use.
    shop.refresh()
    assert shop.maintain()["encodings_removed"] == 6
    assert len(shop.table("encodings")) == 6
    summary = shop.refresh(spec=FakeEngineSpec(model_version="fake-2"))
    assert (summary.counts["encoded"], summary.counts["reused"]) == (0, 6)


def test_history_goes_after_a_year_but_not_what_a_row_rests_on(published_shop, later):
    shop = published_shop
    first = shop.summary.run_id
    broken = products()
    broken.loc[0, "product_id"] = None
    shop.write(broken)
    shop.refresh()
    shop.write(products(mark=" new"))
    last = shop.refresh().run_id
    assert shop.maintain()["history_removed"] == 0
    later(400)
    assert shop.maintain()["history_removed"] > 0
    assert set(shop.table("run_events")["run_id"]) == {last}
    assert shop.table("quarantine").empty and first != last
    assert shop.refresh().outcome == "nothing_to_do"


def test_states_of_pictures_go_that_no_run_compares(published_shop, later):
    shop, day = published_shop, timedelta(1)
    looks = [
        ("replaced.jpg", 3, 10 * day),
        ("replaced.jpg", 4, 0 * day),
        ("https://cdn.example.com/a.jpg?Expires=7&Signature=1", 5, 0 * day),
        ("https://cdn.example.com/b.jpg?X-Amz-Signature=1", 5, 0 * day),
        ("https://cdn.example.com/a.jpg?v=1", 5, 0 * day),
        ("never-sure.jpg", None, 0 * day),
    ]
    rows = [
        {"path": path, "size": size, "run_id": "run", "looked_at": tables.now() - age}
        for path, size, age in looks
    ]
    shop.tables.append("images", shop.tables.to_rows("images", rows), "run")
    assert shop.maintain()["image_states_removed"] == 1
    later(10)
    assert shop.maintain()["image_states_removed"] == 2
    later(100)
    assert shop.maintain()["image_states_removed"] == 1
    assert set(shop.table("images")["path"]) == {
        "replaced.jpg",
        "https://cdn.example.com/a.jpg?v=1",
    }


@pytest.mark.parametrize("is_set", [False, True])
def test_folders_of_killed_runs_go_after_a_week(published_shop, tmp_path, is_set):
    shop, place = published_shop, str(tmp_path) if is_set else None
    parent = Path(place or shop.tables.database_folder().removeprefix("file:")) / "_temporary_runs"
    (parent / "20200101T000000-killed").mkdir(parents=True)
    (parent / "29990101T000000-alive").mkdir()
    assert shop.maintain(temporary_folder=place)["folders_removed"] == 1
    assert [folder.name for folder in parent.iterdir()] == ["29990101T000000-alive"]


def test_maintenance_without_tables_is_refused(bare_shop):
    with pytest.raises(Exception, match="missing"):
        bare_shop.maintain()
