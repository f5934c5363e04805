"""Products drawn to be labelled: articles at random, in a file that is read back as labels."""

import re
from pathlib import Path

import pandas as pd

from enrich.adaptation.shop_labels import write_suggestions
from enrich.files.labels import read_labels
from enrich.files.products import Catalog
from enrich.records import Product

LABELS = {"color": ("red", "blue")}


def _draw(file: Path, products: list[Product], count: int, known: set[str] = frozenset()) -> list:  # type: ignore[assignment]
    catalog = Catalog(Path("shop"), {one.product_id: one for one in products}, {})
    written = write_suggestions(catalog, LABELS, count, known, file)
    table = pd.read_csv(file, dtype=str)
    assert written == len(table) and table["color"].isna().all()
    return table["product_id"].tolist()


def test_articles_are_drawn_once_and_not_where_a_size_of_them_is_labelled(tmp_path: Path) -> None:
    sizes = [
        Product(f"{color} {size}", f"{color} shirt") for color in ("red", "blue") for size in "ABC"
    ]
    assert sorted(_draw(tmp_path / "a.csv", sizes, 9)) == ["blue A", "red A"]
    assert _draw(tmp_path / "a.csv", sizes, 9, {"red C"}) == ["blue A"]


def test_products_are_drawn_alike_in_every_run_and_not_in_their_order(tmp_path: Path) -> None:
    products = [Product(f"{number:02}", f"shirt {number}") for number in range(30)]
    drawn = _draw(tmp_path / "a.csv", products, 10)
    assert len(set(drawn)) == 10 and drawn == _draw(tmp_path / "b.csv", products, 10)
    assert drawn != sorted(drawn)


def test_cells_of_a_product_are_not_formulas_and_ids_are_found_again(tmp_path: Path) -> None:
    ids = ["-1", "=2", "'=3", "'4", "5"]
    products = [Product(one, f"=cmd({one})\rb", "a\r\nb", "+1.jpg") for one in ids]
    _draw(tmp_path / "a.csv", products, 5)
    text = (tmp_path / "a.csv").read_bytes().decode()
    row = pd.read_csv(tmp_path / "a.csv", dtype=str).iloc[0]
    assert row["title"].startswith("'=") and row["image_path"] == "'+1.jpg"
    filled = re.sub('""$', '"red"', text, flags=re.M)
    (tmp_path / "b.csv").write_bytes(filled.encode())
    assert sorted(read_labels(tmp_path / "b.csv", LABELS)["product_id"]) == sorted(ids)
