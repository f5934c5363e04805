"""Labelled products and catalogs of which a test names only what it is about."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from enrich.training.labelled import TRAIN, LabelledProducts, join_catalogs, read_catalogs


def labelled_products(texts: list[str], image_root: str = "", **named: Any) -> LabelledProducts:
    """Return one product a text: to train on, a group of its own, with the first label.

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
        "half": np.arange(rows) % 2,
        "split": np.full(rows, TRAIN),
    }
    return LabelledProducts(
        texts=texts, **{"wordings": [(text, None) for text in texts]} | unnamed | named
    )


def load_labelled(
    catalogs: Sequence[Path], attributes: dict[str, tuple[str, ...]]
) -> LabelledProducts:
    """Return the products of catalogs as a training has them."""
    return join_catalogs(read_catalogs(catalogs), attributes)


def write_folder(
    folder: Path, count: int, products: dict[str, Any] | None = None, **labels: Any
) -> Path:
    """Write a catalog of red shirts; `products` and `labels` change or add columns."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"p{number}" for number in range(count)]
    shown = {
        "product_id": ids,
        "title": [f"shirt {number}" for number in range(count)],
        "description": [None] * count,
        "image_path": [f"{number}.jpg" for number in range(count)],
    }
    labelled = {"product_id": ids, "group_id": ids, "color": ["red"] * count}
    pd.DataFrame(shown | (products or {})).to_parquet(folder / "products.parquet")
    pd.DataFrame(labelled | labels).to_parquet(folder / "labels.parquet")
    return folder


def write_table(folder: Path, csv: str, name: str = "shop", **described: Any) -> Path:
    """Write a table with title and color, and its description; return it as `--catalog` has it."""
    (folder / f"{name}.csv").write_text(csv)
    known = {"table": f"{name}.csv", "description": None, "image_path": None}
    known |= {"labels": {"color": "color"}} | described
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(known))
    return Path(f"table:{folder}/{name}.yaml")
