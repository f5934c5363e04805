"""Labelled products of which a test names only what it is about."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enrich.training.labelled import TRAIN, LabelledProducts, join_catalogs, read_catalogs


def labelled_products(texts: list[str], image_root: str = "", **named: Any) -> LabelledProducts:
    """Returns one product a text: to train on, a group of its own, with the first label.

    Args:
        texts: one a product.
        image_root: where the images lie.
        named: what is not as said above, by the names that `LabelledProducts` has.
    """
    rows = len(texts)
    unnamed = {
        "image_paths": [None] * rows,
        "image_roots": [image_root] * rows,
        "catalog": np.zeros(rows, dtype=np.int64),
        "targets": np.zeros((rows, 1), dtype=np.int64),
        "groups": np.arange(rows),
        "split": np.full(rows, TRAIN),
    }
    return LabelledProducts(texts=texts, **{"titles": texts} | unnamed | named)


def load_labelled(
    catalogs: Sequence[Path], attributes: dict[str, tuple[str, ...]]
) -> LabelledProducts:
    """Returns the products of catalogs as a training has them."""
    return join_catalogs(read_catalogs(catalogs), attributes)
