"""Product tables of every format: what is read, what is malformed, what is refused."""

import gzip
import json
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from product_table import TABLE, write_table
from pyspark.sql import functions as F

from enrich.config import ColumnNames, JobConfig
from enrich.errors import ConfigError, NoAnswer, SchemaMismatch
from enrich.images.locations import LONGEST_PATH
from enrich.spark.failures import explain_failure
from enrich.spark.session import session_settings
from enrich.spark.source import Source, open_image_store, open_source, refuse_replaced
from enrich.text import LONGEST_READ

pytestmark = pytest.mark.spark

TWO_COLUMNS = ColumnNames(description=None, image_path=None)


def read(spark, location, **names):
    """Return the products, ordered by id; NULLs as None."""
    products = open_source(spark, str(location), ColumnNames(**names)).products
    rows = products.orderBy("product_id", "title").toPandas()
    return rows.astype(object).where(rows.notna(), None)


@pytest.fixture
def database(spark):
    spark.sql("CREATE DATABASE known_by_name")
    yield "known_by_name"
    spark.sql("DROP DATABASE known_by_name CASCADE")


# Formats and places


@pytest.mark.parametrize("kind", ["parquet", "csv", "json", "delta"])
def test_every_format_gives_the_same_products(spark, tmp_path, kind):
    rows = read(spark, write_table(tmp_path, kind, spark))
    assert rows["title"].tolist() == TABLE["title"].tolist()
    assert rows["description"].tolist() == ["x", None]
    assert not rows["is_malformed"].any() and not rows["has_replaced_bytes"].any()
    assert rows.columns.tolist() == [
        "product_id",
        "title",
        "description",
        "image_path",
        "priority",
        "product_category",
        "is_malformed",
        "has_replaced_bytes",
    ]


@pytest.mark.parametrize(
    ("name", "by_folder"), [("products.csv.zst", False), ("products.jsonl.gz", True)]
)
def test_a_compressed_file_is_read(spark, tmp_path, name, by_folder):
    table = TABLE.fillna("y")
    text = (
        table.to_csv(index=False) if "csv" in name else table.to_json(orient="records", lines=True)
    )
    with pa.output_stream(str(tmp_path / name), compression="detect") as file:
        file.write(text.encode())
    rows = read(spark, tmp_path if by_folder else tmp_path / name)
    assert rows["title"].tolist() == TABLE["title"].tolist()


@pytest.mark.parametrize(
    ("kind", "name"), [("parquet", "shop"), ("csv", "shop"), ("json", "products.json")]
)
def test_a_folder_in_partitions_as_spark_writes_it_is_read(spark, tmp_path, kind, name):
    folder = tmp_path / name
    rows = spark.createDataFrame(TABLE.assign(department=["007", "2026-11-29"]))
    options = {"header": "true", "escape": '"'} if kind == "csv" else {}
    rows.write.partitionBy("department").format(kind).options(**options).save(str(folder))
    found = read(spark, folder, category="department")
    assert found["product_category"].tolist() == ["007", "2026-11-29"]
    assert found["title"].tolist() == TABLE["title"].tolist()


@pytest.mark.parametrize("name", ["shop", "shop/products", "products.csv"])
def test_only_the_parts_of_a_folder_are_read(spark, tmp_path, name):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    TABLE.head(1).to_csv(folder / "part [0].csv", index=False)
    (folder / "part 1.csv.gz").write_bytes(
        gzip.compress(TABLE.tail(1).to_csv(index=False).encode())
    )
    (folder / "_SUCCESS").write_text("")
    (folder / "empty.csv").write_text("")
    (folder / "images").mkdir()
    (folder / "images" / "a.csv").write_text("sku\n1\n")
    if name != "products.csv":
        (folder / "readme.txt").write_text("ask ana before you change these\n")
    assert read(spark, tmp_path / name.split("/")[0])["product_id"].tolist() == ["1", "2"]


def test_a_folder_of_several_formats_is_refused(spark, tmp_path):
    TABLE.to_parquet(tmp_path / "part.parquet")
    TABLE.to_csv(tmp_path / "labels.csv")
    with pytest.raises(ConfigError, match=r"several formats: csv, parquet\. Name the file"):
        read(spark, tmp_path)


def test_files_beside_partitions_are_refused(spark, tmp_path):
    TABLE.assign(country=["de", "fr"]).to_parquet(tmp_path, partition_cols=["country"])
    TABLE.to_parquet(tmp_path / "new.parquet")
    with pytest.raises(ConfigError, match=r"new\.parquet lies beside partitions"):
        read(spark, tmp_path)


