"""Answers to draw runs from: of a sound engine, of broken ones, and of an earlier checkpoint.

A few ten thousand labels and confidences are small enough to be committed; pictures are not. The
faulty pixels went through the classifier, so that the answers are what a broken job would publish.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from enrich.classifiers.manifest import BUNDLED, Manifest, read_manifest
from enrich.config import JobConfig
from enrich.engine.engine import Engine
from enrich.engine.prefetch import Prepared
from enrich.engine.spec import EngineSpec, build_spec
from enrich.errors import ConfigError
from enrich.files.products import read_catalog
from enrich.files.tables import read_table, select_text
from enrich.records import EnrichedProduct, Product
from enrich.terminal import watch
from enrich.text import build_text
from expectations.counts import OTHER

KEPT = Path(__file__).with_name("gate_answers.parquet")

# Products of the largest run, and of the baselines that runs are compared with.
RUN, BASELINE = 5_000, 3_000
SEED = 2026
# Smaller categories are one.
CATEGORY_SHARE = 0.05


class Case(StrEnum):
    """Whose answers they are."""

    SOUND = "sound"
    IMAGES_MISSING = "images_missing"
    SWAPPED_CHANNELS = "swapped_channels"
    WRONG_NORMALISATION = "wrong_normalisation"
    OLD_CHECKPOINT = "old_checkpoint"


def read_answers() -> dict[Case, pd.DataFrame]:
    """Return the kept answers by case: the sound ones to RUN + BASELINE products, else to RUN.

    Columns: product_category, modalities, model_version and, per attribute `a`, `a` (None where
    the classifier abstains), `a_confidence` and `a_best`.
    """
    kept = pq.read_table(KEPT).to_pandas()
    answers = {}
    for case in Case:
        rows = kept[kept["case"] == case].drop(columns="case").reset_index(drop=True)
        for column in rows.columns:
            if column.endswith("_best"):
                attribute = column.removesuffix("_best")
                is_given = ~rows.pop(f"{attribute}_abstained")
                rows[attribute] = rows[column].where(is_given)
                rows[f"{attribute}_confidence"] = rows[f"{attribute}_confidence"].astype(float)
        answers[case] = rows.assign(model_version="the checkpoint")
    return answers


def write_answers(catalog: Path, category_column: str, old_checkpoint: Path) -> None:
    """Answer a sample of a catalog in every case, and keep the answers.

    Args:
        catalog: folder with products.parquet, whose image paths start there.
        category_column: column of that table with the category.
        old_checkpoint: folder of an earlier checkpoint of the same attributes.

    Raises:
        ConfigError: the catalog has too few products with a text.
    """
    products = _sample_products(catalog, RUN + BASELINE)
    categories = _read_categories(catalog, products, category_column)
    tables = []
    for case in Case:
        asked = products if case is Case.SOUND else products[:RUN]
        checkpoint = old_checkpoint if case is Case.OLD_CHECKPOINT else BUNDLED
        rows = pd.DataFrame(_answer(checkpoint, catalog, asked, case))
        tables.append(rows.assign(case=str(case), product_category=categories[: len(asked)]))
    columns: dict[str, pa.Array] = {}
    for name, values in pd.concat(tables, ignore_index=True).items():
        if str(name).endswith("_confidence"):
            columns[str(name)] = pa.array(values.to_numpy(np.float16))
        else:
            array = pa.array(values)
            columns[str(name)] = array if array.type == pa.bool_() else array.dictionary_encode()
    pq.write_table(pa.table(columns), KEPT, compression="zstd")


def build_engine(spec: EngineSpec, manifest: Manifest, case: Case, device: torch.device) -> Engine:
    """Return an engine with the fault of a case."""
    if case is Case.SWAPPED_CHANNELS:
        return _SwappedChannels(spec, manifest, device)
    if case is Case.IMAGES_MISSING:
        return _NoImages(spec, manifest, device)
    if case is Case.WRONG_NORMALISATION:
        # Pixels stay in [0, 1]: neither mean nor standard deviation is applied.
        image = manifest.config.image.model_copy(update={"mean": (0.0,) * 3, "std": (1.0,) * 3})
        config = manifest.config.model_copy(update={"image": image})
        return Engine(spec, dataclasses.replace(manifest, config=config), device)
    return Engine(spec, manifest, device)


class _SwappedChannels(Engine):
    """Hands blue over as red, as a reader does whose library decodes to BGR."""

    def prepare(self, product: Product) -> Prepared:
        prepared = super().prepare(product)
        if prepared.pixels is None:
            return prepared
        return dataclasses.replace(prepared, pixels=np.ascontiguousarray(prepared.pixels[::-1]))


class _NoImages(Engine):
    """Finds no picture, as after a mount was lost."""

    def prepare(self, product: Product) -> Prepared:
        return super().prepare(dataclasses.replace(product, image_path="lost/with the mount.jpg"))


def _answer(
    checkpoint: Path, catalog: Path, products: Sequence[Product], case: Case
) -> Iterator[dict[str, object]]:
    manifest = read_manifest(checkpoint)
    spec = build_spec(JobConfig(checkpoint=str(checkpoint)), manifest, str(catalog.resolve()))
    engine = build_engine(spec, manifest, case, torch.device("cpu"))
    for answer in watch(engine.enrich(products), f"answering, {case}", len(products)):
        yield _row(answer)


def _row(answer: EnrichedProduct) -> dict[str, object]:
    row: dict[str, object] = {"modalities": str(answer.modalities)}
    for one in answer.predictions:
        row[f"{one.attribute}_best"] = one.label
        row[f"{one.attribute}_confidence"] = one.confidence
        row[f"{one.attribute}_abstained"] = one.abstained
    return row


def _sample_products(catalog: Path, count: int) -> list[Product]:
    """Return so many products with a text, in random order, always the same.

    Where a fault loses the pictures, nothing could be said of products without a text.
    """
    products = [
        product
        for product in read_catalog(catalog / "products.parquet").products.values()
        if build_text(product.title, product.description)
    ]
    if len(products) < count:
        raise ConfigError(
            f"{catalog} has too few products with a text: found {len(products):,}, expected "
            f"{count:,}. Give a larger catalog"
        )
    order = np.random.default_rng(SEED).permutation(len(products))[:count]
    return [products[place] for place in order]


def _read_categories(catalog: Path, products: Sequence[Product], column: str) -> list[str]:
    """Return the products' categories, small ones as OTHER."""
    file = catalog / "products.parquet"
    table = select_text(read_table(file), ["product_id", column], file)
    by_id = dict(zip(table["product_id"].to_pylist(), table[column].to_pylist(), strict=True))
    named = pd.Series([by_id[product.product_id] for product in products]).fillna(OTHER)
    shares = named.value_counts(normalize=True)
    return named.where(named.map(shares) >= CATEGORY_SHARE, OTHER).tolist()
