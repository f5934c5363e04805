"""Labelled products of one or more catalogs as numbers, split by group.

Knows nothing of layouts, which `enrich.training.readers` reads, nor of classifiers.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from enrich.errors import ConfigError
from enrich.lexicon import choose_title
from enrich.near_identical import group_near_identical
from enrich.text import build_text, fold_label, read_as
from enrich.training.readers.groups import MOST_TEXTS_OF_A_PICTURE
from enrich.training.readers.layouts import read_labelled
from enrich.training.readers.rows import LabelledRows, Split

TRAIN, VALIDATION, TEST = Split
UNLABELLED = -100  # what cross_entropy ignores


@dataclass(frozen=True, slots=True)
class LabelledProducts:
    """Products with labels, one row each, all arrays of the same length N.

    `titles` are what label words are looked for in. `catalog` numbers the catalog that a row is of.
    `targets` is (N, attributes) with the label's index or UNLABELLED; `groups` numbers the groups
    of near-identical products; `split` is TRAIN, VALIDATION or TEST.
    """

    texts: list[str]
    titles: list[str | None]
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
            titles=[self.titles[row] for row in rows],
            image_paths=[self.image_paths[row] for row in rows],
            image_roots=[self.image_roots[row] for row in rows],
            catalog=self.catalog[rows],
            targets=self.targets[rows],
            groups=np.unique(self.groups[rows], return_inverse=True)[1],
            split=self.split[rows],
        )


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
    """Returns the rows with labels that look the same written alike, see `fold_label`."""
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
        attributes: Labels in the order of the logits, however they are spelled in the data, see
            `read_as`; other labels count as unlabelled.
    """
    return LabelledProducts(
        texts=[
            build_text(title, description)
            for rows in read
            for title, description in zip(rows.titles, rows.descriptions, strict=True)
        ],
        titles=[
            choose_title(*both)
            for rows in read
            for both in zip(rows.titles, rows.descriptions, strict=True)
        ],
        image_paths=[path for rows in read for path in rows.image_paths],
        image_roots=[str(rows.root) for rows in read for _ in range(len(rows))],
        catalog=np.repeat(np.arange(len(read)), [len(rows) for rows in read]),
        targets=np.concatenate([_targets(rows, attributes) for rows in read]),
        # Two catalogs may number their groups alike.
        groups=pd.factorize(
            pd.Series([(c, g) for c, rows in enumerate(read) for g in rows.groups])
        )[0],
        split=np.concatenate([splits_of(rows) for rows in read]),
    )


def splits_of(rows: LabelledRows) -> np.ndarray:
    """Returns each row's split: the published one, or that of its group.

    Where a data set was published without a validation split, a tenth of the groups to train on
    becomes it.
    """
    by_group = np.array([_split_of(group) for group in rows.groups], dtype=np.int64)
    if rows.split is None:
        return by_group
    published = np.array(rows.split, dtype=np.int64)
    if VALIDATION not in published:
        published[(published == TRAIN) & (by_group == VALIDATION)] = VALIDATION
    return published


def count_split_groups(products: LabelledProducts) -> int:
    """Returns how many groups of near-identical products are in more than one split.

    There are such groups only where catalogs name their splits themselves.
    """
    found = np.unique(np.stack([products.groups, products.split]), axis=1)
    return int((np.bincount(found[0]) > 1).sum())


def count_known_tests(products: LabelledProducts) -> int:
    """Returns how many products to test share a text or a picture with one to train on.

    Directly or through others, and whatever groups they are in: those that a catalog names may have
    been formed by something else.
    """
    pictures = [
        path and f"{root}/{path}"
        for root, path in zip(products.image_roots, products.image_paths, strict=True)
    ]
    alike = group_near_identical(products.texts, pictures, MOST_TEXTS_OF_A_PICTURE)
    known = np.isin(alike, alike[products.split == TRAIN])
    return int((known & (products.split == TEST)).sum())


def half_of(groups: np.ndarray) -> np.ndarray:
    """Return 0 or 1 for each row (N,), the same for all rows of a group and in every run."""
    return np.random.default_rng(0).integers(0, 2, groups.max() + 1)[groups]


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
            index = {label: at for at, label in enumerate(labels)}
            found, read = rows.labels[attribute], read_as(labels)
            meant = {label: index.get(read(label or "") or "", UNLABELLED) for label in set(found)}
            targets[:, column] = [meant[label] for label in found]
    return targets
