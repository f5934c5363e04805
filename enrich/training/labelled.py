"""Reads labelled product tables and splits them by group.

A catalog folder holds `products.parquet`, `labels.parquet` (product_id, group_id and one column
an attribute; NULL = unlabelled) and the images. Knows nothing of classifiers.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from enrich.errors import ConfigError
from enrich.text import build_text
from enrich.training.losses import UNLABELLED

TRAIN, VALIDATION, TEST = 0, 1, 2
_REQUIRED = {
    "products.parquet": ("product_id", "title", "description", "image_path"),
    "labels.parquet": ("product_id", "group_id"),
}


@dataclass(frozen=True, slots=True)
class LabelledProducts:
    """Products with labels, one row each, all arrays of the same length N.

    `targets` is (N, attributes) with the label's index or UNLABELLED; `groups` numbers the groups
    of near-identical products; `split` is TRAIN, VALIDATION or TEST.
    """

    texts: list[str]
    image_paths: list[str | None]
    image_roots: list[str]
    targets: np.ndarray
    groups: np.ndarray
    split: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)


def load_labelled(
    catalogs: list[Path],
    attributes: dict[str, tuple[str, ...]],
) -> LabelledProducts:
    """Reads one or more catalog folders into one table.

    Args:
        catalogs: Folders; an attribute column that a catalog lacks is unlabelled there.
        attributes: Labels in the order of the logits; other labels count as unlabelled.

    Raises:
        ConfigError: a file or column is missing, or no row is left.
    """
    table = pd.concat([_read_catalog(folder) for folder in catalogs], ignore_index=True)
    if table.empty:
        raise ConfigError(f"no labelled product in {', '.join(map(str, catalogs))}")
    return LabelledProducts(
        texts=[build_text(t, d) for t, d in zip(table["title"], table["description"], strict=True)],
        image_paths=table["image_path"].tolist(),
        image_roots=table["root"].tolist(),
        targets=_targets(table, attributes),
        groups=table["group_id"].factorize()[0],
        split=table["group_id"].map(_split_of).to_numpy(),
    )


def _read_catalog(folder: Path) -> pd.DataFrame:
    tables = []
    for name, wanted in _REQUIRED.items():
        if not (folder / name).is_file():
            raise ConfigError(f"no {name} in {folder}; wanted: {', '.join(wanted)}")
        table = pd.read_parquet(folder / name)
        if lacking := set(wanted) - set(table.columns):
            raise ConfigError(f"{folder / name} has no column {', '.join(sorted(lacking))}")
        keys = [key for key in ("product_id", "group_id") if key in wanted]
        tables.append(table.astype(dict.fromkeys(keys, "string")))
    products, labels = tables
    if labels["product_id"].duplicated().any():
        twice = labels["product_id"][labels["product_id"].duplicated()].iloc[0]
        raise ConfigError(
            f"{folder / 'labels.parquet'} has more than one row of product {twice!r}; wanted: one"
        )
    # A product without a group is near-identical to none.
    labels["group_id"] = labels["group_id"].fillna(labels["product_id"])
    wanted_columns = list(_REQUIRED["products.parquet"])
    joined = products[wanted_columns].merge(labels, on="product_id")
    joined["root"] = str(folder)
    return joined.astype(object).replace({np.nan: None, pd.NA: None})


def _split_of(group_id: str) -> int:
    """Returns the group's split by its hash: a tenth each for validation and test.

    A hash, not a shuffle: the same group falls into the same split whatever else is in the table.
    """
    bucket = int(hashlib.sha256(group_id.encode()).hexdigest()[:8], 16) % 10
    return {0: TEST, 1: VALIDATION}.get(bucket, TRAIN)


def _targets(table: pd.DataFrame, attributes: dict[str, tuple[str, ...]]) -> np.ndarray:
    targets = np.full((len(table), len(attributes)), UNLABELLED, dtype=np.int64)
    for column, (attribute, labels) in enumerate(attributes.items()):
        if attribute in table:
            index = {label: at for at, label in enumerate(labels)}
            targets[:, column] = [index.get(label, UNLABELLED) for label in table[attribute]]
    return targets
