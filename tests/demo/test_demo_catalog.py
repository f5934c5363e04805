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

from enrich.demo.catalog import (
    FLAWS_AT,
    choose_goods,
    is_demo_catalog,
    make_product,
    photograph,
    write_demo_catalog,
)
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


def test_every_label_is_sold() -> None:
    goods = [choose_goods(np.random.default_rng([0, index])) for index in range(1500)]
    assert {one.color for one in goods} == set(ATTRIBUTE_LABELS["color"])
    assert {one.pattern for one in goods} == {None, *ATTRIBUTE_LABELS["pattern"]}
    assert {one.article.style for one in goods} == set(ATTRIBUTE_LABELS["style"])


def test_labels_are_spread_as_in_a_shop() -> None:
    goods = [choose_goods(np.random.default_rng([1, index])) for index in range(3000)]
    styles = Counter(one.article.style for one in goods)
    patterns = Counter(one.pattern for one in goods if one.pattern)
    assert 0.6 < styles["casual"] / len(goods) < 0.72
    assert 0.4 < patterns["solid"] / patterns.total() < 0.5
    assert [name for name, _ in patterns.most_common(4)] == [
        "solid",
        "printed",
        "striped",
        "checked",
    ]


@pytest.mark.parametrize("color", COLORED)
def test_a_plain_product_has_its_labelled_color(color: str) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        reach = reach_of("sweater", is_worn=False)
        cloth = weave_cloth(color, "solid", side=160, unit=80 / reach, is_top=False, rng=rng)
        pixels, alpha = draw_product("sweater", cloth, unit=80 / reach, is_worn=False, rng=rng)
        seen = np.median(np.asarray(pixels)[np.asarray(alpha) > 0], axis=0)
        distance = {
            label: min(np.abs(seen - shade).max() for _, shade in family)
            for label, family in SHADES.items()
        }
        # Neighbours such as brown and bronze are a matter of sheen, so the nearest need not win.
        assert distance[color] < 40 and distance[color] <= min(distance.values()) + 20, distance


@pytest.mark.parametrize("pattern", sorted({*PATTERNS} - {"washed"}))
def test_no_other_color_of_a_pattern_covers_more_than_the_labelled(pattern: str) -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        cloth = weave_cloth("red", pattern, side=200, unit=90, is_top=True, rng=rng)
        # A product reaches from -1 to 1: what the canvas holds beyond is cut away.
        pixels = np.asarray(cloth.texture, dtype=float)[10:-10, 10:-10]
        redness = pixels[..., 0] - pixels[..., 1:].max(axis=-1)
        assert (redness > 25).mean() > 0.5, seed


@pytest.mark.parametrize("pattern", sorted(PATTERNS))
def test_a_pattern_can_be_seen_on_every_color(pattern: str) -> None:
    for color in COLORED:
        rng = np.random.default_rng(5)
        cloth = weave_cloth(color, pattern, side=160, unit=70, is_top=False, rng=rng)
        contrast = np.asarray(cloth.texture.convert("L"), dtype=float).std()
        assert contrast > 5, (color, contrast)


@pytest.mark.parametrize("kind", sorted(DRAWINGS))
def test_every_drawing_stays_on_its_canvas(kind: str) -> None:
    rng = np.random.default_rng(0)
    reach = reach_of(kind, is_worn=False)
    cloth = weave_cloth("blue", None, side=160, unit=80 / reach, is_top=False, rng=rng)
    pixels, alpha = draw_product(kind, cloth, unit=80 / reach, is_worn=False, rng=rng)
    assert pixels.size == alpha.size
    assert 70 < max(pixels.size) < 160


def test_color_is_named_in_about_six_titles_of_ten() -> None:
    products = [make_product(index, seed=2) for index in range(0, 160, 2)]
    named = [_names_color(product.title or "", product.goods.color) for product in products]
    assert 0.5 < np.mean(named) < 0.75


def _names_color(text: str, color: str) -> bool:
    words = (color, *LABEL_WORDS["color"][color])
    return any(re.search(rf"\b{re.escape(word)}\b", text.lower()) for word in words)


def test_formats_and_sizes_are_those_of_a_real_shop(demo: Path, products: pd.DataFrame) -> None:
    formats, sizes = set(), set()
    for path in sorted((demo / "images").iterdir()):
        if _decodes(path):
            with Image.open(path) as image:
                turned = image.getexif().get(0x0112, 1) != 1
                formats.add((image.format, image.mode, turned))
                sizes.add(ImageOps.exif_transpose(image).height)
    assert formats == {
        ("JPEG", "RGB", False),
        ("JPEG", "RGB", True),
        ("JPEG", "L", False),
        ("JPEG", "CMYK", False),
        ("PNG", "RGB", False),
        ("PNG", "RGBA", False),
        ("PNG", "P", False),
        ("WEBP", "RGB", False),
    }
    assert min(sizes) <= 96 and max(sizes) >= 800


