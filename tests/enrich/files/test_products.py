"""Products are read from a file, each of them once."""

from pathlib import Path

import pandas as pd

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
