"""Databases with a catalog's name, and several databases with the same encodings."""

import os
import shutil

import pytest
from shop import Shop, products

from bench.fake_engine import FakeEngineSpec
from enrich.spark.maintenance import maintain_tables
from enrich.spark.tables import open_tables

pytestmark = pytest.mark.spark

ANOTHER_LABEL_SET = FakeEngineSpec(
    model_version="fake-2", attributes={"material": ("cotton", "wool")}
)


@pytest.fixture
def trial(shop):
    """Another database over the same product table, named with its catalog."""
    trial = Shop(shop.spark, shop.folder, f"spark_catalog.{shop.database}_trial")
    yield trial
    shop.spark.sql(f"DROP DATABASE IF EXISTS {trial.database} CASCADE")


def test_a_second_label_set_opens_no_picture_that_another_database_has_read(shop, trial):
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
        open_tables(trial.spark, trial.database),
        retention_hours=168,
        keep_candidates_days=30,
        keep_history_days=365,
    )
    own = {
        row["tableName"] for row in trial.spark.sql(f"SHOW TABLES IN {trial.database}").collect()
    }
    assert "candidates" in own and not {"encodings", "images"} & own


def test_a_copied_lakehouse_goes_on_without_touching_the_original(published_shop, tmp_path):
    shop, place = published_shop, tmp_path / "copied"
    shutil.copytree(shop.tables.database_folder().removeprefix("file:"), place)
    shop.spark.sql(f"CREATE DATABASE copied LOCATION '{place}'")
    copy = Shop(shop.spark, shop.folder, "copied")
    assert copy.refresh().outcome == "nothing_to_do"
    assert copy.refresh(full_refresh=True).counts["encoded"] == 6
    shop.spark.sql("DROP DATABASE copied CASCADE")
    assert len(shop.table("encodings")) == 6 and shop.version("product_attributes") == 1
