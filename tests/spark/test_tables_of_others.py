"""Product tables as other programs write them: what is read, and what is refused with a reason."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from pyspark.sql import SparkSession

from enrich.config import ColumnNames
from enrich.errors import ConfigError, NoAnswer, SchemaMismatch
from enrich.spark.catalog.table import open_catalog
from enrich.spark.failures import explain_failure

pytestmark = pytest.mark.spark

TABLE = pd.DataFrame(
    {"product_id": ["1", "2"], "title": ["a", "b"], "description": None, "image_path": "x.jpg"}
)
BIG = 10**19


def read(spark: SparkSession, location: Path | str) -> pd.DataFrame:
    products = open_catalog(spark, str(location), ColumnNames()).products
    return products.orderBy("product_id").toPandas()


def test_dates_in_nanoseconds_that_nobody_reads_are_left_alone(
    spark: SparkSession, tmp_path: Path
) -> None:
    file = tmp_path / "products.parquet"
    created = pd.to_datetime("2026-01-01T00:00:00.000000001")
    TABLE.assign(created=created).to_parquet(file)
    assert "isAdjustedToUTC=false, timeUnit=nanoseconds" in str(pq.ParquetFile(file).schema)

    assert read(spark, file)["product_id"].tolist() == ["1", "2"]
    assert spark.conf.get("spark.sql.legacy.parquet.nanosAsLong") == "false"


def test_a_date_in_nanoseconds_may_be_a_priority(spark: SparkSession, tmp_path: Path) -> None:
    created = pd.to_datetime(["2026-01-01", "2026-01-02"])
    TABLE.assign(created=created.as_unit("ns")).to_parquet(tmp_path / "products.parquet")
    columns = ColumnNames(priority="created")
    rows = open_catalog(spark, str(tmp_path), columns).products.orderBy("priority").collect()
    assert [row.product_id for row in rows] == ["1", "2"] and rows[0].priority > 0


def test_a_table_without_descriptions_and_images_says_so_by_null(
    spark: SparkSession, tmp_path: Path
) -> None:
    TABLE[["product_id", "title"]].to_csv(tmp_path / "products.csv", index=False)
    columns = ColumnNames(description=None, image_path=None)
    rows = open_catalog(spark, str(tmp_path), columns).products.toPandas()
    assert sorted(rows["title"]) == ["a", "b"]
    assert rows["description"].isna().all() and rows["image_path"].isna().all()
    with pytest.raises(ValidationError, match="nothing to read"):
        ColumnNames(title=None, description=None, image_path=None)


def test_a_table_in_partitions_is_read_whole(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "products.parquet"
    TABLE.assign(country=["de", "fr"], year=2026).to_parquet(
        folder, partition_cols=["country", "year"]
    )
    assert read(spark, folder)["title"].tolist() == ["a", "b"]


@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
@pytest.mark.parametrize("names", [("007", "1e5"), ("2026-11-29", "2026-11-30")], ids=str)
def test_what_partitions_are_called_is_text(
    spark: SparkSession, tmp_path: Path, kind: str, names: tuple[str, str]
) -> None:
    for number, name in enumerate(names):
        folder = tmp_path / f"products.{kind}" / f"department={name}"
        folder.mkdir(parents=True)
        part = TABLE.iloc[[number]].assign(description="x")
        if kind == "parquet":
            part.to_parquet(folder / "a.parquet")
        elif kind == "csv":
            part.to_csv(folder / "a.csv", index=False)
        else:
            lines = part.to_json(orient="records", lines=True)
            # The bad line is for what is read line by line.
            (folder / "a.json").write_text(f"{lines}no json\n" if number else lines)
    products = open_catalog(spark, str(tmp_path), ColumnNames(category="department")).products
    rows = products.where("product_id IS NOT NULL").orderBy("product_id").toPandas()
    assert rows["product_category"].tolist() == list(names)


def test_a_file_beside_partitions_is_refused_instead_of_left_out(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "products.parquet"
    TABLE.assign(country=["de", "fr"]).to_parquet(folder, partition_cols=["country"])
    TABLE.to_parquet(folder / "new.parquet")
    with pytest.raises(ConfigError, match=r"new\.parquet lies beside partitions such as country="):
        read(spark, folder)


def test_partitions_with_other_columns_are_refused_instead_of_read_by_position(
    spark: SparkSession, tmp_path: Path
) -> None:
    for country, columns in (("de", [*TABLE.columns]), ("fr", [*TABLE.columns[::-1]])):
        (tmp_path / f"products.csv/country={country}").mkdir(parents=True)
        TABLE[columns].to_csv(tmp_path / f"products.csv/country={country}/a.csv", index=False)
    with pytest.raises(SchemaMismatch, match="has the columns image_path, description"):
        read(spark, tmp_path / "products.csv")


def test_a_folder_of_partitions_without_a_suffix_is_told_what_it_lacks(
    spark: SparkSession, tmp_path: Path
) -> None:
    TABLE.assign(country="de").to_parquet(tmp_path / "shop", partition_cols=["country"])
    with pytest.raises(ConfigError, match="with partitions, such as country=de, the name must end"):
        read(spark, tmp_path / "shop")


@pytest.mark.parametrize("folder", ["shop", "products.csv", "products.csv/country=de"])
@pytest.mark.parametrize("others", [True, False], ids=["among others", "alone"])
def test_a_compressed_part_is_refused_instead_of_left_out(
    spark: SparkSession, tmp_path: Path, folder: str, others: bool
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    if others:
        TABLE.to_csv(tmp_path / folder / "a.csv", index=False)
    TABLE[TABLE.columns[::-1]].to_csv(tmp_path / folder / "b.csv.gz", index=False)
    with pytest.raises(ConfigError, match=r"b\.csv\.gz is compressed: unpack it"):
        read(spark, tmp_path / folder.split("/")[0])


def test_a_part_that_is_a_link_to_nowhere_is_refused_instead_of_left_out(
    spark: SparkSession, tmp_path: Path
) -> None:
    TABLE.to_csv(tmp_path / "a.csv", index=False)
    (tmp_path / "b.csv").symlink_to("moved.csv")
    with pytest.raises(ConfigError, match=r"b\.csv is a link that leads nowhere"):
        read(spark, tmp_path)


@pytest.mark.parametrize("name", ["shop", "shop.parquet"])
def test_a_compressed_backup_of_another_kind_is_left_alone(
    spark: SparkSession, tmp_path: Path, name: str
) -> None:
    shop = tmp_path / name
    shop.mkdir()
    TABLE.to_parquet(shop / "a.parquet")
    (shop / "old.csv.zip").write_text("a backup")
    assert len(read(spark, shop)) == 2


@pytest.mark.parametrize(
    "other",
    [
        pa.array([Decimal("9.00")], pa.decimal128(18, 2)),
        pa.array([9], pa.uint64()),
        pa.array([9], pa.timestamp("us")),
    ],
    ids=str,
)
def test_parts_whose_numbers_mean_something_else_are_refused(
    spark: SparkSession, tmp_path: Path, other: pa.Array
) -> None:
    for name, ids in (("a", pa.array([1], pa.int64())), ("b", other)):
        columns = {"product_id": ids} | {n: pa.array(["x"]) for n in TABLE.columns[1:]}
        pq.write_table(
            pa.table(columns), tmp_path / f"{name}.parquet", store_decimal_as_integer=True
        )
    with pytest.raises(SchemaMismatch, match=r"b\.parquet has the columns .*product_id INT64 "):
        read(spark, tmp_path)


@pytest.mark.parametrize(
    "ids",
    [pa.array([18, BIG], pa.uint64()), pa.array([Decimal(18), Decimal(BIG)], pa.decimal128(38, 0))],
    ids=["too large for a BIGINT", "NUMBER of another database"],
)
def test_whole_numbers_of_any_type_are_ids(
    spark: SparkSession, tmp_path: Path, ids: pa.Array
) -> None:
    table = pa.table({"product_id": ids} | {n: pa.array(["x", "y"]) for n in TABLE.columns[1:]})
    pq.write_table(table, tmp_path / "products.parquet")
    assert sorted(read(spark, tmp_path)["product_id"]) == sorted(["18", str(BIG)])


def test_a_time_of_day_that_nobody_reads_costs_no_other_column(
    spark: SparkSession, tmp_path: Path
) -> None:
    columns = {
        "product_id": pa.array([18, BIG], pa.uint64()),
        "title": pa.array(["a", "b"], pa.string_view()),
        "description": pa.nulls(2),
        "image_path": ["1.jpg", "2.jpg"],
        "opens": pa.array([0, 1], pa.time64("us")),
    }
    pq.write_table(pa.table(columns), tmp_path / "products.parquet")
    rows = read(spark, tmp_path)
    assert rows["product_id"].tolist() == [str(BIG), "18"]
    assert rows["title"].tolist() == ["b", "a"]
    assert rows["description"].isna().all()


def test_numbers_with_decimals_are_no_ids(spark: SparkSession, tmp_path: Path) -> None:
    ids = pa.array([Decimal("1.50"), Decimal("2.50")], pa.decimal128(18, 2))
    table = pa.table({"product_id": ids} | {n: pa.array(["x", "y"]) for n in TABLE.columns[1:]})
    pq.write_table(table, tmp_path / "products.parquet")
    with pytest.raises(SchemaMismatch, match=r"product_id .* is decimal\(18,2\); wanted string or"):
        read(spark, tmp_path)


def test_blanks_that_fill_a_text_of_fixed_length_are_none_of_its_own(
    spark: SparkSession, tmp_path: Path
) -> None:
    table = f"delta.`{tmp_path}/products`"
    spark.sql(
        f"CREATE TABLE {table} (product_id CHAR(10), title VARCHAR(10), description STRING, "
        "image_path CHAR(20)) USING DELTA"
    )
    spark.sql(f"INSERT INTO {table} VALUES ('p1', 'a ', NULL, 'x.jpg')")
    (row,) = read(spark, tmp_path / "products").itertuples()
    assert (row.product_id, row.title, row.image_path) == ("p1", "a ", "x.jpg")


def _cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-200])


def _write_over(file: Path) -> None:
    TABLE.assign(title="another").to_parquet(file)


def _compress_strangely(file: Path) -> None:
    (file.parent / f".{file.name}.crc").unlink()
    TABLE.to_parquet(file, compression="brotli")


@pytest.mark.parametrize(
    ("harm", "kind", "told"),
    [
        (Path.unlink, NoAnswer, "VACUUM did while it was read: run this again"),
        (_cut_off, ConfigError, "It is damaged"),
        (_write_over, ConfigError, "the .crc file beside it"),
        (_compress_strangely, ConfigError, "write it with zstd or snappy"),
    ],
)
def test_a_file_of_a_delta_table_that_cannot_be_read_is_one_message(
    spark: SparkSession,
    tmp_path: Path,
    harm: Callable[[Path], None],
    kind: type[Exception],
    told: str,
) -> None:
    table = tmp_path / "products"
    spark.createDataFrame(TABLE).coalesce(1).write.format("delta").save(str(table))
    (file,) = table.glob("part-*.parquet")
    harm(file)

    with pytest.raises(Exception, match="FAILED_READ_FILE") as caught:
        open_catalog(spark, str(table), ColumnNames()).products.collect()

    found = explain_failure(caught.value)
    assert isinstance(found, kind)
    assert file.name in str(found) and told in str(found)
