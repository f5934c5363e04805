"""Products to drill a quality gate with: drawn ones, or a sample of a real catalog."""

import dataclasses
import hashlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from enrich.demo.catalog import is_demo_catalog, write_demo_catalog
from enrich.errors import ConfigError
from enrich.files.products import read_unique_products
from enrich.files.tables import read_table, select_text
from enrich.records import Product
from enrich.text import build_text

SEED = 2026


def draw_products(folder: Path, counts: Sequence[int]) -> list[Product]:
    """Returns so many drawn products of each part, one part after the other.

    Each part has a seed of its own, and its pictures a subfolder; what is drawn already is kept.
    """
    parts = [folder / f"part{number}" for number in range(len(counts))]
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(_draw, parts, counts, range(SEED, SEED + len(counts))))
    return [
        dataclasses.replace(
            product,
            product_id=f"{part.name}-{product.product_id}",
            image_path=f"{part.name}/{product.image_path}",
        )
        for part in parts
        for product in read_unique_products(part / "products.parquet")
    ]


def sample_products(catalog: Path, count: int) -> list[Product]:
    """Returns so many products of a catalog's folder, in random order, always the same.

    Products without a text are left out: where a fault loses the pictures, nothing could be said of
    them.

    Raises:
        ConfigError: there are no products, or not so many.
    """
    file = catalog / "products.parquet"
    if not file.exists():
        raise ConfigError(f"CATALOG ABSENT: no {catalog}/products.parquet; NOTHING was drilled")
    products = [
        product
        for product in read_unique_products(file)
        if build_text(product.title, product.description)
    ]
    if len(products) < count:
        raise ConfigError(f"{catalog} has {len(products):,} products with a text; wanted {count:,}")
    order = np.random.default_rng(SEED).permutation(len(products))[:count]
    return [products[place] for place in order]


def read_column(catalog: Path, products: Sequence[Product], column: str) -> list[str | None]:
    """Returns what a column of the catalog's table says of each product, as text.

    Raises:
        SchemaMismatch: there is no such column, or it cannot be read as text.
    """
    file = catalog / "products.parquet"
    table = select_text(read_table(file), ["product_id", column], file)
    by_id = dict(zip(table["product_id"].to_pylist(), table[column].to_pylist(), strict=True))
    return [by_id[product.product_id] for product in products]


def digest_products(products: Sequence[Product]) -> str:
    """Returns a digest that two lists of the same products share; of pictures only their paths."""
    return hashlib.sha256(repr(list(products)).encode()).hexdigest()[:12]


def _draw(folder: Path, products: int, seed: int) -> None:
    file = folder / "products.parquet"
    if is_demo_catalog(folder) and pq.read_metadata(file).num_rows == products:
        return
    write_demo_catalog(folder, products=products, seed=seed, flaws=False)