@pytest.mark.parametrize("kind", ["delta", "parquet", "hive"])
def test_a_table_is_known_by_its_name(spark, database, kind):
    rows = TABLE.assign(title=["a", "b"]).fillna("y")  # a line of Hive's text format is a row
    spark.createDataFrame(rows).write.format(kind).saveAsTable(f"{database}.products")
    for name in (f"{database}.products", f"`{database}`.`products`"):
        source = open_source(spark, name, ColumnNames())
        assert (source.products.count(), source.folder) == (len(TABLE), None)
        refuse_replaced(source)


def test_a_view_is_refused(spark, database):
    spark.createDataFrame(TABLE).write.format("delta").saveAsTable(f"{database}.products")
    spark.sql(f"CREATE VIEW {database}.new AS SELECT * FROM {database}.products")
    with pytest.raises(ConfigError, match="is a view"):
        read(spark, f"{database}.new")


@pytest.mark.parametrize(
    ("kind", "is_on_a_store"), [("delta", False), ("parquet", True), ("csv", False)]
)
def test_any_name_means_that_file_alone(spark, store, tmp_path, kind, is_on_a_store):
    folder = tmp_path / "größe 40 %20 #1, 100 % {a,b}"
    folder.mkdir()
    table = Path(write_table(folder, kind, spark))
    # A pattern would match this one too; a Delta table may be called as a file is.
    name = f"w[a]y {table.name}" if kind != "delta" else "w[a]y.parquet"
    table.rename(folder / name)
    TABLE.to_csv(folder / "way.csv")
    elsewhere = {"fs.defaultFS": "hdfs://127.0.0.1:1/", "ipc.client.connect.max.retries": "0"}
    with session_settings(spark, {} if is_on_a_store else elsewhere):
        root = f"{store}/{folder.name}" if is_on_a_store else str(folder)
        source = open_source(spark, f"{root}/{name}", ColumnNames())
        assert sorted(row["product_id"] for row in source.products.collect()) == ["1", "2"]
    assert source.folder == root
    assert source.version == "0" if kind == "delta" else source.version.startswith("files-")
    refuse_replaced(source)


@pytest.mark.parametrize("location", ["nowhere", "/nowhere/at/all.parquet", "no_database.no_table"])
def test_a_table_that_is_not_there_is_a_configuration_error(spark, location):
    with pytest.raises(ConfigError, match="no product table can be read at") as refused:
        read(spark, location)
    assert "\n" not in str(refused.value)


def test_a_store_out_of_reach_may_answer_later(spark):
    with (
        session_settings(spark, {"ipc.client.connect.max.retries": "0"}),
        pytest.raises(NoAnswer, match="no product table can be read at 'hdfs:"),
    ):
        read(spark, "hdfs://127.0.0.1:1/shop/products.parquet")


@pytest.mark.parametrize("name", ["products.parquet", "products.csv.gz", "products.json"])
def test_a_file_that_spark_cannot_read_is_refused_in_its_words(spark, tmp_path, name):
    (tmp_path / name).write_text("something else")
    expected = {
        "products.parquet": "products.parquet is not a Parquet file",
        "products.csv.gz": r"products\.csv\.gz: not a gzip file",
        "products.json": "found none",
    }
    with pytest.raises(ConfigError, match=expected[name]) as refused:
        read(spark, tmp_path)
    assert "\n" not in str(refused.value)


# Versions


def test_a_delta_table_is_pinned_to_its_version(spark, tmp_path):
    location = write_table(tmp_path, "delta", spark)
    source = open_source(spark, location, ColumnNames())
    spark.createDataFrame(TABLE).write.format("delta").mode("append").save(location)
    assert source.version == "0" and source.products.count() == 2
    refuse_replaced(source)
    newest = open_source(spark, location, ColumnNames())
    earlier = open_source(spark, location, ColumnNames(), version="0")
    assert (newest.version, newest.products.count()) == ("1", 4)
    assert (earlier.version, earlier.products.count()) == ("0", 2)


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_replaced_file_is_noticed(spark, tmp_path, is_removed):
    file = Path(write_table(tmp_path, "csv", spark))
    source = open_source(spark, str(tmp_path), ColumnNames())
    (tmp_path / "labels.parquet").write_text("not a part of the table")
    assert open_source(spark, str(file), ColumnNames()).version == source.version
    refuse_replaced(source)
    if is_removed:
        file.unlink()
    else:
        pd.concat([TABLE, TABLE]).to_csv(file, index=False)
    with pytest.raises(NoAnswer, match=r"was replaced while it was read\. Run this again"):
        refuse_replaced(source)


# Columns


