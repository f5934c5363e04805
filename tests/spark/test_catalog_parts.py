"""Folders of parts are one product table, or are refused."""

import runpy
from pathlib import Path

import pandas as pd
import pytest
from product_table import TABLE
from pyspark.sql import SparkSession

from enrich.config import ColumnNames
from enrich.errors import ConfigError, SchemaMismatch
from enrich.spark.catalog import files
from enrich.spark.catalog import table as catalog_table
from enrich.spark.catalog.table import open_catalog

pytestmark = pytest.mark.spark

ROOT = Path(__file__).parents[2]


def write_part(part: pd.DataFrame, file: Path) -> None:
    if file.suffix == ".parquet":
        part.to_parquet(file)
    else:
        part.to_csv(file, index=False)


def test_a_dag_waits_for_the_very_files_that_the_job_reads() -> None:
    # Airflow's packages and the job's do not go together, so neither imports the other's words.
    waited = runpy.run_path(str(ROOT / "airflow_dags" / "catalog_tasks" / "product_table.py"))
    assert waited["_KINDS"] == tuple(files.READERS)
    assert waited["_COMPRESSED"] == files._COMPRESSED
    name = files._TABLE_IN_FOLDER
    assert waited["_TABLE_IN_FOLDER"] == [name, *(f"{name}{kind}" for kind in files.READERS)]
    assert all(files._IN_DATA.search(unfinished) for unfinished in waited["_UNFINISHED"])


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


def test_folder_of_parquet_parts_is_one_table(spark: SparkSession, tmp_path: Path) -> None:
    for number in (0, 1):
        TABLE.head(1).assign(product_id=f"{number}").to_parquet(tmp_path / f"{number}.parquet")

    products = open_catalog(spark, str(tmp_path), ColumnNames()).products
    assert sorted(row["product_id"] for row in products.collect()) == ["0", "1"]


@pytest.mark.parametrize("name", ["shop", "products.csv", "products.csv/country=de"])
def test_what_else_lies_in_a_folder_of_parts_is_not_read(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir(parents=True)
    TABLE.head(1).to_csv(folder / "part 0.csv", index=False)
    (folder / "part 1.csv").write_text("\n" + TABLE.tail(1).to_csv(index=False))
    (folder / "readme.txt").write_text("ask ana before you change these\n")
    TABLE.head(1).assign(title="A").to_csv(folder / "part 0.csv.bak", index=False)
    TABLE.head(1).assign(title="A").to_csv(folder / "part 0.csv~", index=False)
    (folder / "_old.json").write_text("{}")
    (folder / "empty.csv").write_text("")
    (folder / "before.csv").mkdir()
    (folder / "before.csv" / "part.csv").write_text("sku\n1\n")

    products = open_catalog(spark, str(tmp_path / name.split("/")[0]), ColumnNames()).products
    assert sorted(row["product_id"] for row in products.collect()) == ["1", "2"]


def test_parts_without_an_ending_are_read_in_a_folder_that_has_one_and_looked_at(
    spark: SparkSession, tmp_path: Path
) -> None:
    # As Hive and MapReduce call them.
    folder = tmp_path / "products.csv"
    folder.mkdir()
    TABLE.head(1).to_csv(folder / "000000_0", index=False)
    TABLE.tail(1).to_csv(folder / "part-00001", index=False)
    products = open_catalog(spark, str(folder), ColumnNames()).products
    assert sorted(row["product_id"] for row in products.collect()) == ["1", "2"]

    (folder / "README").write_text("ask ana before you change these\n")
    with pytest.raises(SchemaMismatch, match=r"README has the columns ask ana before .* beside it"):
        open_catalog(spark, str(folder), ColumnNames())


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
    with pytest.raises(SchemaMismatch, match="has no column product_id"):
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
