"""Labels of people are read as they stand or refused; products to label are drawn at random."""

import re
from pathlib import Path

import pandas as pd
import pytest

from enrich.adaptation.shop_labels import read_shop_labels, write_suggestions
from enrich.errors import ConfigError, SchemaMismatch
from enrich.files.labels import read_labels
from enrich.files.products import Catalog, read_catalog
from enrich.records import Product
from enrich.training.labelled import UNLABELLED

ATTRIBUTES = {"color": ("red", "blue"), "pattern": ("solid", "striped")}


def _read(tmp_path, shop, content):
    file = tmp_path / "corrections.csv"
    file.write_text(content)
    return read_shop_labels(file, read_catalog(shop / "products.parquet"), ATTRIBUTES)


def test_an_empty_field_says_nothing_and_case_does_not_matter(tmp_path, shop):
    read = _read(tmp_path, shop, "product_id,pattern,color\nwhole,,Red \nno words,striped,\n")
    assert [product.product_id for product in read.products] == ["whole", "no words"]
    assert read.targets["color"].tolist() == [0, UNLABELLED]
    assert read.targets["pattern"].tolist() == [UNLABELLED, 1]
    assert read.products[1].title is None and read.products[1].image_path == "blue.jpg"


def test_rows_without_a_label_and_reserved_labels_teach_nothing(tmp_path, shop):
    lines = ("product_id,attribute,label,by", "whole,color,red,me", "no words,color,,you")
    read = _read(tmp_path, shop, "\n".join([*lines, "no words,pattern,other,me", ""]))
    assert [product.product_id for product in read.products] == ["whole"]
    assert list(read.targets) == ["color"]


def test_copies_of_a_picture_are_of_one_group(tmp_path):
    for name in ("small.jpg", "large.jpg"):
        (tmp_path / name).write_bytes(b"the same picture")
    (tmp_path / "other.jpg").write_bytes(b"another picture")
    paths = {"1": "small.jpg", "2": "large.jpg", "3": "other.jpg"}
    products = {i: Product(i, f"shirt {i}", image_path=path) for i, path in paths.items()}
    file = tmp_path / "labels.csv"
    file.write_text("product_id,color\n1,red\n2,red\n3,blue\n")
    catalog = Catalog(tmp_path, products, {})
    read = read_shop_labels(file, catalog, ATTRIBUTES, image_root=str(tmp_path))
    assert read.groups[0] == read.groups[1] != read.groups[2]


def test_a_new_attribute_applies_to_the_categories_of_its_labels(tmp_path):
    kinds = ["shirts"] * 5 + ["tops"] * 5 + ["shoes"] * 5 + [None]
    fits = ["slim"] * 5 + ["loose"] * 5 + ["not_applicable"] * 5 + ["slim"]
    ids = [str(number) for number in range(16)]
    products = {product_id: Product(product_id, f"a {product_id}") for product_id in ids}
    categories = {i: kind for i, kind in zip(ids, kinds, strict=True) if kind is not None}
    file = tmp_path / "fits.csv"
    pd.DataFrame({"product_id": ids, "fit": fits}).to_csv(file, index=False)
    catalog = Catalog(tmp_path, products, categories)

    read = read_shop_labels(file, catalog, ATTRIBUTES, only="fit")
    assert read.labels["fit"] == ("slim", "loose", "not_applicable")
    assert read.applies_to == {"fit": ("shirts", "tops")}
    known = ATTRIBUTES | {"fit": ("slim", "loose")}
    assert read_shop_labels(file, catalog, known, only="fit").applies_to == {}


def test_labels_of_other_attributes_than_the_asked_one_are_told(tmp_path, shop, caplog):
    file = tmp_path / "both.csv"
    file.write_text("product_id,color,pattern\nwhole,red,solid\nno words,,striped\n")
    catalog = read_catalog(shop / "products.parquet")
    assert [*read_shop_labels(file, catalog, ATTRIBUTES, only="color").targets] == ["color"]
    assert "not used: 2 of pattern. adapt_checkpoint takes them" in caplog.text


def test_a_shop_s_own_names_mean_the_checkpoint_s_labels(tmp_path, shop):
    catalog, file = read_catalog(shop / "products.parquet"), tmp_path / "own.csv"
    known = {"color": ("red", "blue", "grey", "turquoise")}
    own = {"color": {"grey": "Gray", "turquoise": "blue", "red": None}}
    file.write_text("product_id,color\nwhole,gray\nno words,turquoise\nno picture,red\n")
    read = read_shop_labels(file, catalog, known, own=own)
    assert read.labels == known
    assert read.targets["color"].tolist() == [2, 3, 0]
    file.write_text("product_id,color\nwhole,gray\nno words,Blue\n")
    # Blue keeps its name, and turquoise becomes it.
    assert read_shop_labels(file, catalog, known, own=own).targets["color"].tolist() == [2, 1]
    unclear = {"color": {"blue": "Cold", "turquoise": "Cold"}}
    file.write_text("product_id,color\nwhole,cold\n")
    with pytest.raises(ConfigError, match=r"found 'Cold' .* give to blue and turquoise"):
        read_shop_labels(file, catalog, known, own=unclear)
    exchanged = {"color": {"red": "blue", "blue": "red"}}
    file.write_text("product_id,color\nwhole,red\n")
    with pytest.raises(ConfigError, match=r"found 'red' .* give to blue and red"):
        read_shop_labels(file, catalog, known, own=exchanged)
    assert read_shop_labels(file, catalog, known | {"color": ("red", "blue", "Gray")}).labels