def test_other_column_names_are_mapped(spark, tmp_path):
    named = TABLE.rename(columns={"title": "na.me"}).assign(department=[7, 8], sales=["12.5", "x"])
    named.to_parquet(tmp_path / "products.parquet")
    rows = read(spark, tmp_path, title="na.me", category="department", priority="sales")
    assert rows["title"].tolist() == TABLE["title"].tolist()
    assert rows["product_category"].tolist() == ["7", "8"]
    assert rows["priority"].tolist() == [12.5, None]


def test_a_blank_category_is_none(spark, tmp_path):
    TABLE.assign(department=["", " "]).to_parquet(tmp_path / "products.parquet")
    rows = read(spark, tmp_path, category="department")
    assert rows["product_category"].tolist() == [None, None]


@pytest.mark.parametrize("kind", ["parquet", "json", "delta"])
def test_a_list_of_images_is_read_as_one_text(spark, tmp_path, kind):
    table = TABLE.assign(image_path=[["1.jpg", None, " ", 'a "b".jpg'], [" ", "2.jpg"]])
    three = pd.concat([table, TABLE.head(1).assign(product_id="3", image_path=[[]])])
    paths = read(spark, write_table(tmp_path, kind, spark, three))["image_path"].tolist()
    assert json.loads(paths[0]) == ["1.jpg", 'a "b".jpg']
    assert paths[1:] == ["2.jpg", None]


def test_bytes_that_are_not_utf8_in_a_list_of_images_are_replaced(spark, tmp_path):
    values = pa.array([b"a\xff.jpg", b"b.jpg"])
    texts = pa.Array.from_buffers(pa.string(), 2, values.buffers())
    lists = pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), texts)
    table = pa.table({"product_id": ["1"], "title": ["x"], "image_path": lists})
    pq.write_table(table, tmp_path / "products.parquet")
    rows = read(spark, tmp_path, description=None)
    assert json.loads(rows["image_path"][0])[1] == "b.jpg"
    assert rows["has_replaced_bytes"].tolist() == [True]


@pytest.mark.parametrize(("column", "value"), [("title", ["a"]), ("image_path", [1])])
def test_other_lists_are_refused(spark, tmp_path, column, value):
    location = write_table(tmp_path, "parquet", spark, TABLE.assign(**{column: [value, value]}))
    with pytest.raises(SchemaMismatch, match=f"column {column} .*array"):
        read(spark, location)


@pytest.mark.parametrize(
    ("kind", "twin", "is_read"), [("parquet", "brand", True), ("json", "Title", False)]
)
def test_columns_that_differ_in_case_alone_are_refused_where_they_are_read(
    spark, tmp_path, kind, twin, is_read
):
    location = write_table(tmp_path, kind, spark, TABLE.assign(Brand="x", **{twin: "y"}))
    if is_read:
        assert len(read(spark, location)) == 2
    else:
        with pytest.raises(SchemaMismatch, match=r"has the columns .*expected one title"):
            read(spark, location)
    assert spark.conf.get("spark.sql.caseSensitive") == "false"


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        (pa.array([7, 10**19], pa.uint64()), [str(10**19), "7"]),
        (pa.array([Decimal(7), Decimal(8)], pa.decimal128(38, 0)), ["7", "8"]),
        (pa.array([7, 8], pa.int16()), ["7", "8"]),
        (pa.array(["", "\u00a0 "]), [None, None]),
        (pa.array([1.5, 2.5]), "found double, expected string or a whole number"),
        (pa.array([Decimal("1.5"), Decimal(2)], pa.decimal128(9, 1)), r"found decimal\(9,1\)"),
        (pa.array([["a"], ["b"]]), "found array<string>"),
    ],
    ids=str,
)
def test_ids_are_texts_or_whole_numbers(spark, tmp_path, ids, found):
    table = pa.table({"product_id": ids, "title": ["a", "b"]})
    pq.write_table(table, tmp_path / "products.parquet")
    if isinstance(found, list):
        rows = read(spark, tmp_path, description=None, image_path=None)
        assert sorted(map(str, rows["product_id"])) == sorted(map(str, found))
    else:
        with pytest.raises(SchemaMismatch, match=f"column product_id .*{found}"):
            read(spark, tmp_path, description=None, image_path=None)


