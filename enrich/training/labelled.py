"""Labelled products of one or more catalogs as numbers, split by group.

A reader of `enrich.training.readers` has read their rows. Classifiers are unknown here.
"""

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from enrich.errors import ConfigError, name_some
from enrich.lexicon import ProductText, choose_title
from enrich.terminal import say
from enrich.text import build_text, fold_label, read_as
from enrich.training.readers import (
    MOST_TEXTS_OF_A_PICTURE,
    LabelledRows,
    Split,
    group_near_identical,
    identify_pictures,
    read_labelled,
)

TRAIN, VALIDATION, TEST = Split
UNLABELLED = -100  # what cross_entropy ignores


@dataclass(frozen=True, slots=True)
class LabelledProducts:
    """Products with labels, one row each, all columns of the same length N.

    Attributes:
        wordings: title, or a description without one, and description, of which labels are looked
            for in the first, see `LabelFinder`.
        catalog: number of each row's catalog.
        targets: (N, attributes), index of the label, or UNLABELLED.
        groups: number of each row's group of near-identical products.
        half: 0 or 1, the half of each row's group, see `half_of`.
        split: TRAIN, VALIDATION or TEST.
    """

    texts: list[str]
    wordings: list[ProductText]
    image_paths: list[str | None]
    image_roots: list[str]
    catalog: np.ndarray
    targets: np.ndarray
    groups: np.ndarray
    half: np.ndarray
    split: np.ndarray

    def __len__(self) -> int:
        return len(self.texts)

    def digest(self) -> bytes:
        """Return a digest of all columns."""
        digest = hashlib.sha256()
        for column in (self.texts, self.wordings, self.image_roots, self.image_paths):
            digest.update(repr(column).encode())
        for numbers in (self.catalog, self.targets, self.groups, self.half, self.split):
            digest.update(np.ascontiguousarray(numbers).tobytes())
        return digest.digest()

    def take(self, rows: np.ndarray) -> "LabelledProducts":
        """Return some rows, their groups numbered from 0 without a gap."""
        return LabelledProducts(
            texts=[self.texts[row] for row in rows],
            wordings=[self.wordings[row] for row in rows],
            image_paths=[self.image_paths[row] for row in rows],
            image_roots=[self.image_roots[row] for row in rows],
            catalog=self.catalog[rows],
            targets=self.targets[rows],
            groups=np.unique(self.groups[rows], return_inverse=True)[1],
            half=self.half[rows],
            split=self.split[rows],
        )


def read_catalogs(catalogs: Sequence[Path]) -> list[LabelledRows]:
    """Read catalogs, each a folder or `LAYOUT:PATH`, not all of them empty."""
    read = [_fold_labels(read_labelled(catalog)) for catalog in catalogs]
    if not any(map(len, read)):
        named = ", ".join(map(str, catalogs))
        raise ConfigError(f"{named}: found 0 labelled products, expected 1 or more")
    return read


def divide(
    read: Sequence[LabelledRows], leave_out: Mapping[str, Collection[str]]
) -> tuple[list[LabelledRows], list[LabelledRows]]:
    """Return the catalogs without the products to leave out, and these products alone.

    `leave_out` has values by column: left out is whoever has one of them, and of the products
    alone, whoever shares a group with one that stays. Raises ConfigError if not one product has a
    value.
    """
    _require_values(read, leave_out)
    kept, left_out = [], []
    for rows in read:
        is_out = np.zeros(len(rows), bool)
        for column, values in leave_out.items():
            wanted = {fold_label(value) for value in values}
            is_out |= [value in wanted for value in rows.labels.get(column, [None] * len(rows))]
        kept.append(rows.where(~is_out))
        staying = set(kept[-1].groups)
        left_out.append(rows.where(is_out & [group not in staying for group in rows.groups]))
    return kept, left_out


def _require_values(read: Sequence[LabelledRows], leave_out: Mapping[str, Collection[str]]) -> None:
    """Raise ConfigError unless each of the values is a product's."""
    for column, values in leave_out.items():
        known = {value for rows in read for value in rows.labels.get(column, ())}
        if absent := [value for value in values if fold_label(value) not in known]:
            raise ConfigError(
                f"leave_out fits no product: found 0 products with {column}: {', '.join(absent)}, "
                f"expected 1 or more of each. Name a column of products.parquet and its values, "
                f"such as {name_some(one for one in known if one) or 'none'}."
            )


def _fold_labels(rows: LabelledRows) -> LabelledRows:
    """Return the rows with labels that look the same written alike."""
    labels = {
        attribute: [fold_label(label or "") or None for label in column]
        for attribute, column in rows.labels.items()
    }
    return replace(rows, labels=labels)


