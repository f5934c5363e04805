"""Writes a demo catalog: a folder of invented products, their pictures and their true labels."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import track

from enrich.demo.flaws import FLAWS, FLAWS_AT
from enrich.demo.product import DrawnProduct, make_product
from enrich.errors import ConfigError, name_some

PRODUCT_COLUMNS = ("product_id", "title", "description", "image_path")
LABEL_COLUMNS = ("product_id", "group_id", "color", "pattern", "style")
# Parquet metadata by which a folder is known to be a demo catalog, and so safe to replace.
MADE_BY = {b"made_by": b"enrich.demo.catalog"}


def write_demo_catalog(
    folder: Path,
    *,
    products: int = 300,
    seed: int = 0,
    flaws: bool = True,
    show_progress: bool = False,
) -> None:
    """Writes `products.parquet`, `labels.parquet` and `images/` into `folder`.

    The same arguments give the same bytes. An older demo catalog in `folder` is replaced.

    Raises:
        ConfigError: `folder` holds something else, alone or beside such a catalog; all is left
            alone.
    """
    folder = folder.resolve()
    if folder.exists():
        _require_nothing_else(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Readers must never meet half a catalog: it is built beside the folder and renamed at the end.
    building = folder.with_name(f".{folder.name}.building-{os.getpid()}")
    try:
        _write_into(building, products, seed, flaws, show_progress)
        if folder.exists():
            shutil.rmtree(folder)
        building.rename(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def is_demo_catalog(folder: Path) -> bool:
    """Returns whether a folder holds a catalog that this module wrote."""
    products = folder / "products.parquet"
    if not products.is_file():
        return False
    try:
        metadata = pq.read_schema(products).metadata or {}
    except (pa.ArrowInvalid, OSError):
        return False
    return metadata.items() >= MADE_BY.items()


def _require_nothing_else(folder: Path) -> None:
    """Refuses to replace what nobody can draw again.

    Raises:
        ConfigError: `folder` is neither empty nor a demo catalog, or holds other files as well.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if not is_demo_catalog(folder):
        raise ConfigError(
            f"{folder} exists and is not a demo catalog; name another folder or remove it"
        )
    products = folder / "products.parquet"
    pictures = pq.read_table(products, columns=["image_path"])["image_path"].to_pylist()
    drawn = {products, folder / "labels.parquet", *(folder / path for path in pictures if path)}
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path not in drawn)
    if found:
        raise ConfigError(
            f"{folder} is a demo catalog, and holds what was not drawn: "
            f"{name_some(str(path.relative_to(folder)) for path in found)}; name another folder or "
            "move that elsewhere"
        )


def _write_into(folder: Path, count: int, seed: int, flaws: bool, show_progress: bool) -> None:
    (folder / "images").mkdir(parents=True)
    rows: list[DrawnProduct] = []
    for index in track(range(count), "drawing products", disable=not show_progress):
        product = make_product(index, seed=seed)
        if flaws and index in FLAWS_AT:
            product = FLAWS[FLAWS_AT[index]](product, rows)
        if product.image_bytes is not None and product.image_path is not None:
            (folder / product.image_path).write_bytes(product.image_bytes)
        rows.append(replace(product, image_bytes=None))
    _write_table(folder / "products.parquet", PRODUCT_COLUMNS, [_product_row(row) for row in rows])
    # A duplicated id shows the same goods, so one label row says it all, and joins stay one to one.
    labels = {row.product_id: _label_row(row) for row in rows if row.product_id is not None}
    _write_table(folder / "labels.parquet", LABEL_COLUMNS, list(labels.values()))


def _write_table(path: Path, columns: tuple[str, ...], rows: list[tuple[str | None, ...]]) -> None:
    schema = pa.schema([(column, pa.string()) for column in columns], metadata=MADE_BY)
    values = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in columns]
    pq.write_table(pa.table(values, schema=schema), path)


def _product_row(product: DrawnProduct) -> tuple[str | None, ...]:
    return product.product_id, product.title, product.description, product.image_path


def _label_row(product: DrawnProduct) -> tuple[str | None, ...]:
    goods = product.goods
    style = goods.article.style
    return product.product_id, product.group_id, goods.color, goods.pattern, style