def test_columns_of_nulls_alone_of_nanoseconds_and_of_no_numbers_are_read(spark, tmp_path):
    created = pd.to_datetime(["2026-01-01", "2026-01-02"]).as_unit("ns")
    table = TABLE.assign(description=None, sales=None, created=created, seen=created)
    table.to_parquet(tmp_path / "products.parquet")
    rows = read(spark, tmp_path, category="sales", priority="created")
    assert rows["description"].tolist() == rows["product_category"].tolist() == [None, None]
    assert 0 < rows["priority"][0] < rows["priority"][1]
    assert spark.conf.get("spark.sql.legacy.parquet.nanosAsLong") == "false"
    void = spark.createDataFrame(TABLE).withColumns(
        {"description": F.lit(None), "sales": F.expr("if(product_id = 1, 7D, double('NaN'))")}
    )
    void.write.format("delta").save(str(tmp_path / "products"))
    rows = read(spark, tmp_path / "products", priority="sales")
    assert rows["description"].tolist() == [None, None]
    assert rows["priority"].tolist() == [7.0, None]


def test_parts_may_differ_in_order_and_in_columns_that_nobody_reads(spark, tmp_path):
    TABLE.head(1).assign(stock=1).to_parquet(tmp_path / "a.parquet")
    others = TABLE.head(1)[TABLE.columns[::-1]].assign(stock=1.5, brand=None)
    others.to_parquet(tmp_path / "b.parquet")
    one, other = open_source(spark, str(tmp_path), ColumnNames()).products.collect()
    assert one == other


def test_parts_with_other_types_are_refused(spark, tmp_path):
    TABLE.head(1).to_parquet(tmp_path / "a.parquet")
    TABLE.head(1).assign(product_id=7).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(Exception, match="FAILED_READ_FILE") as caught:
        read(spark, tmp_path)
    found = explain_failure(caught.value)
    assert isinstance(found, ConfigError)
    assert "b.parquet" in str(found) and "product_id" in str(found) and "\n" not in str(found)
    assert "SQLSTATE" not in str(found)


@pytest.mark.parametrize(
    ("place", "columns"),
    [("", TABLE.columns[::-1]), ("country=de", TABLE.columns[:3])],
    ids=["order", "less"],
)
def test_csv_parts_with_another_header_are_refused_and_not_read_by_position(
    spark, tmp_path, place, columns
):
    (tmp_path / place).mkdir(exist_ok=True)
    TABLE.to_csv(tmp_path / place / "a.csv", index=False)
    TABLE[columns].to_csv(tmp_path / place / "b.csv", index=False)
    with pytest.raises(Exception, match="FAILED_READ_FILE") as caught:
        open_source(spark, str(tmp_path), ColumnNames()).products.select("title").collect()
    found = explain_failure(caught.value)
    assert isinstance(found, ConfigError)
    assert "b.csv" in str(found) and "CSV header" in str(found) and "\n" not in str(found)


# Rows


def test_csv_rows_with_surplus_fields_are_malformed(spark, tmp_path):
    rows = {
        'sound,"red, ""large""\nshirt",text,1.jpg': False,
        "shifted,red, large shirt,text,1.jpg": True,
        "shifted over a gap,a,b,c,,x": True,
        "short,red shirt": False,
        "commas at the end,red shirt,text,1.jpg,,": False,
        "a return\rwithin,red shirt,text,1.jpg": False,
        'open,"red shirt,text,1.jpg\nlost,a,b,c': True,
    }
    folder = tmp_path / "products.csv" / "country=de"
    folder.mkdir(parents=True)
    # As Excel begins a file in UTF-8.
    lines = ["\ufeffproduct_id,title,description,image_path", *rows, ""]
    (folder / "a.csv").write_text("\n".join(lines))
    products = open_source(spark, str(tmp_path), ColumnNames()).products
    found = products.toPandas()
    assert found["is_malformed"].tolist() == list(rows.values())
    assert found["title"].tolist()[0] == 'red, "large"\nshirt'
    # Spark itself refuses a query for nothing but malformed rows.
    assert products.where("is_malformed").count() == sum(rows.values())


def test_a_csv_file_with_nameless_columns_is_read(spark, tmp_path):
    TABLE.assign(**{"": "x"}).to_csv(tmp_path / "products.csv")  # with an index, as pandas does
    # A folder of pictures hides no table.
    (tmp_path / "products").mkdir()
    (tmp_path / "products" / "1.jpg").touch()
    rows = read(spark, tmp_path)
    assert rows["title"].tolist() == TABLE["title"].tolist() and not rows["is_malformed"].any()


def test_rows_that_end_in_several_ways_are_not_lost_unnoticed(spark, tmp_path):
    file = tmp_path / "products.csv"
    file.write_bytes(b"product_id,title\r\n1,a\r\n2,b\n3,c\n4,d\r\n")
    rows = read(spark, file, description=None, image_path=None)
    assert rows["is_malformed"].tolist() == [False, True]


