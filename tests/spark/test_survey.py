"""The survey reads every image, so its tasks follow the work and not the product table's files."""

from pathlib import Path

import pandas as pd
import pytest
from pyspark.sql import SparkSession

from enrich.images.store import ImageStore
from enrich.spark import survey
from enrich.spark.settings import session_settings
from enrich.spark.survey import spread, try_images

pytestmark = pytest.mark.spark


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    file = tmp_path / "products.csv"
    rows = (f'"{number}","a title of product {number}"\n' for number in range(5_000))
    file.write_text("product_id,title\n" + "".join(rows))
    return file


def test_a_file_that_spark_reads_in_one_task_is_surveyed_on_all_cores(
    spark: SparkSession, catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_BYTES_PER_TASK", 10_000)
    products = spark.read.csv(str(catalog), header=True, multiLine=True)
    assert products.rdd.getNumPartitions() == 1
    tasks = spread(products)
    assert tasks.rdd.getNumPartitions() >= spark.sparkContext.defaultParallelism
    assert sorted(tasks.collect()) == sorted(products.collect())
    sizes = tasks.rdd.glom().map(len).collect()
    assert max(sizes) < 2 * min(sizes)


def test_few_products_are_not_sent_around(spark: SparkSession, catalog: Path) -> None:
    products = spark.read.csv(str(catalog), header=True, multiLine=True)
    assert spread(products) is products


def test_tasks_enough_for_all_cores_stay_as_they_are(
    spark: SparkSession, catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_BYTES_PER_TASK", 10_000)
    cores = spark.sparkContext.defaultParallelism
    for number in range(cores):
        (catalog.parent / f"{number}.csv").write_bytes(catalog.read_bytes())
    products = spark.read.csv(str(catalog.parent), header=True, multiLine=True)
    assert spread(products) is products


def test_one_row_group_that_spark_plans_several_tasks_for_is_surveyed_on_all_cores(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_BYTES_PER_TASK", 10_000)
    rows = pd.DataFrame({"product_id": [f"{number:040}" for number in range(200_000)]})
    rows.to_parquet(tmp_path / "products.parquet", row_group_size=1_000_000, compression=None)
    with session_settings(spark, {"spark.sql.files.maxPartitionBytes": "1m"}):
        products = spark.read.parquet(str(tmp_path / "products.parquet"))
        sizes = products.rdd.glom().map(len).collect()
        assert len(sizes) > 1 and max(sizes) == 200_000
        sizes = spread(products).rdd.glom().map(len).collect()
    assert max(sizes) < 2 * min(sizes)


def test_a_sample_of_images_leaves_out_paths_that_name_none(
    spark: SparkSession, tmp_path: Path
) -> None:
    rows = [("1", "a.jpg"), ("2", ""), ("3", " "), ("4", None)]
    products = spark.createDataFrame(rows, "product_id STRING, image_path STRING")

    sample = try_images(ImageStore(str(tmp_path)), products)

    assert (sample.tried, sample.read) == (1, 0)
    assert str(sample.problem).startswith("a.jpg: image_missing")
