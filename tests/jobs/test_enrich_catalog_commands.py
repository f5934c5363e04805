"""The main job's commands on a small shop, with the fake engine: what they do, say and leave."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from job_script import load_job, run_job
from object_store import served_bucket
from shop import products

from bench.fake_engine import FakeEngineSpec
from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.config import JobConfig
from enrich.errors import ConfigError
from enrich.places import names_in, parse_place, write_place

pytestmark = [pytest.mark.spark, pytest.mark.long]


@pytest.fixture(scope="module")
def job():
    return load_job("enrich_catalog")


@pytest.fixture
def job_of_the_fake(job, shop, monkeypatch):
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
def write_settings(shop, tmp_path):
    """Return a function that writes the shop's settings, and others, to a file."""

    def write(**others):
        file = tmp_path / "job.yaml"
        file.write_text(
            json.dumps({"catalog": str(shop.file), "database": shop.database, **others})
        )
        return file

    return write


def last_line(capsys):
    """Return the JSON object that a job has printed last."""
    said: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return said


def test_commands_for_a_bad_day_say_what_they_did(
    job_of_the_fake, shop, write_settings, monkeypatch, capsys, tmp_path
):
    job = job_of_the_fake
    config = write_settings(report_dir=str(tmp_path / "pages"))

    def run(*flags):
        assert run_job(job, "--config", config, *flags) == 0
        return last_line(capsys)

    planned = run("--dry-run")
    assert shop.version("run_events") == 0
    waiting = run("--no-publish", "--run-id", "monday")
    page_of_waiting = Path(waiting["report"]).read_text()
    dropped = run("--drop-run", "monday", "--reason", "a mistake")
    published = run()
    rollback = load_job("rollback")
    monkeypatch.setattr(rollback, "open_session", lambda _: shop.spark)
    monkeypatch.setattr(rollback, "rewrite_page", job.rewrite_page)
    flags = ("--config", config, "--run-id", published["run_id"], "--reason", "pink")
    assert run_job(rollback, *flags) == 0
    rolled_back = last_line(capsys)

    assert planned["counts"]["due"] == planned["to_encode"] == waiting["counts"]["answered"] == 6
    assert (waiting["outcome"], dropped["outcome"]) == ("staged", "discarded")
    assert dropped["run_id"] == waiting["run_id"]
    assert "shirt number" in page_of_waiting
    assert (published["outcome"], published["counts"]["published"]) == ("published", 6)
    assert published["counts"]["encoded"] == 0
    # What Java says while it shuts down would stand behind the last line.
    log_manager = shop.spark._jvm.org.apache.logging.log4j.LogManager
    assert log_manager.getRootLogger().getLevel().toString() == "OFF"
    assert rolled_back["rolled_back"] == [published["run_id"]]
    assert "A person decided: “<bdi>pink</bdi>”" in Path(published["report"]).read_text()
    assert shop.table("product_attributes").empty
    ledger = shop.table("enrichment_runs").set_index("run_id")["reason"]
    assert ledger[published["run_id"]] == "pink"


@pytest.mark.parametrize("is_discard", [True, False])
def test_a_run_is_discarded_whatever_the_baseline_is_of(job, tmp_path, monkeypatch, is_discard):
    def reached(_):
        raise NotImplementedError

    monkeypatch.setattr(job, "open_session", reached)
    settings = JobConfig(catalog="shop", baseline=tmp_path / "of_another.json")
    decision = job.Decision("of-last-week", is_discard, "another checkpoint")
    with pytest.raises(NotImplementedError if is_discard else ConfigError):
        job.decide_run(settings, None, decision)


def test_demo_goes_to_no_tables_of_another_product_table(
    job_of_the_fake, shop, tmp_path, write_settings, monkeypatch, capsys
):
    job = job_of_the_fake
    # Wherever the checkout was.
    elsewhere = tmp_path / "demo_catalog"
    shutil.copytree(shop.file.parent, elsewhere)
    monkeypatch.setattr(job, "write_demo", lambda: str(elsewhere))
    config = write_settings(catalog="demo")

    assert run_job(job, "--config", config) == 0
    shop.write(products(7))
    assert run_job(job, "--config", config, "--catalog", shop.file) == 0
    capsys.readouterr()
    assert run_job(job, "--config", config) == 2

    assert "would be published among them" in capsys.readouterr().err