def test_lines_that_are_not_json_are_malformed_and_kept(spark, tmp_path):
    file = tmp_path / "products.jsonl"
    file.write_bytes(
        b'{"product_id": 1, "title": "a\tb", "stock": {}}\n\n'
        b'{"product_id": "A-2", "title": NaN, "stock": 7}\n'
        b'[{"product_id": "3", "title": "c"}, {"product_id": "4", "title": "d"}]\n'
        b'{"product_id": 5, "title": "x"\n'
        b'{"product_id": "6", "title": "caf\xe9"}\n'
    )
    products = open_source(spark, str(file), TWO_COLUMNS).products
    rows = {row["title"]: row for row in products.where("NOT is_malformed").collect()}
    assert {row["product_id"]: title for title, row in rows.items()} == {
        "1": "a\tb",
        "A-2": None,
        "3": "c",
        "4": "d",
    }
    malformed = products.where("is_malformed")
    # Who is to mend the line finds it in quarantine.
    found = {row["title"]: row["has_replaced_bytes"] for row in malformed.collect()}
    assert found == {
        '{"product_id": 5, "title": "x"': False,
        '{"product_id": "6", "title": "caf\ufffd"}': True,
    }
    assert malformed.count() == 2


def test_bytes_that_are_not_utf8_and_texts_of_megabytes_reach_python_as_short_texts(
    spark, tmp_path
):
    values = [b"7\xff", b"caf\xe9 " + b"x" * 3_000_000, None, b"a/" * 20_000]
    raw = [pa.array([value], pa.binary()) for value in values]
    columns = [
        pa.Array.from_buffers(pa.string(), 1, one.buffers(), null_count=one.null_count)
        for one in raw
    ]
    table = pa.table(dict(zip(TABLE.columns, columns, strict=True)))
    pq.write_table(table, tmp_path / "products.parquet")
    (row,) = read(spark, tmp_path).to_dict("records")
    assert row["product_id"] is None and row["has_replaced_bytes"]
    assert row["title"].startswith("caf\ufffd xx") and len(row["title"]) == LONGEST_READ
    assert row["description"] is None
    # Still too long, and known as such.
    assert len(row["image_path"]) == LONGEST_PATH + 1


# Where images start


def test_images_start_in_the_folder_of_the_table(spark, tmp_path):
    shop, blobs = tmp_path / "shop", tmp_path / "blobs"
    blobs.mkdir()
    TABLE.to_csv(blobs / "2026-11-29", index=False)
    shop.mkdir()
    (shop / "products.csv").symlink_to("../blobs/2026-11-29")
    (shop / "more.parquet").mkdir()
    TABLE.to_parquet(shop / "more.parquet" / "part-0.parquet")
    (tmp_path / "linked").symlink_to("shop")
    for location in ("shop", "shop/products.csv", "shop/more.parquet", "linked"):
        source = open_source(spark, f"file://{tmp_path}/{location}/", ColumnNames())
        assert (source.folder, source.products.count()) == (str(shop), len(TABLE))
        refuse_replaced(source)


@pytest.mark.parametrize(
    ("folder", "settings", "found"),
    [
        ("/shop", {}, "/shop"),
        ("/shop", {"image_root": "s3://images"}, "s3://images"),
        (None, {}, "known by name has no folder. Give --image-root"),
        ("viewfs://store/shop", {}, "'viewfs://' is not allowed .* Give --image-root"),
        (None, {"columns": {"image_path": None}}, str(Path.cwd())),
    ],
)
def test_the_image_root_is_the_settings_or_the_sources_folder(spark, folder, settings, found):
    source = Source("products", "0", spark.range(0), folder)
    if "Give" in found:
        with pytest.raises(ConfigError, match=found):
            open_image_store(source, JobConfig(**settings))
    else:
        assert open_image_store(source, JobConfig(**settings)).root == found


# Files that break while they are read


def _cut_off(file):
    file.write_bytes(file.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("harm", "kind", "told"),
    [
        (Path.unlink, NoAnswer, "VACUUM did while it was read"),
        (_cut_off, ConfigError, "Write it again"),
    ],
)
def test_a_broken_file_of_a_delta_table_is_one_message(spark, tmp_path, harm, kind, told):
    table = tmp_path / "products"
    spark.createDataFrame(TABLE).coalesce(1).write.format("delta").save(str(table))
    (file,) = table.glob("part-*.parquet")
    harm(file)
    with pytest.raises(Exception, match="FAILED_READ_FILE") as caught:
        open_source(spark, str(table), ColumnNames()).products.collect()
    found = explain_failure(caught.value)
    assert isinstance(found, kind)
    assert file.name in str(found) and told in str(found)
