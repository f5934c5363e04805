"""Products to drill a quality gate with: a sample of a catalog."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from enrich.errors import ConfigError
from enrich.files.products import read_unique_products
from enrich.files.tables import read_table, select_text
from enrich.records import Product
from enrich.text import build_text

SEED = 2026


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
