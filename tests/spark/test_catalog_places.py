"""Where a product table lies: names, paths, URIs and stores, and where its images start."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from product_table import TABLE, write_table
from pyspark.sql import SparkSession

from enrich.config import ColumnNames, JobConfig
from enrich.errors import ConfigError, NoAnswer, SchemaMismatch
from enrich.spark.catalog.files import find_table
from enrich.spark.catalog.shop import open_shop
from enrich.spark.catalog.table import open_catalog, refuse_exchanged
from enrich.spark.settings import session_settings

pytestmark = pytest.mark.spark


@pytest.fixture
def database(spark: SparkSession) -> Iterator[str]:
    spark.sql("CREATE DATABASE known_by_name")
    yield "known_by_name"
    spark.sql("DROP DATABASE known_by_name CASCADE")


@pytest.mark.parametrize("kind", ["delta", "parquet"])
def test_a_table_is_known_by_its_name_in_back_ticks_or_without(
    spark: SparkSession, database: str, kind: str
) -> None:
    rows = spark.createDataFrame(TABLE)
    rows.write.format(kind).saveAsTable(f"{database}.products")
    for name in (f"{database}.products", f"{database}.`products`", f"`{database}`.products"):
        assert open_catalog(spark, name, ColumnNames()).products.count() == len(TABLE), name


def test_folder_of_a_catalog_is_where_its_images_start(spark: SparkSession, tmp_path: Path) -> None:
    file = write_table(tmp_path, "parquet", spark)
    by_file = open_catalog(spark, file, ColumnNames())
    by_folder = open_catalog(spark, str(tmp_path), ColumnNames())

    assert by_file.folder == by_folder.folder == str(tmp_path)


def test_images_lie_beside_a_table_that_is_a_folder_of_parts(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "products.parquet").mkdir()
    TABLE.to_parquet(tmp_path / "products.parquet" / "part-0.parquet")
    for location in (tmp_path / "products.parquet", tmp_path):
        assert open_catalog(spark, str(location), ColumnNames()).folder == str(tmp_path)


@pytest.mark.parametrize("is_on_a_store", [False, True], ids=["local", "on a store"])
def test_a_delta_table_in_a_folder_called_parquet_is_read_as_one(
    spark: SparkSession, store: str, tmp_path: Path, is_on_a_store: bool
) -> None:
    location = str(tmp_path / "products [1].parquet")
    for _ in range(2):
        spark.createDataFrame(TABLE).write.format("delta").mode("overwrite").save(location)
    folder = store if is_on_a_store else str(tmp_path)
    snapshot = open_catalog(spark, f"{folder}/products [1].parquet", ColumnNames())
    assert (snapshot.version, snapshot.products.count()) == ("1", len(TABLE))
    assert snapshot.folder == folder


def test_a_table_that_is_a_link_is_called_and_lies_as_the_link(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "blobs").mkdir()
    TABLE.to_csv(tmp_path / "blobs" / "2026-11-29", index=False)
    shop = tmp_path / "shop"
    shop.mkdir()
    (shop / "products.csv").symlink_to("../blobs/2026-11-29")
    (tmp_path / "linked").symlink_to("shop")
    for location in (shop, shop / "products.csv", tmp_path / "linked"):
        found = open_catalog(spark, str(location), ColumnNames())
        assert (found.folder, found.products.count()) == (str(shop), len(TABLE))
        refuse_exchanged(found)


@pytest.mark.parametrize("name", ["products_2.csv", "Products-old.CSV"])
def test_a_table_beside_the_one_that_is_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    for file in ("products.csv", name, "labels.csv", "products.txt", "products.parquet.old"):
        (tmp_path / file).touch()
    with caplog.at_level("WARNING"):
        assert find_table(tmp_path) == tmp_path / "products.csv"
    (told,) = caplog.messages
    assert told == f"of {tmp_path} the job reads products.csv alone; not read: {name}"


def test_a_folder_of_pictures_hides_no_table(tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "products.csv", index=False)
    pictures = tmp_path / "products"
    pictures.mkdir()
    (pictures / "1.jpg").touch()
    assert find_table(tmp_path) == tmp_path / "products.csv"
    TABLE.to_csv(pictures / "a.csv", index=False)
    assert find_table(tmp_path) == pictures


@pytest.mark.parametrize("kind", ["csv", "delta"])
def test_a_local_table_is_read_where_it_lies_whatever_file_system_is_the_cluster_s(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "größe 40 %20 #1, 100 %"
    folder.mkdir()
    location = write_table(folder, kind, spark)
    elsewhere = {"fs.defaultFS": "hdfs://127.0.0.1:1/", "ipc.client.connect.max.retries": "0"}
    with session_settings(spark, elsewhere):
        found = open_catalog(spark, location, ColumnNames())
        assert sorted(row["product_id"] for row in found.products.collect()) == ["1", "2"]


def test_a_store_that_is_out_of_reach_may_be_back_on_the_next_try(spark: SparkSession) -> None:
    at_once = {"ipc.client.connect.max.retries": "0"}
    with (
        session_settings(spark, at_once),
        pytest.raises(NoAnswer, match="no product table can be read at 'hdfs:"),
    ):
        open_catalog(spark, "hdfs://127.0.0.1:1/shop/products.parquet", ColumnNames())


@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_a_name_like_a_pattern_means_that_file_alone(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    file = Path(write_table(tmp_path, kind, spark))
    file.with_stem("way").write_bytes(file.read_bytes())
    like_a_pattern = file.rename(file.with_stem("w?y"))

    assert open_catalog(spark, str(like_a_pattern), ColumnNames()).products.count() == len(TABLE)


def test_brackets_in_the_path_of_a_store_are_letters(
    spark: SparkSession, store: str, tmp_path: Path
) -> None:
    TABLE.head(1).to_parquet(tmp_path / "b[1].parquet")
    TABLE.tail(1).to_parquet(tmp_path / "b1.parquet")
    found = open_catalog(spark, f"{store}/b[1].parquet", ColumnNames()).products.collect()
    assert [row["product_id"] for row in found] == ["1"]


@pytest.mark.parametrize("name", ["shop [2026]/{a,b}", "back\\slash"])
def test_brackets_in_a_path_are_letters(spark: SparkSession, tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.parquet"
    file.parent.mkdir(exist_ok=True)
    TABLE.to_parquet(file)

    assert open_catalog(spark, str(file), ColumnNames()).products.count() == len(TABLE)


def test_a_local_uri_is_a_local_path(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "größe 40 %20 #1, 100 %"
    folder.mkdir()
    TABLE.head(1).to_csv(folder / "a.csv", index=False)
    assert open_catalog(spark, f"file://{folder}/", ColumnNames()).folder == str(folder)
    TABLE[TABLE.columns[::-1]].to_csv(folder / "b.csv", index=False)
    with pytest.raises(SchemaMismatch, match=r"b\.csv has the columns image_path"):
        open_catalog(spark, f"file:{folder}", ColumnNames())


def test_a_table_without_images_needs_no_folder_of_images(
    spark: SparkSession, database: str
) -> None:
    rows = spark.createDataFrame(TABLE[["product_id", "title"]])
    rows.write.format("delta").saveAsTable(f"{database}.products")
    config = JobConfig(columns=ColumnNames(description=None, image_path=None))
    assert open_shop(spark, f"{database}.products", config).catalog.folder is None
    config = JobConfig(columns=ColumnNames(description=None, image_path="title"))
    with pytest.raises(ConfigError, match="has no folder: give --image-root"):
        open_shop(spark, f"{database}.products", config)


def test_a_store_where_images_may_not_be_is_said_to_need_an_image_root(
    spark: SparkSession, store: str, tmp_path: Path
) -> None:
    TABLE.to_csv(tmp_path / "products.csv", index=False)
    with pytest.raises(ConfigError, match=r"'viewfs://' is not allowed .* give --image-root"):
        open_shop(spark, f"{store}/products.csv", JobConfig())


def test_a_view_is_refused_as_one(spark: SparkSession, database: str) -> None:
    spark.createDataFrame(TABLE).write.format("delta").saveAsTable(f"{database}.products")
    spark.sql(f"CREATE VIEW {database}.new AS SELECT * FROM {database}.products")
    with pytest.raises(ConfigError, match="it is a view"):
        open_catalog(spark, f"{database}.new", ColumnNames())


@pytest.mark.parametrize("location", ["nowhere", "/nowhere/at/all.parquet", "no_database.no_table"])
def test_what_is_not_there_is_a_configuration_error(spark: SparkSession, location: str) -> None:
    with pytest.raises(ConfigError, match="no product table can be read"):
        open_catalog(spark, location, ColumnNames())
