"""The demo catalog is what its label table says, down to the bytes, and broken only where named."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageOps

from enrich.demo.catalog import FLAWS_AT, is_demo_catalog, make_product, write_demo_catalog
from enrich.demo.drawings import DRAWINGS, draw_product, reach_of
from enrich.demo.fabrics import PATTERNS, SHADES, weave_cloth
from schemas.labels import ATTRIBUTE_LABELS, LABEL_WORDS

JOB = Path(__file__).parents[2] / "jobs" / "make_demo_catalog.py"
COLORED = sorted(set(ATTRIBUTE_LABELS["color"]) - {"multi"})
READABLE_FLAWS = {"text empty", "product id null", "description very long"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "catalog"
    write_demo_catalog(folder)
    return folder


@pytest.fixture(scope="module")
def products(demo: Path) -> pd.DataFrame:
    return pd.read_parquet(demo / "products.parquet")


@pytest.fixture(scope="module")
def labels(demo: Path) -> pd.DataFrame:
    return pd.read_parquet(demo / "labels.parquet")


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _rows_with(products: pd.DataFrame, flaw: str) -> pd.DataFrame:
    rows = products.iloc[[index for index, name in FLAWS_AT.items() if name == flaw]]
    assert len(rows) > 0
    return rows


def _decodes(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            image.load()
    except (OSError, Image.DecompressionBombError):
        return False
    return True


def test_same_seed_draws_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_demo_catalog(tmp_path / name, products=40, seed=3)
    write_demo_catalog(tmp_path / "other", products=40, seed=4)
    assert _files(tmp_path / "one") == _files(tmp_path / "two")
    assert _files(tmp_path / "one") != _files(tmp_path / "other")


def test_a_product_does_not_depend_on_how_many_are_drawn(demo: Path, tmp_path: Path) -> None:
    write_demo_catalog(tmp_path / "few", products=20)
    few = _files(tmp_path / "few" / "images")
    assert few and few.items() <= _files(demo / "images").items()


def test_every_image_that_is_not_a_named_flaw_decodes(demo: Path, products: pd.DataFrame) -> None:
    may_be_broken = {
        index
        for index, flaw in FLAWS_AT.items()
        if flaw not in READABLE_FLAWS and not flaw.startswith("title in")
    }
    sound = products.drop(index=list(may_be_broken))
    assert [path for path in sound.image_path if not _decodes(demo / path)] == []


def test_labels_come_from_the_label_sets(labels: pd.DataFrame) -> None:
    for attribute, allowed in ATTRIBUTE_LABELS.items():
        assert set(labels[attribute].dropna()) <= set(allowed)
    assert labels.color.notna().all() and labels["style"].notna().all()
    assert 0.1 < labels.pattern.isna().mean() < 0.5


def test_every_label_can_be_drawn(labels: pd.DataFrame) -> None:
    goods = [make_goods_labels(index) for index in range(1500)]
    for position, attribute in enumerate(ATTRIBUTE_LABELS):
        drawn = {labels_of_one[position] for labels_of_one in goods} - {None}
        assert drawn == set(ATTRIBUTE_LABELS[attribute])


def make_goods_labels(index: int) -> tuple[str, str | None, str]:
    from enrich.demo.catalog import _choose_goods

    goods = _choose_goods(np.random.default_rng([0, index, 0]))
    return goods.color, goods.pattern, goods.article.style
