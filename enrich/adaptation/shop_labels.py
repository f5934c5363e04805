"""Reads the products of a shop that people have labelled.

Knows nothing of classifiers: labels become numbers in the order that it is told.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from enrich.errors import ConfigError, name_some
from enrich.files.corrections import KEY, read_correction_file
from enrich.files.products import read_unique_products
from enrich.records import Product
from enrich.text import build_text
from enrich.training.labelled import UNLABELLED

# A picture that more texts share is a placeholder, and does not make its products alike.
_MOST_TEXTS_OF_A_PICTURE = 5


@dataclass(frozen=True, slots=True)
class ShopLabels:
    """N labelled products of a catalog, each once.

    `targets` maps each attribute that the file labels to the labels' indices (N,), UNLABELLED where
    there is no label; that may be everywhere, as the file may label products of other catalogs too.
    Near-identical products (see `_group_near_identical`) have the same number in `groups` (N,):
    what is fitted to one must not be measured on another.
    `unknown_ids` counts the labelled products that are not in the catalog.
    """

    products: list[Product]
    targets: dict[str, np.ndarray]
    groups: np.ndarray
    unknown_ids: int


def read_shop_labels(
    file: Path, catalog: Path, attributes: dict[str, tuple[str, ...]]
) -> ShopLabels:
    """Reads labels that people gave, and finds their products in the catalog.

    Args:
        file: Parquet, CSV or JSON with `product_id` and a column for each labelled attribute; NULL
            or an empty text says nothing. Other columns are ignored.
        catalog: The product table, Parquet, CSV or JSON.
        attributes: The checkpoint's labels in the order of the logits.

    Raises:
        ConfigError: a file cannot be read or holds no label, a label is unknown to the checkpoint,
            a product is labelled twice, or none of the products is in the catalog.
        SchemaMismatch: `product_id` or any attribute column is missing.
    """
    labels = read_correction_file(file, attributes)
    if labels.empty:
        named = ", ".join(name for name in attributes if name in labels)
        raise ConfigError(f"{file} labels no product; wanted: labels filled in under {named}")
    targets = {
        attribute: _to_targets(labels[attribute], attributes[attribute])
        for attribute in attributes
        if attribute in labels
    }
    by_id = {product.product_id: product for product in read_unique_products(catalog)}
    is_known = labels[KEY].isin(list(by_id)).to_numpy()
    if not is_known.any():
        raise ConfigError(
            f"none of the {len(labels)} products in {file} is in {catalog}: "
            f"found {name_some(labels[KEY])}, wanted such as {name_some(by_id)}"
        )
    products = [by_id[product_id] for product_id in labels[KEY][is_known]]
    return ShopLabels(
        products=products,
        targets={
            attribute: column[is_known]
            for attribute, column in targets.items()
            if (column != UNLABELLED).any()
        },
        groups=_group_near_identical(products),
        unknown_ids=int((~is_known).sum()),
    )


def _to_targets(column: pd.Series, labels: tuple[str, ...]) -> np.ndarray:
    index = {label: at for at, label in enumerate(labels)}
    return column.map(index).fillna(UNLABELLED).to_numpy(dtype=np.int64)


def _group_near_identical(products: list[Product]) -> np.ndarray:
    """Returns each product's group: products that share a text or a picture are in the same one.

    So are those that are linked by others. Products of one text are often one product in several
    colors, and those of one picture one product under several names. A text or a picture that is
    missing is shared with none.
    """
    texts = [build_text(product.title, product.description) for product in products]
    pictures = pd.Series([(product.image_path or "").strip() for product in products], dtype=object)
    texts_of_picture = pd.Series(texts, dtype=object).groupby(pictures).transform("nunique")
    pictures = pictures.where(texts_of_picture <= _MOST_TEXTS_OF_A_PICTURE, "")
    groups = pd.Series(range(len(products)))
    while True:
        joined = groups
        for shared in (texts, pictures):
            keys = pd.Series([key or at for at, key in enumerate(shared)], dtype=object)
            joined = joined.groupby(keys, sort=False).transform("min")
        if joined.equals(groups):
            return pd.factorize(groups)[0]
        groups = joined
