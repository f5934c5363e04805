"""A demo catalog is broken where a flaw is planted, as the flaw is named, and nowhere else."""

import inspect
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from enrich.demo.catalog import write_demo_catalog
from enrich.demo.flaws import FLAWS, FLAWS_AT

READABLE_FLAWS = {"text empty", "product id null", "description very long"}


def _rows_with(products: pd.DataFrame, flaw: str) -> pd.DataFrame:
    planted = [index for index, name in FLAWS_AT.items() if name == flaw]
    rows = products[products.index.isin(planted)]
    assert len(rows) > 0
    return rows


def test_flaws_are_fewer_than_one_row_in_ten() -> None:
    assert inspect.signature(write_demo_catalog).parameters["products"].default == 300
    assert max(FLAWS_AT) < 300 and len(FLAWS_AT) < 30
    assert set(FLAWS_AT.values()) == set(FLAWS)


def test_every_image_that_is_not_a_named_flaw_decodes(
    demo: Path, products: pd.DataFrame, decodes: Callable[[Path], bool]
) -> None:
    may_be_broken = {
        index
        for index, flaw in FLAWS_AT.items()
        if flaw not in READABLE_FLAWS and not flaw.startswith("title in")
    }
    sound = products[~products.index.isin(may_be_broken)]
    assert [path for path in sound.image_path if not decodes(demo / path)] == []


def test_flawed_images_are_broken_as_named(
    demo: Path, products: pd.DataFrame, decodes: Callable[[Path], bool]
) -> None:
    for path in _rows_with(products, "image file missing").image_path:
        assert not (demo / path).exists()
    assert _rows_with(products, "image path null").image_path.isna().all()
    for flaw in ("jpeg truncated", "text named jpg", "image file empty"):
        for path in _rows_with(products, flaw).image_path:
            assert path.endswith(".jpg") and (demo / path).is_file()
            assert not decodes(demo / path)
    truncated = demo / _rows_with(products, "jpeg truncated").image_path.iloc[0]
    assert truncated.read_bytes().startswith(b"\xff\xd8")
    assert set(_rows_with(products, "image path climbs out").image_path) == {"../../etc/passwd"}


def test_flawed_header_claims_an_absurd_size(demo: Path, products: pd.DataFrame) -> None:
    path = demo / _rows_with(products, "image header absurd").image_path.iloc[0]
    header = path.read_bytes()[:24]
    assert header[12:24] == b"IHDR" + (60_000).to_bytes(4, "big") * 2
    assert path.stat().st_size < 1000


def test_flawed_texts_are_as_named(
    demo: Path, products: pd.DataFrame, decodes: Callable[[Path], bool]
) -> None:
    empty = _rows_with(products, "text empty")
    assert not empty.title.any() and empty.description.isna().all()
    assert all(decodes(demo / path) for path in empty.image_path)
    unreadable = _rows_with(products, "text empty and image missing")
    assert not unreadable.title.str.strip().any() and not unreadable.description.any()
    assert not any((demo / path).exists() for path in unreadable.image_path)
    long = _rows_with(products, "description very long")
    assert set(long.description.str.len()) == {20_000}
    scripts = {"Hindi": "\u0915", "Japanese": "\u30a1", "Arabic": "\u062c", "emoji": "\U0001f525"}
    for language, letter in scripts.items():
        assert letter in _rows_with(products, f"title in {language}").title.iloc[0]


def test_flawed_ids_are_null_or_repeated_and_labels_know_each_id_once(
    products: pd.DataFrame, labels: pd.DataFrame
) -> None:
    assert products.product_id.isna().sum() == len(_rows_with(products, "product id null"))
    repeated = products[products.product_id.notna() & products.duplicated("product_id")]
    assert list(repeated.index) == list(_rows_with(products, "product id duplicated").index)
    for index in repeated.index:
        assert products.image_path[index] == products.image_path[index - 1]
        assert products.title[index] != products.title[index - 1]
    assert labels.product_id.is_unique
    assert set(labels.product_id) == set(products.product_id.dropna())


def test_without_flaws_nothing_is_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decodes: Callable[[Path], bool]
) -> None:
    # A place for each flaw among the first products, so that a few show that none was planted.
    monkeypatch.setattr("enrich.demo.catalog.FLAWS_AT", dict(enumerate(FLAWS)))
    write_demo_catalog(tmp_path / "sound", products=len(FLAWS), flaws=False)
    products = pd.read_parquet(tmp_path / "sound" / "products.parquet")
    assert products.notna().all(axis=None) and products.product_id.is_unique
    assert products.title.str.len().gt(5).all()
    assert products.description.str.len().lt(1000).all()
    assert all(decodes(tmp_path / "sound" / path) for path in products.image_path)
