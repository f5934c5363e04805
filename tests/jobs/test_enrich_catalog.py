"""The main job as users start it: spark-submit, real pictures, real tables, exit codes."""

import dataclasses
import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
from fake_shop import Shop, products
from fault_drill import in_full
from job_script import load_job, run_job
from own_lakehouse import JOB, Lakehouse
from pyspark.sql import SparkSession

from enrich.classifiers.manifest import BUNDLED, read_manifest
from enrich.demo.catalog import write_demo_catalog
from enrich.fake_engine import FakeEngineSpec
from enrich.metrics import Recording
from enrich.spark.publishing import publish_staged_run
from enrich.spark.settlement import Settlement
from enrich.spark.vanished import choose_deletion
from expectations.baseline import LabelBaseline, save_baseline
from expectations.summary import CONFIDENCE_EDGES, AttributeSummary, GroupSummary

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def lakehouse(tmp_path_factory: pytest.TempPathFactory) -> Lakehouse:
    return Lakehouse(tmp_path_factory.mktemp("lakehouse"))


# `make demo` is the same for who only looks that it runs.
@in_full
def test_demo_is_published_and_its_labels_make_sense(lakehouse: Lakehouse, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    write_demo_catalog(shop, products=300)
    ended = lakehouse.submit(JOB, "--catalog", str(shop), "--database", "drawn")

    assert ended.code == 0, ended.output
    counts = ended.summary["counts"]
    assert counts["published"] + counts["quarantined"] == counts["read"] == 300
    truth = pd.read_parquet(shop / "labels.parquet")
    found = lakehouse.table("drawn", "product_attributes").to_pandas()
    both = found.merge(truth, on="product_id", suffixes=("", "_true"))
    answered = both.dropna(subset=["color", "color_true"])
    assert len(answered) > 150
    assert (answered["color"] == answered["color_true"]).mean() >= 0.8
    assert set(found["status"]) >= {"ok", "image_missing", "image_corrupt", "image_forbidden"}
    reasons = lakehouse.table("drawn", "quarantine").to_pandas()["reason"]
    assert set(reasons) == {"null_id", "duplicate_id", "no_modality"}


@pytest.mark.catalog
def test_real_products_end_to_end(lakehouse: Lakehouse, sample: Path, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shutil.copytree(sample, shop)
    shutil.copymode(__file__, shop)
    (shop / "images").chmod(0o755)
    flags = ("--catalog", str(shop), "--database", "real")

    first = lakehouse.submit(JOB, *flags)
    assert first.code == 0, first.output
    counts = first.summary["counts"]
    assert counts["published"] + counts["unchanged"] + counts["quarantined"] == 500
    assert set(first.summary["engine_loads"].values()) == {1}
    truth = pd.read_parquet(shop / "labels.parquet")
    published = lakehouse.table("real", "product_attributes")
    both = published.to_pandas().merge(truth, on="product_id", suffixes=("", "_true"))
    answered = both.dropna(subset=["color", "color_true"])
    assert len(answered) >= 300
    assert (answered["color"] == answered["color_true"]).mean() >= 0.80

    products = pd.read_parquet(shop / "products.parquet")
    images = [shop / path for path in products["image_path"]]
    for image in images[10:14]:
        image.chmod(0o644)
    images[10].write_bytes(images[20].read_bytes())
    images[11].unlink()
    images[12].write_bytes(images[12].read_bytes()[:700])
    images[13].write_text("this is no picture")
    products.loc[:4, "title"] = products.loc[:4, "title"] + ", new"
    gone = products.index[30]
    products.loc[gone, ["title", "description", "image_path"]] = None
    (shop / "products.parquet").unlink()
    products.to_parquet(shop / "products.parquet")

    second = lakehouse.submit(JOB, *flags)
    assert second.code == 0, second.output
    counts = second.summary["counts"]
    assert (counts["pending"], counts["enriched"], counts["unchanged"]) == (10, 9, 490)
    rows = lakehouse.table("real", "product_attributes").to_pandas().set_index("product_id")
    damaged = rows.loc[products.loc[11:13, "product_id"]]
    assert damaged["status"].tolist() == ["image_missing", "image_corrupt", "image_corrupt"]
    assert set(damaged["modalities"]) == {"text"}
    quarantine = lakehouse.table("real", "quarantine").to_pandas()
    assert quarantine["product_id"].tolist() == [products.loc[gone, "product_id"]]


def all_of(attribute: str, **labels: int) -> GroupSummary:
    """What a baseline counts of products with one attribute."""
    rows = sum(labels.values())
    summary = AttributeSummary(labels=labels, confidences=(0,) * len(CONFIDENCE_EDGES))
    return GroupSummary(rows=rows, modalities={"image+text": rows}, attributes={attribute: summary})


@in_full
def test_doctored_baseline_publishes_nothing(lakehouse: Lakehouse, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    write_demo_catalog(shop, products=230, flaws=False)
    doctored = LabelBaseline(
        catalog="doctored",
        model_version=None,
        source="a test",
        products=all_of("color", bronze=990, red=10),
    )
    save_baseline(doctored, tmp_path / "baseline.json")
    config = tmp_path / "job.yaml"
    config.write_text(f"baselines: {{'{shop}': baseline.json}}\n")

    flags = ("--config", config, "--catalog", shop, "--database", "doctored")
    ended = lakehouse.submit(JOB, *flags)

    assert ended.code == 3, ended.output
    assert ended.summary["outcome"] == "blocked"
    assert "color: label distribution" in ended.summary["error"]
    assert lakehouse.table("doctored", "product_attributes").version() == 0
    assert lakehouse.table("doctored", "staged_attributes").to_pandas().shape[0] == 230
    outcomes = lakehouse.table("doctored", "label_quality").to_pandas()["outcome"]
    assert "fail" in set(outcomes)


WRONG = {
    "unknown key": ({"catalogue": "x"}, {}, "unknown key 'catalogue' (known: catalog,"),
    "bad database": ({"database": "a; DROP"}, {}, "database: String should match"),
    "no such configuration": (None, {"--config": "nowhere.yaml"}, "no configuration in"),
    "run id with a quote": ({}, {"--run-id": "x' OR 1=1 --"}, "is not usable"),
    "no such checkpoint": ({}, {"--checkpoint": "nowhere"}, "no checkpoint in nowhere"),
    "no such catalog": ({}, {"--catalog": "nowhere/x.parquet"}, "no such file or folder"),
    "unreadable catalog": ({}, {"--catalog": "BROKEN"}, "no product table can be read"),
    "missing column": ({}, {"--catalog": "NARROW"}, "has no column description, image_path"),
    "publish and drop": ({}, {"--publish-run": "a", "--drop-run": "b"}, "exclude each other"),
    "drop without a reason": ({}, {"--drop-run": "monday"}, "why is the run dropped?"),
    "a day to come": ({}, {"--run-date": "2999-01-01"}, "--run-date 2999-01-01 is in the future"),
    "reason for a refresh": ({}, {"--reason": "x"}, "--reason goes with --publish-run"),
    "publish a run without a name": ({}, {"--publish-run": ""}, "there is no table untouched"),
    "publish what was never staged": (
        {},
        {"--publish-run": "monday"},
        "there is no table untouched",
    ),
    "unknown attribute in a baseline": (
        {"baselines": {"shop": "colour.json"}},
        {"--catalog": "shop"},
        "names attribute 'colour'; the checkpoint has color, pattern, style",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_input_exits_2_with_one_message(
    run: Callable[..., tuple[int, str, str]],
    spark: SparkSession,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wrong: str,
) -> None:
    # The job sets up logging for a process of its own.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    settings, flags, message = WRONG[wrong]
    (tmp_path / "broken.parquet").write_text("this is no table")
    pd.DataFrame({"product_id": ["1"], "title": ["x"]}).to_parquet(tmp_path / "narrow.parquet")
    save_baseline(
        LabelBaseline(
            catalog="c",
            model_version=None,
            source="a test",
            products=all_of("colour", red=1),
        ),
        tmp_path / "colour.json",
    )
    files = {"BROKEN": "broken.parquet", "NARROW": "narrow.parquet"}
    given = {f: str(tmp_path / files[v]) if v in files else v for f, v in flags.items()}
    if settings is not None:
        (tmp_path / "job.yaml").write_text(json.dumps(settings))
        given["--config"] = str(tmp_path / "job.yaml")

    if "database" not in (settings or {}):
        given["--database"] = "untouched"

    code, _, err = run(*(word for pair in given.items() for word in pair))

    assert code == 2, err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in err
    assert not spark.catalog.databaseExists("untouched")


@pytest.mark.parametrize(
    "flags",
    [("--publish-run", "a", "--drop-run", "b"), ("--drop-run", "a"), ("--reason", "because")],
)
def test_flags_that_contradict_each_other_say_nothing_of_the_tables(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, flags: tuple[str, ...]
) -> None:
    (tmp_path / "job.yaml").write_text("{database: untouched, metrics_dir: metrics}")

    code, _, err = run("--config", str(tmp_path / "job.yaml"), *flags)

    assert code == 2, err
    assert not (tmp_path / "metrics").exists()


def test_wrong_input_ends_spark_submit_alike(lakehouse: Lakehouse) -> None:
    ended = lakehouse.submit(JOB, "--database", "untouched", "--catalog", "nowhere/x.parquet")

    assert ended.code == 2, ended.output
    assert "no such file or folder" in ended.output.splitlines()[-1]
    assert "Traceback" not in ended.output


@in_full
def test_what_a_staged_run_deletes_is_looked_up_in_the_table_that_it_read(
    job: ModuleType, shop: Shop
) -> None:
    delete = {"missing_products": "delete", "max_deleted_share": 0.5}
    shop.refresh()
    shop.write(products(4))
    staged = shop.refresh(config=delete, publish=False)
    tomorrow = job.Settings(catalog="of-tomorrow.parquet", database=shop.database, **delete)

    find_vanished = choose_deletion(shop.tables, tomorrow)
    publish_staged_run(
        shop.tables, FakeEngineSpec().attributes, "fake-1", staged.run_id, None, find_vanished
    )

    assert len(shop.table("product_attributes")) == 4


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


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Returns the JSON object that a job has printed last."""
    said: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return said


@in_full
def test_commands_for_a_bad_day_say_what_they_did(
    job_of_the_fake: ModuleType,
    shop: Shop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = job_of_the_fake
    config = tmp_path / "job.yaml"
    config.write_text(f"{{catalog: '{shop.file}', database: {shop.database}}}")

    def run(*flags: str) -> dict[str, Any]:
        assert run_job(job, "--config", config, *flags) == 0
        return last_line(capsys)

    planned = run("--dry-run")
    staged = run("--no-publish")
    dropped = run("--drop-run", staged["run_id"], "--reason", "a mistake")
    published = run()
    rollback = load_job("rollback")
    monkeypatch.setattr(rollback, "open_session", lambda _: shop.spark)
    flags = ("--database", shop.database, "--run-id", published["run_id"], "--reason", "pink")
    assert run_job(rollback, *flags) == 0
    taken_back = last_line(capsys)

    assert planned["counts"]["pending"] == staged["counts"]["enriched"] == 6
    assert (staged["outcome"], dropped["outcome"]) == ("staged", "dropped")
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


@in_full
def test_a_run_that_was_published_before_is_no_success_of_today(
    job_of_the_fake: ModuleType, shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = shop.refresh(publish=False)
    settings = job_of_the_fake.Settings(
        catalog="of-tomorrow.parquet", database=shop.database, report_dir=tmp_path / "pages"
    )
    settlement = Settlement(staged.run_id, is_drop=False, reason=None)
    opened = []
    monkeypatch.setattr(job_of_the_fake, "open_shop", lambda _, found, __: opened.append(found))
    first, again = Recording(), Recording()

    for recording in (first, again):
        ended = job_of_the_fake.settle_run(settings, None, recording, settlement)
        assert ended.exit_code == 0

    assert first.summary.outcome == "published"
    assert again.summary is None
    # The page shows the products that the run read.
    assert opened == [str(shop.file)] * 2


@in_full
def test_a_staged_run_that_would_delete_too_much_ends_as_a_blocked_one_does(
    job_of_the_fake: ModuleType,
    shop: Shop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = job_of_the_fake
    delete = {"missing_products": "delete", "max_deleted_share": 0.5}
    shop.refresh()
    shop.write(products(4))
    staged = shop.refresh(config=delete, publish=False)
    strict = {**delete, "max_deleted_share": 0.1, "report_dir": None}
    config = tmp_path / "job.yaml"
    config.write_text(json.dumps({"catalog": str(shop.file), "database": shop.database, **strict}))

    code = run_job(job, "--config", config, "--publish-run", staged.run_id)

    assert code == 3
    said = last_line(capsys)
    assert (said["run_id"], said["outcome"]) == (staged.run_id, "staged")
    assert "max_deleted_share" in said["error"]
    assert len(shop.table("product_attributes")) == 6


@in_full
def test_a_run_of_which_nothing_could_be_read_has_a_page(
    job_of_the_fake: ModuleType, shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "job.yaml"
    config.write_text(f"{{catalog: '{shop.file}', database: {shop.database}, report_dir: pages}}")
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


@in_full
def test_demo_goes_to_no_tables_of_another_catalog(
    job_of_the_fake: ModuleType,
    shop: Shop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = job_of_the_fake
    # Wherever the checkout was.
    elsewhere = tmp_path / "demo_catalog"
    shutil.copytree(shop.file.parent, elsewhere)
    monkeypatch.setattr(job, "draw_demo", lambda: str(elsewhere))
    config = tmp_path / "job.yaml"
    config.write_text(f"{{database: {shop.database}}}")

    assert run_job(job, "--config", config) == 0
    shop.write(products(7))
    assert run_job(job, "--config", config, "--catalog", shop.file) == 0
    capsys.readouterr()
    assert run_job(job, "--config", config) == 2

    assert "the demo's invented products would be published among it" in capsys.readouterr().err


@in_full
def test_metrics_that_cannot_be_written_stand_before_the_last_line(
    job_of_the_fake: ModuleType,
    shop: Shop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # As in a job's terminal, and in Airflow's log.
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    (tmp_path / "taken").write_text("a file")
    config = tmp_path / "job.yaml"
    config.write_text(
        f"{{catalog: '{shop.file}', database: {shop.database}, metrics_dir: taken/metrics}}"
    )

    assert run_job(job_of_the_fake, "--config", config) == 0

    said = capsys.readouterr().out
    assert f"the metrics of {shop.database} could not be written" in said
    assert json.loads(said.splitlines()[-1])["outcome"] == "published"