def test_flaws_are_fewer_than_one_row_in_ten(products: pd.DataFrame) -> None:
    assert len(products) == 300
    assert max(FLAWS_AT) < 300 and len(FLAWS_AT) < 30


def test_flawed_images_are_broken_as_named(demo: Path, products: pd.DataFrame) -> None:
    for path in _rows_with(products, "image file missing").image_path:
        assert not (demo / path).exists()
    assert _rows_with(products, "image path null").image_path.isna().all()
    for flaw in ("jpeg truncated", "text named jpg", "image file empty"):
        for path in _rows_with(products, flaw).image_path:
            assert path.endswith(".jpg") and (demo / path).is_file()
            assert not _decodes(demo / path)
    truncated = demo / _rows_with(products, "jpeg truncated").image_path.iloc[0]
    assert truncated.read_bytes().startswith(b"\xff\xd8")
    assert set(_rows_with(products, "image path climbs out").image_path) == {"../../etc/passwd"}


def test_flawed_header_claims_an_absurd_size(demo: Path, products: pd.DataFrame) -> None:
    path = demo / _rows_with(products, "image header absurd").image_path.iloc[0]
    header = path.read_bytes()[:24]
    assert header[12:24] == b"IHDR" + (60_000).to_bytes(4, "big") * 2
    assert path.stat().st_size < 1000


def test_flawed_texts_are_as_named(demo: Path, products: pd.DataFrame) -> None:
    empty = _rows_with(products, "text empty")
    assert not empty.title.any() and empty.description.isna().all()
    assert all(_decodes(demo / path) for path in empty.image_path)
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


def test_without_flaws_nothing_is_broken(tmp_path: Path) -> None:
    write_demo_catalog(tmp_path / "sound", products=60, flaws=False)
    products = pd.read_parquet(tmp_path / "sound" / "products.parquet")
    assert products.notna().all(axis=None) and products.product_id.is_unique
    assert products.title.str.len().gt(5).all()
    assert all(_decodes(tmp_path / "sound" / path) for path in products.image_path)


def test_second_photographs_share_a_group_and_a_label(labels: pd.DataFrame) -> None:
    groups = labels.groupby("group_id")
    assert groups.size().max() == 2
    assert (groups[["color", "style"]].nunique() == 1).all(axis=None)


def test_a_demo_catalog_is_replaced_and_anything_else_is_left_alone(tmp_path: Path) -> None:
    write_demo_catalog(tmp_path / "demo", products=2)
    write_demo_catalog(tmp_path / "demo", products=1)
    assert len(pd.read_parquet(tmp_path / "demo" / "products.parquet")) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "products.parquet").write_bytes(b"precious")
    with pytest.raises(FileExistsError, match="not a demo catalog"):
        write_demo_catalog(tmp_path / "mine", products=1)
    assert (tmp_path / "mine" / "products.parquet").read_bytes() == b"precious"


def test_no_shadow_falls_above_a_model_cut_by_the_frame(tmp_path: Path) -> None:
    black = Image.new("RGB", (60, 90), (0, 0, 0))
    opaque = Image.new("L", black.size, 255)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        picture, _ = photograph(black, opaque, (200, 200), on_edge=True, rng=rng)
        top = np.asarray(picture, dtype=float)[0].mean(axis=-1)
        assert np.ptp(top) < 25


def test_a_run_that_fails_leaves_no_half_catalog(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(index: int, *, seed: int) -> None:
        raise RuntimeError("killed")

    write_demo_catalog(tmp_path / "demo", products=2)
    before = _files(tmp_path / "demo")
    monkeypatch.setattr("enrich.demo.catalog.make_product", fail)
    with pytest.raises(RuntimeError, match="killed"):
        write_demo_catalog(tmp_path / "demo", products=2)
    assert _files(tmp_path / "demo") == before
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_command_line_refuses_a_folder_of_other_things_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    command = [sys.executable, str(JOB), "--products", "2", "--output"]
    refused = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert refused.returncode == 2 and "not a demo catalog" in refused.stderr
    made = subprocess.run([*command, str(tmp_path / "new")], capture_output=True, text=True)
    assert made.returncode == 0 and "2 products with planted flaws" in made.stdout
    assert is_demo_catalog(tmp_path / "new")
