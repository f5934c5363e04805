"""Databases with a catalog's name, and several databases with the same encodings."""

import os
from collections.abc import Iterator

import pytest
from shop import Shop, products

from enrich.engine.fake_engine import FakeEngineSpec
from enrich.spark.maintenance import maintain_tables
from enrich.spark.tables import open_tables

pytestmark = pytest.mark.spark

ANOTHER_LABEL_SET = FakeEngineSpec(
    model_version="fake-2", attributes={"material": ("cotton", "wool")}
)


@pytest.fixture
def trial(shop: Shop) -> Iterator[Shop]:
    """Another database over the same product table, named with its catalog."""
    trial = Shop(shop.spark, shop.folder, f"spark_catalog.{shop.database}_trial")
    yield trial
    shop.spark.sql(f"DROP DATABASE IF EXISTS {trial.database} CASCADE")


def test_a_second_label_set_opens_no_picture_that_another_database_has_read(
    shop: Shop, trial: Shop
) -> None:
    pictured = products()
    pictured["image_path"] = pictured["product_id"] + ".jpg"
    for name in pictured["image_path"]:
        (shop.folder / name).write_bytes(name.encode())
        # A file that has just been written would be read again.
        os.utime(shop.folder / name, (1_000_000_000, 1_000_000_000))
    shop.write(pictured)
    assert shop.refresh().counts["images_opened"] == 6
    shared = {"encodings_database": shop.database}
    counts = trial.refresh(spec=ANOTHER_LABEL_SET, config=shared).counts
    assert (counts["published"], counts["encoded"], counts["images_opened"]) == (6, 0, 0)
    assert counts["images_compared"] == 0
    assert trial.table("product_attributes")["material"].notna().any()
    maintain_tables(
        open_tables(trial.spark, trial.database), retention_hours=168, keep_candidates_days=30
    )
    own = {
        row["tableName"] for row in trial.spark.sql(f"SHOW TABLES IN {trial.database}").collect()
    }
    assert "candidates" in own and not {"encodings", "images"} & own
