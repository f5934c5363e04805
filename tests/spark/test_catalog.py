"""What is read of a product table of any kind, and what is refused."""

from datetime import time
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from product_table import TABLE, write_table
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from enrich.config import ColumnNames
from enrich.errors import ConfigError, SchemaMismatch
from enrich.images.locations import LONGEST_PATH
from enrich.spark.catalog.table import open_catalog
from enrich.text import LONGEST_READ

pytestmark = pytest.mark.spark


@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "delta"])
def test_same_products_from_every_kind_of_table(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    snapshot = open_catalog(spark, write_table(tmp_path, kind, spark), ColumnNames())
    rows = snapshot.products.orderBy("product_id").toPandas()

    assert rows["title"].tolist() == TABLE["title"].tolist()
    assert rows["description"].tolist()[0] == "x"
    assert rows["description"].isna().tolist() == [False, True]


def test_delta_catalog_is_pinned_to_the_version_at_the_start(
    spark: SparkSession, tmp_path: Path
) -> None:
    location = write_table(tmp_path, "delta", spark)
    snapshot = open_catalog(spark, location, ColumnNames())
    spark.createDataFrame(TABLE).write.format("delta").mode("append").save(location)

    assert snapshot.version == "0"
    assert snapshot.products.count() == 2


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


@pytest.mark.parametrize("kind", ["parquet", "json"])
@pytest.mark.parametrize(("twin", "is_read"), [("brand", True), ("Title", False)])
def test_columns_that_differ_in_case_alone_matter_only_where_they_are_read(
    spark: SparkSession, tmp_path: Path, kind: str, twin: str, is_read: bool
) -> None:
    location = write_table(tmp_path, kind, spark, TABLE.assign(Brand="x", **{twin: "y"}))
    if is_read:
        read = open_catalog(spark, location, ColumnNames()).products.toPandas()
        assert sorted(read["title"]) == sorted(TABLE["title"])
    else:
        with pytest.raises(ConfigError, match="column `title` already exists"):
            open_catalog(spark, location, ColumnNames())
    assert spark.conf.get("spark.sql.caseSensitive") == "false"


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
        "has_replaced_bytes",
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
    assert row["product_id"] is None and row["has_replaced_bytes"]
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
    location = write_table(folder, "csv", spark)
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
    file = write_table(tmp_path, "parquet", spark, TABLE.assign(product_id=["", "\u00a0 "]))
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
