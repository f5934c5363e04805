"""Products are found and read without Spark, each of them once."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from enrich.config import ColumnNames, JobConfig
from enrich.errors import ConfigError, SchemaMismatch
from enrich.files.products import Source, find_product, open_source, read_catalog, read_products
from enrich.records import Product

NAMES = ColumnNames(
    product_id="sku", title="name", description=None, image_path="images", category="cat"
)


@pytest.fixture
def products():
    rows = [("007", "red", ["a.jpg", "b.jpg"], "shoes"), ("8", "blue", [], None)]
    return pd.DataFrame(rows, columns=["sku", "name", "images", "cat"])


def open_table(location):
    return open_source(JobConfig(catalog=str(location)))


def test_of_rows_with_one_id_a_run_s_is_the_product_and_a_row_without_an_id_is_none(tmp_path):
    rows = [("b", None), ("b", "red"), (None, "lost"), ("a", "green"), ("b", "blue"), (None, "no")]
    table = pd.DataFrame(rows, columns=["product_id", "title"])
    table.assign(description=None, image_path=None).to_parquet(tmp_path / "products.parquet")
    found = read_catalog(tmp_path / "products.parquet").products
    assert {key: one.title for key, one in found.items()} == {"b": "blue", "a": "green"}
    assert find_product(tmp_path / "products.parquet", "b") == found["b"]


def test_a_delta_table_has_the_rows_of_its_newest_version(tmp_path, products):
    write_deltalake(tmp_path / "shop", products, partition_by=["cat"])
    gone = products.assign(sku="9", name="gone")
    write_deltalake(tmp_path / "shop", gone, mode="append")
    DeltaTable(tmp_path / "shop").delete("sku = '9'")
    source = open_table(tmp_path / "shop")
    assert (source.table, source.image_root) == (tmp_path / "shop", str(tmp_path / "shop"))
    catalog = read_catalog(source.table, NAMES)
    assert catalog.products == {
        "007": Product("007", "red", None, '["a.jpg","b.jpg"]'),
        "8": Product("8", "blue", None, None),
    }
    assert catalog.categories == {"007": "shoes"}


def test_images_are_written_as_spark_writes_them_and_so_find_their_encodings(tmp_path):
    lists = [["é.jpg", " ", "b.jpg"], ["a.jpg"], [None, ""], None]
    table = pa.table({"product_id": ["1", "2", "3", "4"], "images": lists})
    pq.write_table(table, tmp_path / "products.parquet")
    names = ColumnNames(title=None, description=None, image_path="images")
    read = read_products(tmp_path / "products.parquet", columns=names)
    assert read["image_path"].to_pylist() == ['["é.jpg","b.jpg"]', "a.jpg", None, None]


def test_a_delta_table_that_is_damaged_is_one_sentence(tmp_path):
    write_deltalake(tmp_path, pa.table({"product_id": ["1"]}))
    for part in tmp_path.glob("*.parquet"):
        part.unlink()
    with pytest.raises(ConfigError, match="no Delta table can be read at") as error:
        read_catalog(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_a_folder_as_spark_writes_it_is_read_with_its_partitions(tmp_path, kind):
    for partition in ("cat=0%2F1", "cat=__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / partition).mkdir()
        part = pd.DataFrame({"sku": [partition], "name": ["red"], "images": ["a.jpg"]})
        file = tmp_path / partition / f"part-00000.{kind}"
        match kind:
            case "parquet":
                part.to_parquet(file)
            case "csv":
                part.to_csv(file, index=False)
            case "jsonl":
                part.to_json(file, orient="records", lines=True)
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "other.csv").write_text("a\n1\n")
    catalog = read_catalog(open_table(tmp_path).table, NAMES)
    assert list(catalog.products) == ["cat=0%2F1", "cat=__HIVE_DEFAULT_PARTITION__"]
    assert catalog.categories == {"cat=0%2F1": "0/1"}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"notes.txt": ""}, "holds no table"),
        ({"a.csv": "product_id\n1\n", "b.json": '{"product_id": 1}'}, "several formats: csv, json"),
        ({"a.csv": "product_id\n1\n", "c=1/b.csv": "product_id\n1\n"}, "lies beside partitions"),
        ({"a.csv": "product_id\n1\n", "b.csv": "id\n1\n"}, "b.csv has other columns than"),
        ({"a.json": '{"product_id": [[1]]}', "b.json": '{"product_id": 1}'}, "do not fit together"),
    ],
)
def test_files_that_make_no_table_are_refused(tmp_path, files, said):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=said):
        read_catalog(tmp_path)


@pytest.mark.parametrize("table", ["products.csv.gz", "products/part-0.parquet"])
def test_a_folder_with_a_table_among_other_files_stands_for_it(tmp_path, table):
    (tmp_path / table).parent.mkdir(exist_ok=True)
    (tmp_path / table).touch()
    (tmp_path / "labels.parquet").touch()
    source = open_table(tmp_path)
    assert source.table == tmp_path / table.partition("/")[0]
    assert source.image_root == str(tmp_path), "pictures lie beside the table"


def test_pictures_lie_beside_a_file_or_a_folder_that_is_named_as_one(tmp_path):
    (tmp_path / "a.csv").touch()
    (tmp_path / "b.parquet").mkdir()
    for name in ("a.csv", "b.parquet"):
        assert open_table(tmp_path / name) == Source(
            tmp_path / name, tmp_path, JobConfig(catalog=str(tmp_path / name))
        )
        assert open_table(Path(f"file://{tmp_path}") / name).folder == tmp_path


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("shop.products", "shop.products cannot be read without Spark: found no file"),
        ("s3://shop/products", "cannot be read without Spark: found a URI"),
        ("gone.csv", "no product table is at gone.csv"),
        ("gone/folder", "no product table is at gone/folder"),
    ],
)
def test_what_only_spark_knows_or_nobody_is_refused(tmp_path, monkeypatch, location, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=said):
        open_source(JobConfig(catalog=location))


@pytest.mark.parametrize("role", ["title", "category", "priority"])
def test_a_column_that_the_table_lacks_is_told_with_those_that_it_has(tmp_path, role):
    (tmp_path / "a.csv").write_text("product_id,title,description,image_path\n1,red,,\n")
    columns = ColumnNames(**{role: "colour"})
    with pytest.raises(SchemaMismatch, match=r"no column colour; it has product_id, title"):
        read_products(tmp_path / "a.csv", columns=columns)
