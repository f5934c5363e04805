"""Rows of CSV: where they end, and those with more fields than columns, trusted in nothing."""

from pathlib import Path

import pytest
from expectations.counting import count_input
from expectations.figures import InputFigures
from fake_shop import Shop
from pyspark.sql import SparkSession

from enrich.config import ColumnNames
from enrich.errors import SchemaMismatch, ValidationFailed
from enrich.spark.catalog.table import open_catalog
from enrich.spark.records import InputRows
from schemas.images import ImageSample
from schemas.verdict import Verdict

pytestmark = pytest.mark.spark


@pytest.mark.parametrize("place", ["", "country=de", "country=de/year=2026"])
@pytest.mark.parametrize("is_on_a_store", [False, True], ids=["local", "on a store"])
def test_rows_of_csv_with_more_fields_than_columns_are_told(
    spark: SparkSession, store: str, tmp_path: Path, place: str, is_on_a_store: bool
) -> None:
    rows = {
        'sound,"red, ""large""\nshirt",text,1.jpg': False,
        "shifted,red, large shirt,text,1.jpg": True,
        'shifted in lines,"red,\nlarge",shirt,text,1.jpg,more': True,
        "shifted over a gap,a,b,c,,x": True,
        "short,red shirt": False,
        "commas at the end,red shirt,text,1.jpg,,": False,
    }
    folder = tmp_path / "products.csv" / place
    folder.mkdir(parents=True)
    location = f"{store}/products.csv" if is_on_a_store else str(tmp_path)
    for end in ("", ","):
        header = f"product_id,title,description,image_path{end}"
        (folder / "a.csv").write_text("\n".join([header, *rows, ""]))
        found = open_catalog(spark, location, ColumnNames()).products.toPandas()

        assert found["has_surplus_fields"].tolist() == list(rows.values())
        assert found["title"].tolist()[0] == 'red, "large"\nshirt'
        assert found["title"].tolist()[4:] == ["red shirt"] * 2


def test_a_column_that_partitions_are_called_by_too_moves_no_other(
    spark: SparkSession, tmp_path: Path
) -> None:
    folder = tmp_path / "products.csv" / "country=de"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("product_id,Country,title\n1,x,Tee\n2,y,Red, large cap\n")
    columns = ColumnNames(description=None, image_path=None, category="country")
    rows = open_catalog(spark, str(tmp_path), columns).products.toPandas()
    assert rows["title"].tolist() == ["Tee", "Red"]
    assert rows["has_surplus_fields"].tolist() == [False, True]
    assert set(rows["product_category"]) == {"de"}


