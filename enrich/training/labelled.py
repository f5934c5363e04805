"""Labelled products of one or more catalogs as numbers, split by group.

Knows nothing of layouts, which `enrich.training.readers` reads, nor of classifiers.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from enrich.errors import ConfigError, name_some
from enrich.text import build_text, fold_label
from enrich.training.losses import UNLABELLED
from enrich.training.readers.layouts import read_labelled
from enrich.training.readers.rows import LabelledRows, Split

TRAIN, VALIDATION, TEST = 0, 1, 2
_PURPOSES = {TRAIN: "to train on", VALIDATION: "to validate with"}
_PUBLISHED = {Split.TRAIN: TRAIN, Split.VALIDATION: VALIDATION, Split.TEST: TEST}


@dataclass(frozen=True, slots=True)
class LabelledProducts:
    """Products with labels, one row each, all arrays of the same length N.

    `catalog` numbers the catalog that a row is of. `targets` is (N, attributes) with the label's
    index or UNLABELLED; `groups` numbers the groups of near-identical products; `split` is TRAIN,
    VALIDATION or TEST.
    """

    texts: list[str]
    image_paths: list[str | None]
    image_roots: list[str]
    catalog: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    split: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, rows: np.ndarray) -> "LabelledProducts":
        """Returns these rows, their groups numbered from 0 without a gap."""
        return LabelledProducts(
            texts=[self.texts[row] for row in rows],
            image_paths=[self.image_paths[row] for row in rows],
            image_roots=[self.image_roots[row] for row in rows],
            catalog=self.catalog[rows],
            targets=self.targets[rows],
            groups=np.unique(self.groups[rows], return_inverse=True)[1],
            split=self.split[rows],
        )


def load_labelled(
    catalogs: list[Path],
    attributes: dict[str, tuple[str, ...]],
) -> LabelledProducts:
    """Reads one or more catalogs into one table; see `read_catalogs` and `join_catalogs`.

    Raises:
        ConfigError: something of a catalog is missing, or no row is left.
    """
    return join_catalogs(read_catalogs(catalogs), attributes)


def read_catalogs(catalogs: Sequence[Path]) -> list[LabelledRows]:
    """Reads catalog folders, or what `LAYOUT:PATH` names, each as its layout holds it.

    Raises:
        ConfigError: something of a catalog is missing, or none of them has a row.
    """
    read = [_fold_labels(read_labelled(catalog)) for catalog in catalogs]
    if not any(map(len, read)):
        raise ConfigError(f"no labelled product in {', '.join(map(str, catalogs))}")
    return read


def _fold_labels(rows: LabelledRows) -> LabelledRows:
    """Returns the rows with what looks the same as one label."""
    labels = {
        attribute: [fold_label(label or "") or None for label in column]
        for attribute, column in rows.labels.items()
    }
    return replace(rows, labels=labels)


def join_catalogs(
    read: Sequence[LabelledRows], attributes: dict[str, tuple[str, ...]]
) -> LabelledProducts:
    """Returns the rows of all catalogs as one table.

    Args:
        read: The catalogs; an attribute that one lacks is unlabelled there.
        attributes: Labels in the order of the logits; other labels count as unlabelled.
    """
    return LabelledProducts(
        texts=[
            build_text(title, description)
            for rows in read
            for title, description in zip(rows.titles, rows.descriptions, strict=True)
        ],
        image_paths=[path for rows in read for path in rows.image_paths],
        image_roots=[str(rows.root) for rows in read for _ in range(len(rows))],
        catalog=np.repeat(np.arange(len(read)), [len(rows) for rows in read]),
        targets=np.concatenate([_targets(rows, attributes) for rows in read]),
        # Two catalogs may number their groups alike.
        groups=pd.factorize(
            pd.Series([(c, g) for c, rows in enumerate(read) for g in rows.groups])
        )[0],
        split=np.concatenate([_split(rows) for rows in read]),
    )


def with_labels_of(
    read: Sequence[LabelledRows],
    attributes: dict[str, tuple[str, ...]],
    optional: Collection[str] = (),
) -> dict[str, tuple[str, ...]]:
    """Returns the attributes; one without labels gets those of the rows to train on, sorted.

    Optional ones are left out where there are fewer than two.

    Raises:
        ConfigError: another attribute has fewer than two labels there, or none is left.
    """
    filled = {a: labels or _labels_to_train_on(read, a) for a, labels in attributes.items()}
    lacking = [a for a in attributes if not attributes[a] and len(filled[a]) < 2]
    if set(lacking) - set(optional) or len(lacking) == len(filled):
        known = sorted({name for rows in read for name in rows.labels})
        found = ", ".join(f"{len(filled[a])} of '{a}'" for a in lacking)
        raise ConfigError(
            f"attributes shall take their labels from the data, which holds {found}; wanted: two "
            f"or more. The data labels {', '.join(known) or 'nothing'}"
        )
    return {a: labels for a, labels in filled.items() if a not in lacking}


def find_unlisted(
    read: Sequence[LabelledRows], attributes: dict[str, tuple[str, ...]]
) -> dict[str, list[str]]:
    """Returns each attribute's labels of products that are none of its own, one a product."""
    known = {attribute: set(map(fold_label, labels)) for attribute, labels in attributes.items()}
    return {
        attribute: [
            label
            for rows in read
            for label in rows.labels.get(attribute, ())
            if label is not None and label not in labels
        ]
        for attribute, labels in known.items()
    }


