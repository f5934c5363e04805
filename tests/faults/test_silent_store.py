"""The main job over an object store that stops answering: it ends, and goes on once it is back."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fault_drill import is_long
from faulty_store import KEYS, faulty_store

from enrich.demo.catalog import write_demo_catalog

pytestmark = [
    pytest.mark.spark,
    pytest.mark.skipif(not is_long(), reason="two whole jobs: make test-faults"),
]

JOB = Path(__file__).parents[2] / "jobs" / "enrich_catalog.py"
PRODUCTS = 150
ENDS_WITHIN_S = 240


def submit(folder: Path, endpoint: str) -> tuple[int, dict]:
    """Runs the job over the store's pictures: exit code, and the JSON line."""
    settings = {
        "spark.sql.warehouse.dir": folder / "warehouse",
        "spark.hadoop.javax.jdo.option.ConnectionURL": (
            f"jdbc:derby:;databaseName={folder}/metastore;create=true"
        ),
    }
    conf = [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        ["spark-submit", *conf, str(JOB), "--config", str(folder / "settings.yaml")],
        env={**os.environ, **KEYS, "AWS_ENDPOINT_URL": endpoint, "PATH": path},
        stdout=subprocess.PIPE,
        text=True,
        timeout=600,
    )
    return ended.returncode, json.loads(ended.stdout.splitlines()[-1])


def test_a_job_over_a_silent_store_ends_and_goes_on_when_the_store_is_back(tmp_path: Path) -> None:
    shop = tmp_path / "shop"
    write_demo_catalog(shop, products=PRODUCTS, flaws=False)
    settings = {
        "catalog": str(shop / "products.parquet"),
        "image_root": "s3://shop",
        "database": "shop",
        "image_reading": {"attempts": 2, "timeout_s": 2},
    }
    (tmp_path / "settings.yaml").write_text(json.dumps(settings))
    with faulty_store() as store:
        for file in shop.glob("images/**/*.jpg"):
            store.put(str(file.relative_to(shop)), file.read_bytes())

        store.fault = lambda method, key, before: "silent"
        begin = time.monotonic()
        code, summary = submit(tmp_path, store.endpoint)
        assert time.monotonic() - begin < ENDS_WITHIN_S
        assert (code, summary["outcome"], summary["counts"]["published"]) == (3, "blocked", 0)
        assert "images of a sample could not be read" in summary["error"]

        store.heal()
        code, summary = submit(tmp_path, store.endpoint)
        assert (code, summary["outcome"]) == (0, "published")
        assert summary["counts"]["published"] == PRODUCTS