def join_catalogs(
    read: Sequence[LabelledRows], attributes: dict[str, tuple[str, ...]]
) -> LabelledProducts:
    """Return the rows of all catalogs as one table.

    `attributes` has labels in the order of the logits, spelled as `read_as` allows. Other labels
    count as unlabelled, and so does an attribute that a catalog lacks.
    """
    return LabelledProducts(
        texts=[
            build_text(title, description)
            for rows in read
            for title, description in zip(rows.titles, rows.descriptions, strict=True)
        ],
        wordings=[
            (choose_title(*both), both[1])
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
        half=np.array([half_of(group) for rows in read for group in rows.groups], dtype=np.int64),
        split=np.concatenate([splits_of(rows) for rows in read]),
    )


def splits_of(rows: LabelledRows) -> np.ndarray:
    """Return the split of each row: the published one, or that of its group.

    Without a published validation split, a tenth of the groups to train on becomes it.
    """
    by_group = np.array([_split_of(group) for group in rows.groups], dtype=np.int64)
    if rows.split is None:
        return by_group
    published = np.array(rows.split, dtype=np.int64)
    if VALIDATION not in published:
        published[(published == TRAIN) & (by_group == VALIDATION)] = VALIDATION
    return published


def count_known_tests(products: LabelledProducts) -> int:
    """Count the products to test that training knows.

    They share a group, a text or a picture with one to train on, the last two also through others.
    """
    roots, paths = np.array(products.image_roots, object), np.array(products.image_paths, object)
    pictures = np.full(len(products), None, object)
    for root in set(products.image_roots):
        pictures[roots == root] = identify_pictures(root, paths[roots == root].tolist())
    alike = group_near_identical(products.texts, pictures.tolist(), MOST_TEXTS_OF_A_PICTURE)
    is_known = np.zeros(len(products), dtype=bool)
    for groups in (alike, products.groups):
        is_known |= np.isin(groups, groups[products.split == TRAIN])
    return int((is_known & (products.split == TEST)).sum())


def half_of(group_id: str) -> int:
    """Return the half of a group, 0 or 1, whatever else is in the table."""
    return _hash(group_id)[1] % 2


def _split_of(group_id: str) -> int:
    """Return the split of a group: a tenth each for validation and test.

    It depends on the group's hash alone, so a group keeps its split whatever else is in the table.
    """
    return {0: TEST, 1: VALIDATION}.get(_hash(group_id)[0] % 10, TRAIN)


def _hash(group_id: str) -> tuple[int, int]:
    """Return two independent numbers of a group, for its split and for its half."""
    digits = hashlib.sha256(group_id.encode()).hexdigest()
    return int(digits[:8], 16), int(digits[8:16], 16)


def _targets(rows: LabelledRows, attributes: dict[str, tuple[str, ...]]) -> np.ndarray:
    targets = np.full((len(rows), len(attributes)), UNLABELLED, dtype=np.int64)
    for column, (attribute, labels) in enumerate(attributes.items()):
        if attribute in rows.labels:
            index = {label: at for at, label in enumerate(labels)}
            found, read = rows.labels[attribute], read_as(labels)
            meant = {label: index.get(read(label or "") or "", UNLABELLED) for label in set(found)}
            targets[:, column] = [meant[label] for label in found]
    return targets


def name_catalog(catalog: Path) -> str:
    """Return the name of a catalog's folder or file, also of a relative path."""
    return Path(os.path.abspath(catalog)).name  # noqa: PTH100 - resolve() would follow a link


def refuse_same_names(what: str, names: Sequence[str], known_by: str) -> None:
    """Raise ConfigError if a name comes twice.

    `known_by` has its verb: "the metrics go".
    """
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(
            f"more than one {what} is called {', '.join(sorted(twice))}: rename one, because "
            f"{known_by} by these names"
        )


def tell_unlisted(
    read: Sequence[LabelledRows], attributes: dict[str, tuple[str, ...]], of: str
) -> None:
    """Log how many products of the catalogs `of` have a label that is not listed."""
    for attribute, labels in attributes.items():
        found = [label for rows in read for label in rows.labels.get(attribute, ()) if label]
        meant = read_as(labels)
        unknown = {label for label in set(found) if meant(label) is None}
        if unlisted := [label for label in found if label in unknown]:
            say(
                f"{attribute}: {len(unlisted):,} products of {of} have a label that is not listed "
                f"and count as unlabelled, such as {name_some(unlisted)}"
            )


def read_to_measure(catalog: Path, attributes: dict[str, tuple[str, ...]]) -> LabelledProducts:
    """Read a catalog to measure answers on; log its labels that are not listed.

    Raises ConfigError if the catalog cannot be read, or has 0 labels of the attributes.
    """
    read = read_catalogs([catalog])
    tell_unlisted(read, attributes, name_catalog(catalog))
    products = join_catalogs(read, attributes)
    if (products.targets == UNLABELLED).all():
        raise ConfigError(
            f"{catalog} is not labelled: found 0 labels of {', '.join(attributes)} that the "
            "checkpoint knows, expected 1 or more. Add such a column to labels.parquet."
        )
    return products
