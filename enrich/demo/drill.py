"""Products to drill a quality gate with, and a checkpoint's answers to them, kept in a folder.

Knows nothing of what a gate looks at.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.progress import track

from enrich.classifiers.manifest import fetch_checkpoint, read_manifest
from enrich.config import JobConfig
from enrich.demo.catalog import is_demo_catalog, write_demo_catalog
from enrich.errors import ConfigError
from enrich.faults import Fault, build_faulty_engine
from enrich.product_file import read_unique_products
from enrich.records import Product
from enrich.rows import arrow_schema, to_row
from enrich.spec import build_spec
from enrich.text import build_text
from enrich.whole import whole_file

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

    Products without a text are left out: without their picture nothing could be said of them.

    Raises:
        ConfigError: there are not so many.
    """
    products = [
        product
        for product in read_unique_products(catalog / "products.parquet")
        if build_text(product.title, product.description)
    ]
    if len(products) < count:
        raise ConfigError(f"{catalog} has {len(products):,} products with a text; wanted {count:,}")
    order = np.random.default_rng(SEED).permutation(len(products))[:count]
    return [products[place] for place in order]


def answer_products(
    cache: Path,
    checkpoint: Path,
    image_root: Path,
    products: Sequence[Product],
    fault: Fault | None = None,
) -> tuple[str, pa.Table]:
    """Returns the model_version and its answers, one row a product, in order.

    What was answered before is read from the folder `cache`.
    """
    manifest = read_manifest(fetch_checkpoint(str(checkpoint)))
    spec = build_spec(JobConfig(checkpoint=str(checkpoint)), manifest, str(image_root.resolve()))
    file = cache / f"{spec.model_version}-{fault or 'sound'}-{digest_products(products)}.parquet"
    if not file.exists():
        engine = build_faulty_engine(spec, manifest, fault, torch.device("cpu"))
        rows = [
            {"product_id": told.product_id, **to_row(told, spec.attributes)}
            for told in track(
                engine.enrich(products),
                f"answering, {fault or 'sound'}",
                len(products),
                console=Console(stderr=True),
            )
        ]
        table = pa.Table.from_pylist(rows, schema=arrow_schema(spec.attributes))
        with whole_file(file) as partial:
            pq.write_table(table.drop_columns(["predictions", "model_version", "error"]), partial)
    return spec.model_version, pq.read_table(file)


def digest_products(products: Sequence[Product]) -> str:
    """Returns what tells whether two lists hold the same products, pictures aside."""
    return hashlib.sha256(repr(list(products)).encode()).hexdigest()[:12]


def _draw(folder: Path, products: int, seed: int) -> None:
    file = folder / "products.parquet"
    if is_demo_catalog(folder) and pq.read_metadata(file).num_rows == products:
        return
    write_demo_catalog(folder, products=products, seed=seed, flaws=False)
