"""This project's own layout, with columns as other programs write them."""

from pathlib import Path

import pandas as pd
import pytest

from enrich.errors import ConfigError
from enrich.training.readers.catalog_folder import read_catalog_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    products = {
        "product_id": ["a", "b", None, "c"],
        "title": ["A shirt", "A shoe", "No one's", "A hat"],
        "description": None,
        "image_path": ["a.jpg", "b.jpg", "n.jpg", "c.jpg"],
        "season": [1, 2, 3, 4],
        "thumbnail": [b"\xff\xd8", b"\x00", b"", None],
        "embedding": [[0.5, 1.0]] * 4,
    }
    labels = {
        "product_id": ["a", "b", None, "c"],
        "group_id": None,
        "size": pd.array([40, 41, 42, None], dtype="Int64"),
        "is_new": [True, False, True, None],
    }
    pd.DataFrame(products).to_parquet(tmp_path / "products.parquet")
    pd.DataFrame(labels).to_parquet(tmp_path / "labels.parquet")
    return tmp_path


@pytest.mark.parametrize("name", ["products.parquet", "labels.parquet"])
def test_a_table_may_be_a_folder_of_parts_as_spark_writes_it(folder: Path, name: str) -> None:
    table = pd.read_parquet(folder / name)
    (folder / name).unlink()
    (folder / name).mkdir()
    (folder / name / "_SUCCESS").touch()
    for part, rows in enumerate((table[:2], table[2:])):
        rows.to_parquet(folder / name / f"part-{part}.parquet")
    assert read_catalog_folder(folder).titles == ["A shirt", "A shoe", "A hat"]


def test_numbers_beside_a_missing_one_stay_whole(folder: Path) -> None:
    assert read_catalog_folder(folder).labels["size"] == ["40", "41", None]


def test_yes_and_no_are_written_as_the_other_readers_write_them(folder: Path) -> None:
    assert read_catalog_folder(folder).labels["is_new"] == ["true", "false", None]


def test_columns_of_bytes_and_lists_are_no_labels(folder: Path) -> None:
    assert set(read_catalog_folder(folder).labels) == {"season", "size", "is_new"}


def test_labels_may_have_a_row_each(folder: Path) -> None:
    rows = [("a", "size", "40"), ("c", "fit", "slim"), ("c", "size", "41")]
    labels = pd.DataFrame(rows, columns=["product_id", "attribute", "label"])
    labels.to_parquet(folder / "labels.parquet")

    read = read_catalog_folder(folder).labels
    assert (read["size"], read["fit"]) == (["40", "41"], [None, "slim"])

    pd.concat([labels, labels[:1]]).to_parquet(folder / "labels.parquet")
    with pytest.raises(ConfigError, match="product 'a' twice"):
        read_catalog_folder(folder)


def test_a_product_whose_group_is_missing_or_blank_is_a_group_of_its_own(folder: Path) -> None:
    labels = {"product_id": ["a", "b", "c"], "group_id": [None, "", " "], "size": "40"}
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    assert read_catalog_folder(folder).groups == ["a", "b", "c"]


def test_without_a_column_of_groups_products_that_look_alike_are_one(folder: Path) -> None:
    products = pd.read_parquet(folder / "products.parquet")
    products["image_path"] = ["a.jpg", "a.jpg", None, "c.jpg"]
    products.to_parquet(folder / "products.parquet")
    labels = pd.read_parquet(folder / "labels.parquet").drop(columns="group_id")
    labels.to_parquet(folder / "labels.parquet")
    rows = read_catalog_folder(folder)
    assert rows.groups == ["a", "a", "c"]
    assert set(rows.labels) == {"season", "size", "is_new"}


def test_blanks_around_a_group_are_none_of_it(folder: Path) -> None:
    labels = {"product_id": ["a", "b", "c"], "group_id": ["7", " 7 ", "8\t"], "size": "40"}
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    assert read_catalog_folder(folder).groups == ["7", "7", "8"]


def test_groups_that_are_written_as_bytes_are_read_all_the_same(folder: Path) -> None:
    labels = {"product_id": ["a", "b", "c"], "group_id": [b"7", b"7", b"8"], "size": "40"}
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    assert read_catalog_folder(folder).groups == ["7", "7", "8"]


def test_a_labelled_product_that_is_there_twice_is_refused(folder: Path) -> None:
    products = pd.read_parquet(folder / "products.parquet")
    one = products.assign(title="Another one")
    pd.concat([products, one[one["product_id"] == "b"]]).to_parquet(folder / "products.parquet")
    with pytest.raises(
        ConfigError, match=r"products\.parquet has more than one row of product 'b'"
    ):
        read_catalog_folder(folder)
    labels = {"product_id": ["a"], "group_id": None, "size": "40"}
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    assert read_catalog_folder(folder).titles == ["A shirt"], "nobody labelled that one"


def test_rows_without_an_id_are_nobodys(folder: Path) -> None:
    assert read_catalog_folder(folder).titles == ["A shirt", "A shoe", "A hat"]


def test_labels_of_products_that_are_not_there_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {"product_id": ["a", "x-1", "x-2"], "group_id": None, "size": "40"}
    pd.DataFrame(labels).to_parquet(folder / "labels.parquet")
    assert read_catalog_folder(folder).titles == ["A shirt"]
    told = " ".join(capsys.readouterr().err.split())
    assert told.startswith("2 of 3 labelled products")
    assert told.endswith("are not in its products.parquet, such as 'x-1', 'x-2'")
