"""The main job as users start it: spark-submit, real pictures, real tables, exit codes."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from own_lakehouse import JOB, Lakehouse

from demo.catalog import score_answers, write_demo_catalog
from enrich.errors import ConfigError
from expectations.baseline import LabelBaseline, save_baseline
from expectations.counts import CONFIDENCE_EDGES, AttributeCounts, GroupCounts

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def lakehouse(tmp_path_factory):
    return Lakehouse(tmp_path_factory.mktemp("lakehouse"))


@pytest.mark.catalog
def test_real_products_end_to_end(lakehouse, sample, tmp_path):
    shop = tmp_path / "shop"
    shutil.copytree(sample, shop)
    shutil.copymode(__file__, shop)
    (shop / "images").chmod(0o755)
    flags = ("--catalog", str(shop), "--database", "real")

    first = lakehouse.submit(JOB, *flags)
    assert first.code == 0, first.output
    assert Path(first.summary["report"]).exists()
    counts = first.summary["counts"]
    assert counts["published"] + counts["unchanged"] + counts["quarantined"] == 500
    assert counts["images_opened"] == counts["images_compared"] == 500
    assert set(first.summary["engine_loads"].values()) == {1}
    truth = pd.read_parquet(shop / "labels.parquet")
    published = lakehouse.table("real", "product_attributes")
    both = published.to_pandas().merge(truth, on="product_id", suffixes=("", "_true"))
    answered = both.dropna(subset=["color", "color_true"])
    assert len(answered) >= 300
    assert (answered["color"] == answered["color_true"]).mean() >= 0.80


def write_baseline(file, attribute, **labels):
    """Write a baseline of products with one attribute."""
    rows = sum(labels.values())
    counted = AttributeCounts(labels=labels, confidences=(0,) * len(CONFIDENCE_EDGES))
    group = GroupCounts(rows=rows, modalities={"image+text": rows}, attributes={attribute: counted})
    made = LabelBaseline(catalog="c", model_version=None, source="a test", products=group)
    save_baseline(made, file)


def test_a_doctored_baseline_blocks_the_demo_which_makes_sense_without_it(run, spark, tmp_path):
    shop = tmp_path / "shop"
    write_demo_catalog(shop)
    write_baseline(tmp_path / "baseline.json", "color", bronze=990, red=10)
    doctored, sound = tmp_path / "doctored.yaml", tmp_path / "sound.yaml"
    kept = "report_dir: pages\nmetrics_dir: metrics\n"
    doctored.write_text(f"baseline: baseline.json\n{kept}")
    sound.write_text(kept)
    flags = ("--catalog", shop, "--database", "doctored")

    code, out, err = run("--config", doctored, *flags)

    assert code == 3, err
    summary = json.loads(out.splitlines()[-1])
    assert summary["outcome"] == "blocked"
    assert "less bronze (" in summary["error"]
    assert spark.sql("DESCRIBE HISTORY doctored.product_attributes").count() == 1
    waiting = spark.table("doctored.candidates").count()
    assert waiting == summary["counts"]["answered"] > 300
    outcomes = spark.table("doctored.label_quality").toPandas()["outcome"]
    assert "fail" in set(outcomes)
    assert "Blocked" in Path(summary["report"]).read_text()
    assert [*(tmp_path / "metrics").glob("*.prom")]

    code, out, err = run("--config", sound, *flags)

    assert code == 0, err
    counts = json.loads(out.splitlines()[-1])["counts"]
    assert (counts["encoded"], counts["published"]) == (0, waiting)
    assert counts["published"] + counts["quarantined"] == counts["read"] == 330
    found = spark.table("doctored.product_attributes").toPandas()
    color = score_answers(found)["color"]
    assert color.answered > 90
    assert color.right / color.answered >= 0.9
    assert set(found["status"]) >= {"ok", "image_missing", "image_corrupt", "image_forbidden"}
    reasons = spark.table("doctored.quarantine").toPandas()["reason"]
    assert set(reasons) == {"null_id", "duplicate_id", "no_modality"}
    spark.sql("DROP DATABASE doctored CASCADE")


COLOUR = {"catalog": "shop", "database": "untouched", "baseline": "colour.json"}
METRICS = {"metrics_dir": "metrics"}


@pytest.mark.parametrize(
    ("settings", "flags", "message"),
    [
        ({"database": "a; DROP"}, (), "expected a database's name"),
        ({}, ("--run-id", "x' OR 1=1 --"), "is not usable"),
        ({}, ("--checkpoint", "nowhere"), "nowhere is not a checkpoint"),
        ({}, ("--catalog", "broken.parquet"), "no product table can be read"),
        ({}, ("--catalog", "narrow.parquet"), "has no column description, image_path"),
        ({}, ("--run-date", "2999-01-01"), "--run-date 2999-01-01 is in the future"),
        ({}, ("--publish-run", ""), "untouched.run_events is missing"),
        (COLOUR, (), "found 'colour', expected one of color, pattern, style"),
        # Flags that contradict each other are no run that has metrics.
        (METRICS, ("--publish-run", "a", "--drop-run", "b"), "exclude each other"),
        (METRICS, ("--drop-run", "a"), "Why is the run discarded?"),
        (METRICS, ("--reason", "because"), "--reason goes with --publish-run"),
        (METRICS, ("--drop-run", "a", "--reason", "x", "--limit", "10"), "--limit"),
    ],
)
def test_wrong_input_exits_2_with_one_message_and_leaves_tables_alone(
    run, spark, tmp_path, monkeypatch, settings, flags, message
):
    monkeypatch.chdir(tmp_path)
    Path("broken.parquet").write_text("this is no table")
    pd.DataFrame({"product_id": ["1"], "title": ["x"]}).to_parquet("narrow.parquet")
    write_baseline(Path("colour.json"), "colour", red=1)
    given = {"database": "untouched"} | settings
    Path("job.yaml").write_text(json.dumps(given))

    code, _, err = run("--config", "job.yaml", *flags)

    assert code == 2, err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in err
    assert not spark.catalog.databaseExists("untouched") and not Path("metrics").exists()


def test_a_trigger_is_what_airflow_calls_a_run(job):
    run_id = "asset_triggered__2026-12-02T00:00:00+00:00_" + "~" * 200
    assert job.check_trigger(run_id) == run_id


def test_a_run_date_is_from_1970_to_tomorrow(job):
    today = datetime.now(UTC).replace(tzinfo=None)
    assert job.choose_run_date(None) == today.date()
    for day in (datetime(1970, 1, 1), today + timedelta(days=1)):
        assert job.choose_run_date(day) == day.date()
    for day in (datetime(1969, 12, 31), today + timedelta(days=2)):
        with pytest.raises(ConfigError, match="--run-date"):
            job.choose_run_date(day)
