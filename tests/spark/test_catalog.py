"""Opening product tables of every kind, and refusing what cannot be read."""

from collections.abc import Iterator
from datetime import time
from decimal import Decimal
from pathlib import Path
from time import time_ns

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from enrich.config import ColumnNames, JobConfig
from enrich.errors import ConfigError, NoAnswer, SchemaMismatch
from enrich.images.places import LONGEST_PATH
from enrich.spark.catalog import table as catalog_table
from enrich.spark.catalog.shop import open_shop
from enrich.spark.catalog.table import open_catalog
from enrich.spark.settings import session_settings
from enrich.text import LONGEST_READ

pytestmark = pytest.mark.spark

TABLE = pd.DataFrame(
    {
        "product_id": ["1", "2"],
        "title": ['a, quoted "shirt"', "two\nlines"],
        "description": ["x", None],
        "image_path": ["1.jpg", "2.jpg"],
    }
)


@pytest.fixture
def database(spark: SparkSession) -> Iterator[str]:
    spark.sql("CREATE DATABASE known_by_name")
    yield "known_by_name"
    spark.sql("DROP DATABASE known_by_name CASCADE")


@pytest.fixture
def store(spark: SparkSession, tmp_path: Path) -> str:
    """The address of a store which holds what lies in tmp_path, and which Spark alone can read."""
    name = f"store-{time_ns()}"
    hadoop = spark.sparkContext._jsc.hadoopConfiguration()
    hadoop.set(f"fs.viewfs.mounttable.{name}.link./shop", tmp_path.as_uri())
    return f"viewfs://{name}/shop"


def write_part(part: pd.DataFrame, file: Path) -> None:
    if file.suffix == ".parquet":
        part.to_parquet(file)
    else:
        part.to_csv(file, index=False)


def write(folder: Path, kind: str, spark: SparkSession, table: pd.DataFrame = TABLE) -> str:
    file = folder / f"products.{kind}"
    if kind == "parquet":
        table.to_parquet(file)
    elif kind == "csv":
        table.to_csv(file, index=False, doublequote=True)
    elif kind == "json":
        table.to_json(file, orient="records", lines=True)
    else:
        file = folder / "products"
        spark.createDataFrame(table).write.format("delta").save(str(file))
    return str(file)


