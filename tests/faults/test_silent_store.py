"""The main job over an object store that stops answering: it ends, and goes on once it is back."""

import json
import time
from functools import partial

import pytest
from faulty_store import KEYS, faulty_store
from own_lakehouse import JOB, Lakehouse

from demo.catalog import write_demo_catalog

pytestmark = [pytest.mark.spark, pytest.mark.long]

PRODUCTS = 150
ENDS_WITHIN_S = 240


def test_a_job_over_a_silent_store_ends_and_goes_on_when_the_store_is_back(tmp_path):
    shop = tmp_path / "shop"
    write_demo_catalog(shop, products=PRODUCTS, faults=False)
    settings = {
        "catalog": str(shop / "products.parquet"),
        "image_root": "s3://shop",
        "database": "shop",
        "image_reading": {"attempts": 2, "timeout_s": 2},
    }
    (tmp_path / "settings.yaml").write_text(json.dumps(settings))
    flags = (JOB, "--config", tmp_path / "settings.yaml")
    with faulty_store() as store:
        environment = {**KEYS, "AWS_ENDPOINT_URL": store.endpoint}
        submit = partial(Lakehouse(tmp_path).submit, *flags, environment=environment)
        for file in (one for one in shop.glob("images/**/*") if one.is_file()):
            store.put(str(file.relative_to(shop)), file.read_bytes())

        store.fault = lambda method, key, before: "silent"
        begin = time.monotonic()
        ended = submit()
        assert time.monotonic() - begin < ENDS_WITHIN_S
        summary = ended.summary
        assert (ended.code, summary["outcome"], summary["counts"]["published"]) == (3, "blocked", 0)
        assert "images of a sample could not be read" in summary["error"]

        store.heal()
        ended = submit()
        assert (ended.code, ended.summary["outcome"]) == (0, "published")
        assert ended.summary["counts"]["published"] == PRODUCTS
        rows = Lakehouse(tmp_path).table("shop", "product_attributes").to_pandas()
        assert set(rows["status"]) == {"ok"}