def test_metrics_that_cannot_be_written_stand_before_the_last_line(
    job_of_the_fake, shop, tmp_path, write_settings, monkeypatch, capsys
):
    # As in a job's terminal, and in Airflow's log.
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    (tmp_path / "taken").write_text("a file")
    config = write_settings(metrics_dir="taken/metrics")

    assert run_job(job_of_the_fake, "--config", config) == 0

    said = capsys.readouterr().out
    assert f"the metrics of {shop.database} could not be written" in said
    assert json.loads(said.splitlines()[-1])["outcome"] == "published"


def test_what_a_run_leaves_for_people_and_schedulers_may_lie_in_an_object_store(
    job_of_the_fake, shop, capsys
):
    with served_bucket() as bucket:
        conf = parse_place(f"{bucket}/conf")
        folders = {"report_dir": "pages", "metrics_dir": "metrics"}
        settings = {"catalog": str(shop.file), "database": shop.database, **folders}
        write_place(conf / "shop.yaml", json.dumps(settings).encode())
        flags = ("--config", conf / "shop.yaml", "--summary", conf / "outcome.json")

        assert run_job(job_of_the_fake, *flags) == 0

        said = last_line(capsys)
        assert json.loads((conf / "outcome.json").read_text()) == said | {"exit_code": 0}
        assert said["report"] == f"{bucket}/conf/pages/{said['run_id']}.html"
        assert said["run_id"] in parse_place(said["report"]).read_text()
        assert said["run_id"] in (conf / "pages" / "index.html").read_text()
        assert f"catalog_enrichment_{shop.database}.prom" in names_in(conf / "metrics")

        assert run_job(job_of_the_fake, *flags, "--publish-run", "gone") == 2
        outcome = json.loads((conf / "outcome.json").read_text())
        assert (outcome["outcome"], outcome["exit_code"]) == ("failed", 2)
        assert "No run 'gone'" in outcome["error"]


def test_a_product_table_with_a_change_feed_is_followed(
    job_of_the_fake, shop, write_settings, capsys, monkeypatch
):
    def run(*flags):
        config = write_settings(columns={"image_path": None})
        return run_job(job_of_the_fake, "--config", config, "--follow", "available", *flags)

    assert run() == 2
    assert "found no change feed" in capsys.readouterr().err
    assert run("--limit", "3") == 2
    assert "found --limit, which belong to one run" in capsys.readouterr().err
    rows, shop.file = shop.spark.read.parquet(str(shop.file)), shop.folder / "feed"
    feed = {"delta.enableChangeDataFeed": "true"}
    rows.write.format("delta").options(**feed).save(str(shop.file))
    assert run() == 0
    assert last_line(capsys)["counts"]["published"] == 6
    rows.where("product_id = 'p1'").selectExpr(
        "'p9' AS product_id", "title", "description", "image_path"
    ).write.format("delta").mode("append").save(str(shop.file))
    assert run() == 0
    done = last_line(capsys)
    assert (done["diff"], done["counts"]["read"], done["counts"]["published"]) == ("changes", 7, 1)

    # A product changes while the first run is on: the stream makes another one.
    opened, show = list[str](), job_of_the_fake.show_run
    monkeypatch.setattr(
        job_of_the_fake, "open_session", lambda name: opened.append(name) or shop.spark
    )

    def show_and_change(*shown, **named):
        show(*shown, **named)
        if len(opened) == 1 and not (shop.folder / "changed").exists():
            (shop.folder / "changed").touch()
            update = "SET title = 'a blue bag' WHERE product_id = 'p1'"
            shop.spark.sql(f"UPDATE delta.`{shop.file}` {update}").collect()

    monkeypatch.setattr(job_of_the_fake, "show_run", show_and_change)
    assert run() == 0
    assert last_line(capsys)["counts"]["published"] == 1
    assert opened == ["enrich_catalog"], "a session cannot be opened again in a stream's thread"
