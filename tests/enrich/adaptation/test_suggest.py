"""What is worth labelling is unsure, unlike the rest, and not labelled yet."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from enrich.adaptation.suggest import choose, write_suggestions
from enrich.engine.engine import Engine
from enrich.files.labels import read_labels
from enrich.files.products import read_catalog
from enrich.records import Product


def test_products_are_named_once_and_no_more_than_there_are() -> None:
    moves = np.random.default_rng(0).normal(size=(30, 4))
    assert sorted(choose(moves, 50)) == list(range(30))
    assert choose(moves, 10) == choose(moves, 10)
    assert not set(choose(moves, 10, known=range(20))) & set(range(20))


def test_unsure_products_are_named_before_sure_ones() -> None:
    moves = np.zeros((400, 4))
    unsure = np.random.default_rng(0).choice(400, 40, replace=False)
    moves[unsure] = np.random.default_rng(1).normal(size=(40, 4))
    # Three of four are drawn blindly, and those find a tenth of them.
    found = len(set(choose(moves, 40)) & set(unsure))
    assert 10 <= found <= 20


def test_equal_products_share_their_worth_and_are_not_hard_beside_a_labelled_one() -> None:
    """Of a thousand, a few unlike the others and equally unsure are not drowned."""
    moves = np.tile([1.0, 0.0], (1_000, 1))
    moves[990:] = [0.0, 1.0]
    (hard,) = choose(moves, 1, known=[0])
    assert hard >= 990
    moves[990:997] = [1.0, 0.0]
    assert {tuple(moves[row]) for row in choose(moves, 5)} == {(1.0, 0.0), (0.0, 1.0)}


def test_the_file_has_a_guess_beside_each_product_that_is_not_labelled(
    engine: Engine, shop: Path, tmp_path: Path
) -> None:
    products = [*read_catalog(shop / "products.parquet").products.values()]
    file = tmp_path / "label_me.csv"
    assert write_suggestions(engine, products, 9, {"red twin"}, file) == 4
    table = pd.read_csv(file)
    assert set(table["product_id"]) == {"whole", "blue twin", "no words", "no picture"}
    guessed = [f"guessed_{name}" for name in ("color", "pattern", "style")]
    assert list(table.columns[:6]) == ["product_id", "title", "image_path", *guessed]
    assert table[["color", "pattern", "style"]].isna().all().all()

    write_suggestions(engine, products, 9, set(), file)
    table = pd.read_csv(file).set_index("product_id")
    said = {
        (answer.product_id, f"guessed_{one.attribute}"): one.label
        for answer in engine.enrich(products)
        for one in answer.predictions
    }
    assert len(set(said.values())) > len(engine.spec.attributes), "guesses differ"
    assert {cell: table.loc[cell] for cell in said} == said


def test_sizes_of_one_article_are_named_once_and_not_where_one_of_them_is_labelled(
    engine: Engine, tmp_path: Path
) -> None:
    sizes = [
        Product(f"{color} {size}", f"{color} shirt") for color in ("red", "blue") for size in "ABC"
    ]
    file = tmp_path / "a.csv"
    assert write_suggestions(engine, sizes, 9, set(), file) == 2
    assert set(pd.read_csv(file)["product_id"]) == {"red A", "blue A"}
    assert write_suggestions(engine, sizes, 9, {"red C"}, file) == 1
    assert pd.read_csv(file)["product_id"].tolist() == ["blue A"]


def test_nothing_of_a_product_is_a_formula(engine: Engine, tmp_path: Path) -> None:
    product = Product("@a", "=cmd()", None, "+1.jpg")
    labelled = Product("b", None, None, "red.jpg")
    write_suggestions(engine, [product, labelled], 1, {"b"}, tmp_path / "a.csv")
    row = pd.read_csv(tmp_path / "a.csv", dtype=str).iloc[0]
    assert (row["product_id"], row["title"], row["image_path"]) == ("'@a", "'=cmd()", "'+1.jpg")


def test_texts_with_old_line_ends_stay_in_their_rows(engine: Engine, tmp_path: Path) -> None:
    products = [Product("1", "Red\rshirt", "a\r\nb"), Product("2", "Blue shirt")]
    write_suggestions(engine, products, 2, set(), tmp_path / "a.csv")
    filled = re.sub('""$', '"red"', (tmp_path / "a.csv").read_bytes().decode(), flags=re.M)
    (tmp_path / "b.csv").write_bytes(filled.encode())
    read = read_labels(tmp_path / "b.csv", dict.fromkeys(engine.spec.attributes, ("red", "blue")))
    assert sorted(read["product_id"]) == ["1", "2"]


def test_ids_that_were_kept_from_being_formulas_are_found_again(
    engine: Engine, tmp_path: Path
) -> None:
    ids = ["-1", "=2", "'=3", "'4", "5"]
    products = [Product(one, f"red shirt {one}") for one in ids]
    write_suggestions(engine, products, 5, set(), tmp_path / "a.csv")
    table = pd.read_csv(tmp_path / "a.csv", dtype=str)
    table.assign(color="red").to_csv(tmp_path / "a.csv", index=False)
    known = {**engine.spec.attributes, "color": ("red", "blue")}
    read = read_labels(tmp_path / "a.csv", known)
    assert sorted(read["product_id"]) == sorted(ids)
