"""jobs/drill_gate.py: a small drill from products to the JSON line."""

import json
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from job_script import Run
from pyspark.sql import SparkSession


@pytest.fixture
def small(job: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RUN": 300, "BASELINE": 120, "SIZES": (40, 300)}.items():
        monkeypatch.setattr(job, name, value)
    monkeypatch.setattr(job, "FAULTY_RESAMPLES", 10)


@pytest.mark.spark
@pytest.mark.catalog
@pytest.mark.long
@pytest.mark.usefixtures("small")
def test_drill_tells_sound_runs_from_broken_ones_as_spark_does(
    spark: SparkSession, run: Run, tmp_path: Path, sample: Path
) -> None:
    _, out, err = run("--work", tmp_path, "--catalog", sample, "--resamples", 20)
    summary = json.loads(out.splitlines()[-1])
    assert (summary["resamples"], summary["false_alarm_rate"]) == (20, 0), err
    detected = summary["detected"]
    assert {"swapped_channels", "wrong_normalisation", "images_missing"} <= set(detected)
    # These need no large run.
    sure = {"images_missing", "color_labels_permuted", "answers_of_others"}
    assert {name: detected[name] for name in sure} == dict.fromkeys(sure, 1.0)
    rows = {line.split("│")[1].strip(): line for line in out.splitlines() if line.count("│") == 5}
    for name, stopped in (("sound", "no"), ("answers_of_others", "yes")):
        assert [cell.strip() for cell in rows[name].split("│")[3:5]] == [stopped, "yes"]
    assert rows["swapped_channels"].split("│")[4].strip() == "yes"


@pytest.mark.usefixtures("small")
def test_absent_catalog_is_said_loudly(run: Run, tmp_path: Path) -> None:
    code, _, err = run("--work", tmp_path, "--catalog", tmp_path / "nowhere")
    assert code == 2
    assert "CATALOG ABSENT" in err and "NOTHING was drilled" in err


@pytest.mark.usefixtures("small")
def test_a_category_column_that_is_nowhere_is_refused(run: Run, tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    shop.mkdir()
    ids = [str(number) for number in range(420)]
    columns = {"product_id": ids, "title": "Tee", "description": "", "image_path": "tee.jpg"}
    pd.DataFrame(columns).to_parquet(shop / "products.parquet")
    pd.DataFrame(columns | {"brand": ids}).to_parquet(shop / "products.parquet")
    code, _, err = run("--work", tmp_path, "--catalog", shop, "--category-column", "brand")
    assert code == 2
    assert "no value of brand has 5% of the products" in " ".join(err.split())
    code, _, err = run("--work", tmp_path, "--catalog", shop, "--category-column", "knid")
    assert code == 2
    assert "has no column knid; it has product_id" in " ".join(err.split())