def find_absent(
    products: LabelledProducts, attributes: dict[str, tuple[str, ...]]
) -> dict[str, list[str]]:
    """Returns each attribute's labels that no product has."""
    seen = [set(targets.tolist()) for targets in products.targets.T]
    return {
        attribute: [label for index, label in enumerate(labels) if index not in there]
        for (attribute, labels), there in zip(attributes.items(), seen, strict=True)
    }


def require_splits(read: Sequence[LabelledRows]) -> None:
    """Checks that splits which the catalogs themselves name leave no part without a product.

    Raises:
        ConfigError: one does.
    """
    if all(rows.split is None for rows in read):
        return  # more products help, and how many there are is known later
    there = {split for rows in read for split in _split(rows)}
    if lacking := [f"no {name}" for name, split in _PUBLISHED.items() if split not in there]:
        raise ConfigError(
            f"the split that the catalogs name has {' and '.join(lacking)} product: give some "
            "products that split, or name no split, and a tenth of all groups goes to validation "
            "and to the test each"
        )


def count_split_groups(products: LabelledProducts) -> int:
    """Returns how many groups of near-identical products are in more than one split.

    None but where catalogs name their splits themselves.
    """
    found = np.unique(np.stack([products.groups, products.split]), axis=1)
    return int((np.bincount(found[0]) > 1).sum())


def require_labels(
    read: Sequence[LabelledRows],
    products: LabelledProducts,
    attributes: dict[str, tuple[str, ...]],
) -> None:
    """Checks that products to train on, and products to validate with, are labelled.

    `products` are those of the catalogs that were read, whose labels an error names.

    Raises:
        ConfigError: one or more attributes have no label there.
    """
    lacks = []
    for column, (attribute, labels) in enumerate(attributes.items()):
        labelled = products.split[products.targets[:, column] != UNLABELLED]
        # Where a split has no products at all, that is what is wrong.
        lacking = [
            purpose
            for split, purpose in _PURPOSES.items()
            if split in products.split and split not in labelled
        ]
        if lacking:
            lacks.append(
                f"attribute '{attribute}' has no label {' and none '.join(lacking)}: the catalogs "
                f"hold {_name_labels(read, attribute) or 'none'}; wanted: {name_some(labels)}"
            )
    if lacks:
        raise ConfigError(f"{'. '.join(lacks)}. Correct the labels, or give more products")


def require_any_label(
    products: LabelledProducts, attributes: dict[str, tuple[str, ...]], catalog: Path
) -> None:
    """Checks that something can be measured on the products of a catalog.

    Raises:
        ConfigError: none has a label.
    """
    if (products.targets == UNLABELLED).all():
        raise ConfigError(
            f"no label in {catalog} is one of {', '.join(attributes)} as the checkpoint knows "
            "them; wanted: such a column in labels.parquet"
        )


def _name_labels(read: Sequence[LabelledRows], attribute: str) -> str:
    found = (label for rows in read for label in rows.labels.get(attribute, []))
    return name_some(label for label in found if label is not None)


def _labels_to_train_on(read: Sequence[LabelledRows], attribute: str) -> tuple[str, ...]:
    found = {
        label
        for rows in read
        for label, split in zip(rows.labels.get(attribute, ()), _split(rows), strict=False)
        if split == TRAIN and label is not None
    }
    return tuple(sorted(found))


def _split(rows: LabelledRows) -> np.ndarray:
    """Returns each row's split: the published one, or that of its group.

    Where a data set was published without a validation split, a tenth of the groups to train on
    becomes it.
    """
    by_group = np.array([_split_of(group) for group in rows.groups], dtype=np.int64)
    if rows.split is None:
        return by_group
    published = np.array([_PUBLISHED[split] for split in rows.split], dtype=np.int64)
    if VALIDATION not in published:
        published[(published == TRAIN) & (by_group == VALIDATION)] = VALIDATION
    return published


def _split_of(group_id: str) -> int:
    """Returns the group's split by its hash: a tenth each for validation and test.

    A hash, not a shuffle: the same group falls into the same split whatever else is in the table.
    """
    bucket = int(hashlib.sha256(group_id.encode()).hexdigest()[:8], 16) % 10
    return {0: TEST, 1: VALIDATION}.get(bucket, TRAIN)


def _targets(rows: LabelledRows, attributes: dict[str, tuple[str, ...]]) -> np.ndarray:
    targets = np.full((len(rows), len(attributes)), UNLABELLED, dtype=np.int64)
    for column, (attribute, labels) in enumerate(attributes.items()):
        if attribute in rows.labels:
            index = {fold_label(label): at for at, label in enumerate(labels)}
            targets[:, column] = [
                UNLABELLED if label is None else index.get(label, UNLABELLED)
                for label in rows.labels[attribute]
            ]
    return targets