def test_columns_that_spark_has_named_may_be_meant(spark: SparkSession, tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    file.write_text("_c0,_c1,_c2,_c3\n1,red shirt,text,1.jpg\n")
    names = ColumnNames(product_id="_c0", title="_c1", description="_c2", image_path="_c3")
    (row,) = open_catalog(spark, str(file), names).products.collect()
    assert (row["image_path"], row["has_surplus_fields"]) == ("1.jpg", False)


@pytest.mark.parametrize(("header", "rows"), [("\r\n", "\n"), ("\n", "\r\n")], ids=repr)
def test_a_csv_whose_rows_end_in_several_ways_is_refused_before_rows_are_lost(
    spark: SparkSession, tmp_path: Path, header: str, rows: str
) -> None:
    file = tmp_path / "products.csv"
    table = header.join(["product_id,title,description,image_path", *(["1,a,b,c"] * 2)])
    file.write_bytes(f"{table}{header}2,a,b,c{rows}3,a,b,c{rows}".encode())
    with pytest.raises(SchemaMismatch, match=r"end by .* one kind of line end"):
        open_catalog(spark, str(file), ColumnNames())
    # Breaks within a text are no ends of rows, and the last row needs none.
    file.write_bytes(f'{table}{header}2,"a{rows}b",b,c'.encode())
    assert open_catalog(spark, str(file), ColumnNames()).products.count() == 3


@pytest.mark.parametrize("end", ["\r\n", "\n"], ids=repr)
@pytest.mark.parametrize("row", ["1,Red\rshirt,b,c", "1,Tee,b,\rc"], ids=repr)
def test_a_carriage_return_within_a_field_is_no_end_of_a_row(
    spark: SparkSession, tmp_path: Path, row: str, end: str
) -> None:
    file = tmp_path / "products.csv"
    rows = ["product_id,title,description,image_path", row, "2,Cap,b,c"]
    file.write_bytes("".join(one + end for one in rows).encode())
    found = open_catalog(spark, str(file), ColumnNames()).products.collect()
    assert [(one["product_id"], one["has_surplus_fields"]) for one in found] == [
        ("1", False),
        ("2", False),
    ]


def test_a_csv_row_with_surplus_fields_is_put_aside_and_keeps_its_answer(shop: Shop) -> None:
    shop.tables.create_missing()
    said = "'ok', 'hash', 'fake-1', 'before', DATE'2020-01-01', TIMESTAMP'2020-01-01'"
    shop.sql(
        "INSERT INTO shop.product_attributes (product_id, modalities, "
        "status, content_hash, model_version, run_id, run_date, enriched_at) VALUES "
        + ", ".join(f"('p{n}', 'text', {said})" for n in range(3))
    )
    shop.write_csv("p0,shirt number 0", "p1,red, large,shirt,p1.jpg", "p2,shirt number 2", "p3,new")

    counts = shop.refresh(config={"missing_products": "delete"}).counts

    found = {name: counts[name] for name in ("read", "published", "quarantined", "vanished")}
    assert found == {"read": 4, "published": 3, "quarantined": 1, "vanished": 0}
    runs = shop.table("product_attributes").set_index("product_id")["run_id"]
    assert sorted(runs.index) == ["p0", "p1", "p2", "p3"]
    assert runs.index[runs == "before"].tolist() == ["p1"]
    aside = shop.table("quarantine").iloc[0]
    assert aside[["product_id", "reason", "title"]].tolist() == ["p1", "surplus_fields", "red"]


def test_a_table_of_rows_with_surplus_fields_has_no_ids_to_the_gate(shop: Shop) -> None:
    shop.write_csv(*(f"p{n},red, large,shirt,1.jpg" for n in range(40)))
    found: list[InputFigures] = []

    def refuses(rows: InputRows) -> Verdict:
        found.append(count_input(rows.products, ImageSample(0, 0)))
        return Verdict(failures=("no ids",))

    with pytest.raises(ValidationFailed):
        shop.refresh(validate_input=refuses)

    assert (found[0].rows, found[0].without_id, found[0].repeated_id) == (40, 40, 0)


def test_ids_in_which_bytes_were_replaced_are_none_and_the_user_is_told(shop: Shop) -> None:
    rows = "p0,black shirt,,", "\u00c41,white shirt,,"
    shop.write_csv(*rows)
    shop.refresh()
    # As a spreadsheet writes what it calls CSV, and not CSV UTF-8.
    damaged = "\u00d61,blue shirt,,", "p3,wei\u00dfes Hemd,,"
    shop.write_csv(*rows, *damaged, encoding="cp1252")

    again = shop.refresh(config={"missing_products": "delete"})

    assert [again.counts[name] for name in ("published", "unchanged", "quarantined")] == [1, 1, 2]
    # One of the rows whose ids are lost may be of the product that seems to have vanished.
    assert set(shop.table("product_attributes")["product_id"]) == {"p0", "\u00c41", "p3"}
    assert shop.table("quarantine")["reason"].tolist() == ["null_id"] * 2
    kept, note = again.validation["notes"]
    assert kept.startswith("1 vanished products are kept: of 2 rows the id cannot be told")
    assert note.startswith("3 rows of the product table hold U+FFFD") and "CSV UTF-8" in note
