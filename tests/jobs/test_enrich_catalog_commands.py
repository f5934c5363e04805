"""The main job's commands on a small shop, with the fake engine: what they do, say and leave."""

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from enrich.settlement import Settlement
from fake_shop import Shop, products
from job_script import load_job, run_job

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.errors import ConfigError, TooManyFailures
from enrich.fake_engine import FakeEngineSpec
from enrich.metrics import Recording, write_metrics

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def job() -> ModuleType:
    return load_job("enrich_catalog")


@pytest.fixture
def job_of_the_fake(job: ModuleType, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The job, with the fake engine's classifier for the bundled one."""
    manifest = read_manifest(BUNDLED)
    config = manifest.config.model_copy(update={"attributes": FakeEngineSpec().attributes})
    fake = dataclasses.replace(manifest, config=config)
    monkeypatch.setattr(job, "fetch_manifest", lambda _: fake)
    monkeypatch.setattr(job, "name_model_version", lambda *_: "fake-1")
    monkeypatch.setattr(job, "build_spec", lambda *_: FakeEngineSpec("fake-1"))
    monkeypatch.setattr(job, "open_session", lambda _: shop.spark)
    return job


@pytest.fixture
def write_settings(shop: Shop, tmp_path: Path) -> Callable[..., Path]:
    """Returns a function that writes the shop's settings, and others, to a file."""

    def write(**others: object) -> Path:
        file = tmp_path / "job.yaml"
        file.write_text(
            json.dumps({"catalog": str(shop.file), "database": shop.database, **others})
        )
        return file

    return write


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Returns the JSON object that a job has printed last."""
    said: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return said


@pytest.mark.long
def test_commands_for_a_bad_day_say_what_they_did(
    job_of_the_fake: ModuleType,
    shop: Shop,
    write_settings: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    job = job_of_the_fake
    config = write_settings(report_dir=str(tmp_path / "pages"))

    def run(*flags: str) -> dict[str, Any]:
        assert run_job(job, "--config", config, *flags) == 0
        return last_line(capsys)

    planned = run("--dry-run")
    staged = run("--no-publish")
    page_of_staged = Path(staged["report"]).read_text()
    dropped = run("--drop-run", staged["run_id"], "--reason", "a mistake")
    page_of_dropped = Path(dropped["report"]).read_text()
    published = run()
    rollback = load_job("rollback")
    monkeypatch.setattr(rollback, "open_session", lambda _: shop.spark)
    flags = ("--database", shop.database, "--run-id", published["run_id"], "--reason", "pink")
    assert run_job(rollback, *flags) == 0
    taken_back = last_line(capsys)

    assert planned["counts"]["pending"] == staged["counts"]["enriched"] == 6
    assert (staged["outcome"], dropped["outcome"]) == ("staged", "dropped")
    assert "shirt number" in page_of_staged
    assert "shirt number" not in page_of_dropped
    assert "Dropped" in page_of_dropped
    assert (published["outcome"], published["counts"]["published"]) == ("published", 6)
    assert (
        published["table_versions"]["product_attributes"] == shop.version("product_attributes") - 1
    )
    # What Java says while it shuts down would stand behind the last line.
    log_manager = shop.spark._jvm.org.apache.logging.log4j.LogManager
    assert log_manager.getRootLogger().getLevel().toString() == "OFF"
    assert taken_back["rolled_back"] == [published["run_id"]]
    assert shop.table("product_attributes").empty
    ledger = shop.table("enrichment_runs").set_index("run_id")["reason"]
    assert ledger[published["run_id"]].endswith(": pink")


@pytest.mark.long
def test_a_run_that_was_published_before_is_no_success_of_today(
    job_of_the_fake: ModuleType, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = shop.refresh(publish=False)
    settings = job_of_the_fake.Settings(
        catalog="of-tomorrow.parquet", database=shop.database, report_dir=tmp_path / "pages"
    )
    settlement = Settlement(staged.run_id, is_drop=False, reason=None)
    opened = []
    monkeypatch.setattr(job_of_the_fake, "open_pictured", lambda _, found, __: opened.append(found))
    first, again = Recording(), Recording()

    for recording in (first, again):
        ended = job_of_the_fake.settle_run(settings, None, recording, settlement)
        assert ended.exit_code == 0

    assert first.summary.outcome == again.summary.outcome == "published"
    assert first.settled_at is None
    assert again.settled_at is not None
    # The page shows the products that the run read.
    assert opened == [str(shop.file)] * 2


@pytest.mark.long
def test_a_page_stays_when_its_run_is_settled_again(
    job_of_the_fake: ModuleType,
    shop: Shop,
    write_settings: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    shop.refresh(publish=False, run_id="first")
    config = write_settings(report_dir="pages")

    def publish() -> Path:
        assert run_job(job_of_the_fake, "--config", config, "--publish-run", "first") == 0
        return Path(last_line(capsys)["report"])

    page = publish()
    written = page.read_bytes()
    shop.sql(
        "INSERT INTO shop.attribute_corrections VALUES "
        "('p0', 'color', NULL, 'ann', current_timestamp(), NULL)"
    )
    shop.refresh(run_id="second")

    assert publish() == page
    assert page.read_bytes() == written
    page.unlink()
    assert publish().exists()


@pytest.mark.long
def test_a_publication_that_is_refused_is_no_news_of_the_night_that_was_published_since(
    job_of_the_fake: ModuleType,
    shop: Shop,
    write_settings: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    job = job_of_the_fake
    shop.refresh(publish=False, run_id="waits")
    config = write_settings(metrics_dir=str(tmp_path / "metrics"))

    def refuse(*_: object) -> None:
        raise TooManyFailures("so much is to be deleted")

    monkeypatch.setattr("enrich.spark.settling.publish_staged_run", refuse)
    file = tmp_path / "metrics" / f"catalog_enrichment_{shop.database}.prom"
    said = {}
    for before in ("published", "staged"):
        write_metrics(file.parent, shop.database, {"outcome": before}, *[datetime.now(UTC)] * 2)
        known = file.read_text()
        assert run_job(job, "--config", config, "--publish-run", "waits") == 3
        assert last_line(capsys)["outcome"] == "staged"
        said[before] = file.read_text(), known

    after, known = said["published"]
    assert after == known
    assert 'outcome="failed"} 1.0' in said["staged"][0]


@pytest.mark.parametrize("is_drop", [True, False])
def test_a_run_is_dropped_whatever_the_baseline_is_of(
    job: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_drop: bool
) -> None:
    def reached(_: str) -> None:
        raise NotImplementedError

    monkeypatch.setattr(job, "open_session", reached)
    settings = job.Settings(catalog="shop", baselines={"shop": tmp_path / "of_another.json"})
    settlement = Settlement("of-last-week", is_drop=is_drop, reason="another checkpoint")
    with pytest.raises(NotImplementedError if is_drop else ConfigError):
        job.settle_run(settings, None, Recording(), settlement)


@pytest.mark.long
def test_a_run_is_settled_again_under_a_checkpoint_that_answers_more(
    job_of_the_fake: ModuleType,
    shop: Shop,
    write_settings: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = job_of_the_fake
    published = shop.refresh()
    manifest = job.fetch_manifest(None)
    attributes = manifest.config.attributes | {"sleeve": ("long", "short")}
    config = manifest.config.model_copy(update={"attributes": attributes})
    of_today = dataclasses.replace(manifest, config=config)
    monkeypatch.setattr(job, "fetch_manifest", lambda _: of_today)
    settings = write_settings(report_dir="pages")

    assert run_job(job, "--config", settings, "--publish-run", published.run_id) == 0

    said = last_line(capsys)
    assert said["outcome"] == "published"
    assert "pattern" in Path(said["report"]).read_text()


@pytest.mark.long
def test_a_staged_run_that_would_delete_too_much_ends_as_a_blocked_one_does(
    job_of_the_fake: ModuleType,
    shop: Shop,
    write_settings: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = job_of_the_fake
    delete = {"missing_products": "delete", "max_deleted_share": 0.5}
    shop.refresh()
    shop.write(products(4))
    staged = shop.refresh(config=delete, publish=False)
    config = write_settings(**{**delete, "max_deleted_share": 0.1, "report_dir": None})

    code = run_job(job, "--config", config, "--publish-run", staged.run_id)

    assert code == 3
    said = last_line(capsys)
    assert (said["run_id"], said["outcome"]) == (staged.run_id, "staged")
    assert "max_deleted_share" in said["error"]
    assert len(shop.table("product_attributes")) == 6


@pytest.mark.long
def test_a_run_of_which_nothing_could_be_read_has_a_page(
    job_of_the_fake: ModuleType,
    shop: Shop,
    write_settings: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write_settings(report_dir="pages")
    shop.refresh()
    shop.write(products(7).assign(title=[*products(6)["title"], None]))

    pages = []
    for _ in range(2):
        assert run_job(job_of_the_fake, "--config", config) == 0
        ended = last_line(capsys)
        pages.append((ended["outcome"], ended["counts"]["pending"], ended["report"]))

    assert pages[0][:2] == ("nothing_to_do", 1)
    assert "No product could be read, of 1 asked about" in Path(pages[0][2]).read_text()
    assert pages[1] == ("nothing_to_do", 0, None)


@pytest.mark.long
def test_demo_goes_to_no_tables_of_another_catalog(
    job_of_the_fake: ModuleType,
    shop: Shop,
    tmp_path: Path,
    write_settings: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = job_of_the_fake
    # Wherever the checkout was.
    elsewhere = tmp_path / "demo_catalog"
    shutil.copytree(shop.file.parent, elsewhere)
    monkeypatch.setattr(job, "draw_demo", lambda: str(elsewhere))
    config = write_settings(catalog="demo")

    assert run_job(job, "--config", config) == 0
    shop.write(products(7))
    assert run_job(job, "--config", config, "--catalog", shop.file) == 0
    capsys.readouterr()
    assert run_job(job, "--config", config) == 2

    assert "the demo's invented products would be published among it" in capsys.readouterr().err


@pytest.mark.long
def test_metrics_that_cannot_be_written_stand_before_the_last_line(
    job_of_the_fake: ModuleType,
    shop: Shop,
    tmp_path: Path,
    write_settings: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # As in a job's terminal, and in Airflow's log.
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    (tmp_path / "taken").write_text("a file")
    config = write_settings(metrics_dir="taken/metrics")

    assert run_job(job_of_the_fake, "--config", config) == 0

    said = capsys.readouterr().out
    assert f"the metrics of {shop.database} could not be written" in said
    assert json.loads(said.splitlines()[-1])["outcome"] == "published"