CHAIN = [("a", "1"), ("b", "1"), ("b", "2"), ("c", "2"), ("c", None)]
STAND_IN = [(f"shirt {number}", "no-image.jpg") for number in range(9)]


@pytest.mark.parametrize(
    ("products", "groups"),
    [
        ([("a", "1"), ("b", "2"), ("b", "3"), (None, "4"), (None, None)], [0, 1, 1, 2, 3]),
        ([(None, None), (None, " ")], [0, 1]),
        # Of one picture, and of one text with one of those.
        ([*CHAIN, ("d", "3"), (None, "3"), ("e", None)], [0] * 5 + [1, 1, 2]),
        (CHAIN[::-1], [0] * 5),
        # A picture of many texts stands in for those that the shop lacks.
        (STAND_IN, list(range(9))),
        (STAND_IN[:3], [0, 0, 0]),
        ([("red.jpg", None), ("b", "red.jpg")], [0, 1]),
    ],
)
def test_products_that_share_a_text_or_a_picture_are_one_group(tmp_path, products, groups):
    table = pd.DataFrame(products, columns=["title", "image_path"]).assign(description=None)
    table = table.assign(product_id=table.index.astype(str))
    table.to_parquet(tmp_path / "products.parquet")
    content = "product_id,color\n" + "".join(f"{row},red\n" for row in table["product_id"])
    assert _read(tmp_path, tmp_path, content).groups.tolist() == groups


def test_products_that_are_not_in_the_catalog_are_counted(tmp_path, shop):
    lines = ("product_id,color,pattern", "whole,red,", "gone,blue,solid", "no words,blue,", "")
    read = _read(tmp_path, shop, "\n".join(lines))
    assert len(read.products) == 2 and read.unknown_ids == 1
    assert read.targets["color"].tolist() == [0, 1]
    assert "pattern" not in read.targets
    # They make a new label neither common nor more likely.
    lines = ["product_id,fit", *(f"{row},slim" for row in range(9)), "whole,wide", ""]
    (tmp_path / "fits.csv").write_text("\n".join(lines))
    catalog = read_catalog(shop / "products.parquet")
    with pytest.raises(ConfigError, match=r"found wide \(1\), expected"):
        read_shop_labels(tmp_path / "fits.csv", catalog, ATTRIBUTES, only="fit")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("product_id,colour\nwhole,red\n", SchemaMismatch, "a column for each of color, pattern"),
        ("sku,color\nwhole,red\n", SchemaMismatch, "found a column 'sku'"),
        ("product_id,color\nwhole,mauve\n", ConfigError, "(1), expected at least 20 of color"),
        ("product_id,color\nwhole,red\nwhole,blue\n", ConfigError, "product 'whole' twice"),
        ("product_id,color\ngone,red\n", ConfigError, "found 1 products such as"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path, shop, content, error, message):
    with pytest.raises(error) as raised:
        _read(tmp_path, shop, content)
    assert message in str(raised.value)


LABELS = {"color": ("red", "blue")}


def _draw(file, products, count, known=frozenset()):  # type: ignore[assignment]
    catalog = Catalog(Path("shop"), {one.product_id: one for one in products}, {})
    written = write_suggestions(catalog, LABELS, count, known, file)
    table = pd.read_csv(file, dtype=str)
    assert written == len(table) and table["color"].isna().all()
    return table["product_id"].tolist()


def test_articles_are_drawn_once_and_not_where_a_size_of_them_is_labelled(tmp_path):
    sizes = [
        Product(f"{color} {size}", f"{color} shirt") for color in ("red", "blue") for size in "ABC"
    ]
    assert sorted(_draw(tmp_path / "a.csv", sizes, 9)) == ["blue A", "red A"]
    assert _draw(tmp_path / "a.csv", sizes, 9, {"red C"}) == ["blue A"]


def test_products_are_drawn_alike_in_every_run_and_not_in_their_order(tmp_path):
    products = [Product(f"{number:02}", f"shirt {number}") for number in range(30)]
    drawn = _draw(tmp_path / "a.csv", products, 10)
    assert len(set(drawn)) == 10 and drawn == _draw(tmp_path / "b.csv", products, 10)
    assert drawn != sorted(drawn)


def test_cells_of_a_product_are_not_formulas_and_ids_are_found_again(tmp_path):
    ids = ["-1", "=2", "'=3", "'4", "5"]
    products = [Product(one, f"=cmd({one})\rb", "a\r\nb", "+1.jpg") for one in ids]
    _draw(tmp_path / "a.csv", products, 5)
    text = (tmp_path / "a.csv").read_bytes().decode()
    row = pd.read_csv(tmp_path / "a.csv", dtype=str).iloc[0]
    assert row["title"].startswith("'=") and row["image_path"] == "'+1.jpg"
    filled = re.sub('""$', '"red"', text, flags=re.M)
    (tmp_path / "b.csv").write_bytes(filled.encode())
    assert sorted(read_labels(tmp_path / "b.csv", LABELS)["product_id"]) == sorted(ids)
