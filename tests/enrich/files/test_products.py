"""Products are read from a file, each of them once."""

from pathlib import Path

import pandas as pd
import pytest

from enrich.errors import ConfigError
from enrich.files.products import find_product, read_unique_products


def test_of_rows_with_one_id_the_first_is_the_product_and_a_row_without_an_id_is_none(
    tmp_path: Path,
) -> None:
    rows = [("b", "red"), (None, "lost"), ("a", "green"), ("b", "blue"), (None, "lost")]
    table = pd.DataFrame(rows, columns=["product_id", "title"])
    table.assign(description=None, image_path=None).to_parquet(tmp_path / "products.parquet")
    found = read_unique_products(tmp_path / "products.parquet")
    assert [(one.product_id, one.title) for one in found] == [("b", "red"), ("a", "green")]
    assert find_product(tmp_path / "products.parquet", "b") == found[0]


def test_of_a_folder_as_training_wants_it_the_table_in_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.jpg").write_bytes(b"no table")
    table = pd.DataFrame({"product_id": ["a"], "title": ["red"]})
    table.assign(description=None, image_path=None).to_parquet(tmp_path / "products.parquet")
    wanted = f"wanted here: the product table itself, {tmp_path / 'products.parquet'}"
    with pytest.raises(ConfigError) as error:
        find_product(tmp_path, "a")
    assert str(error.value).endswith(wanted)
    # What Spark writes is a table, whatever it is called.
    written = tmp_path / "spark"
    written.mkdir()
    (tmp_path / "products.parquet").rename(written / "part-0.parquet")
    assert read_unique_products(written)[0].title == "red"