def test_version_of_files_is_the_same_however_they_are_looked_at(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "100 % cotton"
    folder.mkdir()
    for part in ("a b", "c%20d", "e"):
        TABLE.to_csv(folder / f"{part}.csv", index=False)
    one_by_one = open_catalog(spark, str(folder), ColumnNames()).version
    monkeypatch.setattr(catalog_table, "_ASKED_ONE_BY_ONE", 0)
    assert open_catalog(spark, str(folder), ColumnNames()).version == one_by_one


@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "delta"])
def test_same_products_from_every_kind_of_table(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    snapshot = open_catalog(spark, write(tmp_path, kind, spark), ColumnNames())
    rows = snapshot.products.orderBy("product_id").toPandas()

    assert rows["title"].tolist() == TABLE["title"].tolist()
    assert rows["description"].tolist()[0] == "x"
    assert rows["description"].isna().tolist() == [False, True]


@pytest.mark.parametrize("kind", ["delta", "parquet"])
def test_a_table_is_known_by_its_name_in_back_ticks_or_without(
    spark: SparkSession, database: str, kind: str
) -> None:
    rows = spark.createDataFrame(TABLE)
    rows.write.format(kind).saveAsTable(f"{database}.products")
    for name in (f"{database}.products", f"{database}.`products`", f"`{database}`.products"):
        assert open_catalog(spark, name, ColumnNames()).products.count() == len(TABLE), name


def test_delta_catalog_is_pinned_to_the_version_at_the_start(
    spark: SparkSession, tmp_path: Path
) -> None:
    location = write(tmp_path, "delta", spark)
    snapshot = open_catalog(spark, location, ColumnNames())
    spark.createDataFrame(TABLE).write.format("delta").mode("append").save(location)

    assert snapshot.version == "0"
    assert snapshot.products.count() == 2


def test_folder_of_a_catalog_is_where_its_images_start(spark: SparkSession, tmp_path: Path) -> None:
    file = write(tmp_path, "parquet", spark)
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


def test_a_delta_table_in_a_folder_called_parquet_is_read_as_one(
    spark: SparkSession, tmp_path: Path
) -> None:
    location = str(tmp_path / "products.parquet")
    for _ in range(2):
        spark.createDataFrame(TABLE).write.format("delta").mode("overwrite").save(location)
    snapshot = open_catalog(spark, location, ColumnNames())
    assert (snapshot.version, snapshot.products.count()) == ("1", len(TABLE))
    assert snapshot.folder == str(tmp_path)


@pytest.mark.parametrize("kind", ["csv", "delta"])
def test_a_local_table_is_read_where_it_lies_whatever_file_system_is_the_cluster_s(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / "größe 40 %20 #1, 100 %"
    folder.mkdir()
    location = write(folder, kind, spark)
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
    file = Path(write(tmp_path, kind, spark))
    file.with_stem("way").write_bytes(file.read_bytes())
    like_a_pattern = file.rename(file.with_stem("w?y"))

    assert open_catalog(spark, str(like_a_pattern), ColumnNames()).products.count() == len(TABLE)


def test_a_quotation_mark_that_swallows_rows_is_refused(
    spark: SparkSession, tmp_path: Path
) -> None:
    rows = [f"p{n},title {n},text {n},{n}.jpg" for n in range(20)]
    file = tmp_path / "products.csv"
    for odd, is_sound in (('p8,5" screen,text,8.jpg', True), ('p8,"screen,text,8.jpg', False)):
        rows[8] = odd
        file.write_text("\n".join(["product_id,title,description,image_path", *rows, ""]))
        if is_sound:
            products = open_catalog(spark, str(file), ColumnNames()).products
            assert products.count() == len(rows)
        else:
            for location in (file, tmp_path):
                with pytest.raises(SchemaMismatch, match="in line 10 is closed nowhere"):
                    open_catalog(spark, str(location), ColumnNames())


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


def test_folder_of_parquet_parts_is_one_table(spark: SparkSession, tmp_path: Path) -> None:
    for number in (0, 1):
        TABLE.head(1).assign(product_id=f"{number}").to_parquet(tmp_path / f"{number}.parquet")

    products = open_catalog(spark, str(tmp_path), ColumnNames()).products
    assert sorted(row["product_id"] for row in products.collect()) == ["0", "1"]


def test_what_else_lies_in_a_folder_of_parts_is_not_read(
    spark: SparkSession, tmp_path: Path
) -> None:
    TABLE.head(1).to_csv(tmp_path / "part 0.csv", index=False)
    (tmp_path / "part 1.csv").write_text("\n" + TABLE.tail(1).to_csv(index=False))
    (tmp_path / "readme.txt").write_text("ask ana before you change these\n")
    (tmp_path / "_old.json").write_text("{}")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "before.csv").mkdir()
    (tmp_path / "before.csv" / "part.csv").write_text("sku\n1\n")

    products = open_catalog(spark, str(tmp_path), ColumnNames()).products
    assert sorted(row["product_id"] for row in products.collect()) == ["1", "2"]


@pytest.mark.parametrize("names", [("part[0].parquet", "part0.parquet"), ("a.json", "b.jsonl")])
def test_every_part_of_a_folder_is_read_once_whatever_it_is_called(
    spark: SparkSession, tmp_path: Path, names: tuple[str, str]
) -> None:
    described = TABLE.fillna("y")
    for name, part in zip(names, (described.head(1), described.tail(1)), strict=True):
        if name.endswith("parquet"):
            part.to_parquet(tmp_path / name)
        else:
            part.to_json(tmp_path / name, orient="records", lines=True)

    products = open_catalog(spark, str(tmp_path), ColumnNames()).products
    assert sorted(row["product_id"] for row in products.collect()) == ["1", "2"]


def test_a_folder_of_two_kinds_of_files_says_so(spark: SparkSession, tmp_path: Path) -> None:
    TABLE.to_parquet(tmp_path / "part.parquet")
    TABLE.to_csv(tmp_path / "labels.csv")
    with pytest.raises(ConfigError, match=r"several kinds, such as labels\.csv and part\.parquet"):
        open_catalog(spark, str(tmp_path), ColumnNames())


def test_a_folder_of_empty_exports_lacks_the_columns(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("")
    with pytest.raises(ConfigError):
        open_catalog(spark, str(tmp_path), ColumnNames())


def test_parts_with_other_columns_are_refused_instead_of_read_by_position(
    spark: SparkSession, tmp_path: Path
) -> None:
    TABLE.head(1).to_csv(tmp_path / "a.csv", index=False)
    TABLE.tail(1)[["product_id", "image_path", "title", "description"]].to_csv(
        tmp_path / "b.csv", index=False
    )
    with pytest.raises(SchemaMismatch, match=r"b\.csv has the columns product_id, image_path"):
        open_catalog(spark, str(tmp_path), ColumnNames())


@pytest.mark.parametrize(
    "part",
    [
        TABLE.head(1).drop(columns="description"),
        TABLE.head(1).assign(product_id=7),
        TABLE.head(1).assign(description=None),
    ],
    ids=["a column less", "another type", "NULLs alone"],
)
def test_parquet_parts_with_other_columns_are_refused_instead_of_read_as_null(
    spark: SparkSession, tmp_path: Path, part: pd.DataFrame
) -> None:
    TABLE.head(1).to_parquet(tmp_path / "a.parquet")
    part.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(SchemaMismatch, match=r"b\.parquet has the columns .* a\.parquet beside it"):
        open_catalog(spark, str(tmp_path), ColumnNames())


def test_a_local_uri_is_a_local_path(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "größe 40 %20 #1, 100 %"
    folder.mkdir()
    TABLE.head(1).to_csv(folder / "a.csv", index=False)
    assert open_catalog(spark, f"file://{folder}/", ColumnNames()).folder == str(folder)
    TABLE[TABLE.columns[::-1]].to_csv(folder / "b.csv", index=False)
    with pytest.raises(SchemaMismatch, match=r"b\.csv has the columns image_path"):
        open_catalog(spark, f"file:{folder}", ColumnNames())


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_parts_on_a_store_are_held_against_each_other(
    spark: SparkSession, store: str, tmp_path: Path, kind: str
) -> None:
    folder = tmp_path / f"products.{kind}"
    folder.mkdir()
    for number in (0, 1):
        part = TABLE.iloc[[number]].assign(description="x", stock=number * 1.5)
        write_part(part, folder / f"größe 40 %20 #{number}.{kind}")
    if kind == "csv":
        (folder / "empty.csv").touch()
    found = open_catalog(spark, f"{store}/{folder.name}/", ColumnNames())
    assert sorted(row["product_id"] for row in found.products.collect()) == ["1", "2"]

    other = TABLE[TABLE.columns[::-1]] if kind == "csv" else TABLE.rename(columns={"title": "name"})
    write_part(other, folder / f"z.{kind}")
    with pytest.raises(SchemaMismatch, match=rf"z\.{kind} has the columns .* beside it has"):
        open_catalog(spark, f"{store}/{folder.name}", ColumnNames())


def test_a_folder_of_parts_on_a_store_is_told_what_to_be_called(
    spark: SparkSession, store: str, tmp_path: Path
) -> None:
    TABLE.to_parquet(tmp_path / "part.parquet")
    with pytest.raises(ConfigError, match=r"a folder's too, must end in \.parquet, \.csv"):
        open_catalog(spark, f"{store}/", ColumnNames())


def test_parquet_parts_may_differ_in_order_and_in_columns_that_nobody_reads(
    spark: SparkSession, tmp_path: Path
) -> None:
    TABLE.head(1).assign(stock=1).to_parquet(tmp_path / "a.parquet")
    others = TABLE.head(1)[TABLE.columns[::-1]].assign(stock=1.5, brand=None)
    others.to_parquet(tmp_path / "b.parquet")
    one, other = open_catalog(spark, str(tmp_path), ColumnNames()).products.collect()
    assert one == other


@pytest.mark.parametrize("kind", ["parquet", "json"])
@pytest.mark.parametrize(("twin", "is_read"), [("brand", True), ("Title", False)])
def test_columns_that_differ_in_case_alone_matter_only_where_they_are_read(
    spark: SparkSession, tmp_path: Path, kind: str, twin: str, is_read: bool
) -> None:
    location = write(tmp_path, kind, spark, TABLE.assign(Brand="x", **{twin: "y"}))
    if is_read:
        read = open_catalog(spark, location, ColumnNames()).products.toPandas()
        assert sorted(read["title"]) == sorted(TABLE["title"])
    else:
        with pytest.raises(ConfigError, match="column `title` already exists"):
            open_catalog(spark, location, ColumnNames())
    assert spark.conf.get("spark.sql.caseSensitive") == "false"


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


def test_a_column_of_nulls_alone_is_no_column_of_another_type(
    spark: SparkSession, tmp_path: Path
) -> None:
    TABLE.assign(description=None, sales=None).to_parquet(tmp_path / "products.parquet")
    names = ColumnNames(priority="sales")
    found = open_catalog(spark, str(tmp_path), names).products.collect()
    assert [(row["description"], row["priority"]) for row in found] == [(None, None)] * 2


def test_integer_ids_are_read_as_text(spark: SparkSession, tmp_path: Path) -> None:
    TABLE.assign(product_id=[1, 2]).to_parquet(tmp_path / "products.parquet")
    snapshot = open_catalog(spark, str(tmp_path), ColumnNames())

    assert sorted(row[0] for row in snapshot.products.select("product_id").collect()) == ["1", "2"]


def test_other_column_names_are_mapped(spark: SparkSession, tmp_path: Path) -> None:
    named = TABLE.rename(columns={"title": "na.me"}).assign(department=[7, 8])
    named.to_parquet(tmp_path / "products.parquet")
    names = ColumnNames(title="na.me", category="department")
    products = open_catalog(spark, str(tmp_path), names).products

    assert products.columns == [
        "product_id",
        "title",
        "description",
        "image_path",
        "product_category",
        "priority",
        "has_surplus_fields",
    ]
    assert {row["product_category"] for row in products.collect()} == {"7", "8"}


def test_missing_column_says_which_and_how_to_map_it(spark: SparkSession, tmp_path: Path) -> None:
    TABLE.drop(columns="title").to_parquet(tmp_path / "products.parquet")
    with pytest.raises(SchemaMismatch, match=r"has no column title; it has product_id.*columns"):
        open_catalog(spark, str(tmp_path), ColumnNames())


def test_a_csv_with_another_separator_is_told_to_come_with_commas(
    spark: SparkSession, tmp_path: Path
) -> None:
    file = tmp_path / "products.csv"
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        TABLE.to_csv(file, index=False, sep=separator)
        with pytest.raises(SchemaMismatch, match=f"separated by {name}; wanted: commas"):
            open_catalog(spark, str(file), ColumnNames())
    TABLE.rename(columns={"title": "a;b"}).to_csv(file, index=False)
    with pytest.raises(SchemaMismatch, match="has no column title; it has product_id, a;b"):
        open_catalog(spark, str(file), ColumnNames())


def test_column_of_a_wrong_type_is_refused(spark: SparkSession, tmp_path: Path) -> None:
    TABLE.assign(title=[1.5, 2.5]).to_parquet(tmp_path / "products.parquet")
    with pytest.raises(SchemaMismatch, match=r"column title .* is double; wanted string"):
        open_catalog(spark, str(tmp_path), ColumnNames())


@pytest.mark.parametrize("location", ["nowhere", "/nowhere/at/all.parquet", "no_database.no_table"])
def test_what_is_not_there_is_a_configuration_error(spark: SparkSession, location: str) -> None:
    with pytest.raises(ConfigError, match="no product table can be read"):
        open_catalog(spark, location, ColumnNames())


def test_file_that_is_no_table_is_a_configuration_error(
    spark: SparkSession, tmp_path: Path
) -> None:
    (tmp_path / "products.parquet").write_text("not parquet")
    with pytest.raises(ConfigError, match="no product table can be read"):
        open_catalog(spark, str(tmp_path), ColumnNames())


def test_bytes_that_are_no_utf8_and_texts_of_megabytes_reach_python_as_short_texts(
    spark: SparkSession, tmp_path: Path
) -> None:
    values = [b"7\xff", b"caf\xe9 " + b"x" * 3_000_000, None, b"a/" * 20_000]
    raw = [pa.array([value], pa.binary()) for value in values]
    columns = [
        pa.Array.from_buffers(pa.string(), 1, one.buffers(), null_count=one.null_count)
        for one in raw
    ]
    names = ["product_id", "title", "description", "image_path"]
    pq.write_table(pa.table(dict(zip(names, columns, strict=True))), tmp_path / "products.parquet")

    (row,) = (
        open_catalog(spark, str(tmp_path), ColumnNames()).products.toPandas().to_dict("records")
    )
    assert row["product_id"] == "7\ufffd"
    assert row["title"].startswith("caf\ufffd xx") and len(row["title"]) == LONGEST_READ
    assert row["description"] is None
    # Still too long, and known as such.
    assert len(row["image_path"]) == LONGEST_PATH + 1


@pytest.mark.parametrize(
    "strange",
    [
        pa.array([time(9, 30)], pa.time64("us")),
        pa.array([bytes(16)], pa.uuid()),
        pa.array([np.float16(1)], pa.float16()),
        pa.array([Decimal("1.5")], pa.decimal256(50, 2)),
    ],
    ids=lambda column: str(column.type),
)
def test_a_parquet_column_that_nobody_reads_may_be_of_any_type(
    spark: SparkSession, tmp_path: Path, strange: pa.Array
) -> None:
    table = pa.table({"product_id": pa.array([7]), "title": ["a"], "strange": strange})
    pq.write_table(table, tmp_path / "products.parquet")

    (row,) = open_catalog(
        spark, str(tmp_path), ColumnNames(description=None, image_path=None)
    ).products.collect()

    assert (row["product_id"], row["title"]) == ("7", "a")


def test_a_file_that_is_written_over_is_another_version(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "a shop, 100 % cotton"
    folder.mkdir()
    location = write(folder, "csv", spark)
    before = open_catalog(spark, location, ColumnNames()).version
    (folder / "notes.txt").write_text("no part of the table")
    assert open_catalog(spark, location, ColumnNames()).version == before

    pd.concat([TABLE, TABLE]).to_csv(location, index=False)

    assert open_catalog(spark, location, ColumnNames()).version != before


def test_a_priority_in_csv_is_read_as_a_number(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    TABLE.assign(sales=["12.5", "many"]).to_csv(file, index=False)
    found = open_catalog(spark, str(file), ColumnNames(priority="sales")).products
    assert [row["priority"] for row in found.orderBy("product_id").collect()] == [12.5, None]


def test_a_blank_is_no_id(spark: SparkSession, tmp_path: Path) -> None:
    file = write(tmp_path, "parquet", spark, TABLE.assign(product_id=["", "\u00a0 "]))
    found = open_catalog(spark, file, ColumnNames()).products
    assert [row["product_id"] for row in found.collect()] == [None, None]


def test_a_priority_that_is_no_number_is_none(spark: SparkSession, tmp_path: Path) -> None:
    file = str(tmp_path / "products")
    rows = spark.createDataFrame(TABLE).withColumn(
        "sales", F.expr("double(if(product_id = 1, '7', 'NaN'))")
    )
    rows.write.format("delta").save(file)

    found = open_catalog(spark, file, ColumnNames(priority="sales")).products.orderBy("product_id")

    assert [row["priority"] for row in found.collect()] == [7.0, None]
