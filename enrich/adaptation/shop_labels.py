"""Labelled products of a shop, read as numbers, and products drawn to be labelled."""

import itertools
import logging
import operator
from collections.abc import Collection, Container, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from schemas.labels import NOT_APPLICABLE, RESERVED

from enrich.adaptation.widening import LabelSets, choose_labels, fewest_products, measure_shares
from enrich.engine.spec import OwnLabels, find_meant, name_own_words
from enrich.errors import ConfigError, name_some
from enrich.files.labels import read_labels
from enrich.files.products import Catalog
from enrich.files.tables import guard, write_csv
from enrich.places import atomic_write
from enrich.records import Product
from enrich.text import build_text
from enrich.training.labelled import UNLABELLED
from enrich.training.readers import group_near_identical, identify_pictures

log = logging.getLogger(__name__)

# Of a few hundred labelled products few are of one article: more texts are those of a placeholder.
_MOST_TEXTS_OF_A_PICTURE = 5
_MOST_NAMED = 5
_SHOWN = ("product_id", "title", "image_path")


@dataclass(frozen=True, slots=True)
class ShopLabels:
    """N labelled products of a catalog, each once.

    Attributes:
        products: the products.
        targets: by attribute, the index of each product's label (N,), or UNLABELLED.
        groups: number of each product's group of near-identical products (N,). A fit to one of them
            must not be measured on another.
        unknown_ids: number of labelled products that the catalog lacks.
        labels: the checkpoint's label sets, with new labels that enough products have.
        shares: share of each label, by attribute in the file.
        left_out: number of products by attribute and label with too few of them.
        applies_to: categories of a new attribute's labels; empty for a catalog without categories.
    """

    products: list[Product]
    targets: dict[str, np.ndarray]
    groups: np.ndarray
    unknown_ids: int
    labels: LabelSets
    shares: dict[str, list[float]]
    left_out: dict[str, dict[str, int]]
    applies_to: dict[str, tuple[str, ...]]


def read_shop_labels(
    file: Path,
    catalog: Catalog,
    attributes: LabelSets,
    only: str | None = None,
    guessed: Container[str] = (),
    own: OwnLabels | None = None,
    image_root: str = "",
) -> ShopLabels:
    """Read labels of people, and find their products in the catalog.

    The file has the format of `enrich.files.labels`. `attributes` has the checkpoint's answers in
    the order of the logits, `only` is the only attribute to read, which may be new, and `guessed`
    are those that nobody has labelled yet. The file may have the source's `own` names in place of
    labels. Pictures below `image_root` with the same bytes are the same picture.

    Raises ConfigError if the file cannot be read or is empty, a product is labelled twice, the
    catalog has 0 of the products, or a name may mean several labels, and SchemaMismatch if a column
    is missing or unknown.
    """
    known = attributes if only is None else {only: (), **attributes}
    named = {a: [one for one in answers if one not in RESERVED] for a, answers in known.items()}
    for attribute, names in name_own_words(own or {}, known).items():
        if attribute in named:
            named[attribute] += names
    given = read_labels(file, named, open_to=known)
    if only is not None:
        is_other = given["attribute"] != only
        if is_other.any():
            counts = given["attribute"][is_other].value_counts()
            log.warning(
                "%s: labels of other attributes than %s are not used: %s. adapt_checkpoint takes "
                "them",
                *(file, only, ", ".join(f"{n:,} of {name}" for name, n in counts.items())),
            )
        given = given[~is_other]
    given = _name_as_checkpoint(given, known, own or {}, file)
    if given.empty:
        raise ConfigError(
            f"{file} is not filled in: found 0 labels, expected labels of "
            f"{only or ', '.join(attributes)}"
        )
    by_id, ids = catalog.products, pd.Index(given["product_id"].unique())
    is_known = ids.isin(list(by_id))
    if not is_known.any():
        raise ConfigError(
            f"{file} is of another catalog than {catalog.table}: found {len(ids)} products such "
            f"as {name_some(ids)}, expected ids such as {name_some(by_id)}"
        )
    given = given[given["product_id"].isin(ids[is_known])]
    wider = choose_labels(given, known, guessed)
    pairs = [*zip(given["attribute"], given["label"], strict=True)]
    is_used = [label in wider[attribute] for attribute, label in pairs]
    left_out: dict[str, dict[str, int]] = {}
    for attribute, label in itertools.compress(pairs, map(operator.not_, is_used)):
        of_one = left_out.setdefault(attribute, {})
        of_one[label] = of_one.get(label, 0) + 1
    given = given[is_used]
    if given.empty:
        fewest = [f"{fewest_products(a, known, guessed)} of {a}" for a in left_out]
        raise ConfigError(
            f"{file} has too few products of each label: found {_count(left_out)}, expected at "
            f"least {' and '.join(fewest)}. Label more of the same"
        )
    attributes = {a: labels for a, labels in wider.items() if labels}
    labels = given.pivot(index="product_id", columns="attribute", values="label")
    labels = labels.loc[given["product_id"].unique()]
    targets = {
        attribute: _to_targets(labels[attribute], attributes[attribute])
        for attribute in attributes
        if attribute in labels
    }
    products = [by_id[product_id] for product_id in labels.index]
    return ShopLabels(
        products=products,
        targets=targets,
        groups=group_near_identical(
            [build_text(product.title, product.description) for product in products],
            identify_pictures(image_root, [product.image_path for product in products]),
            _MOST_TEXTS_OF_A_PICTURE,
        ),
        unknown_ids=int((~is_known).sum()),
        labels=attributes,
        shares=measure_shares(given, attributes),
        left_out=left_out,
        applies_to={
            attribute: found
            for attribute in given["attribute"].unique()
            if not known[attribute] or attribute in guessed
            if (found := _find_categories(given[given["attribute"] == attribute], catalog))
        },
    )


def _name_as_checkpoint(
    given: pd.DataFrame, answers: LabelSets, own: OwnLabels, file: Path
) -> pd.DataFrame:
    """Return the labels in the checkpoint's words in place of the source's own."""
    given = given.copy()
    for attribute, names in own.items():
        rows = given.loc[given["attribute"] == attribute, "label"]
        meant: dict[str, list[str]] = {}
        for name in rows.unique():
            # People may also write a checkpoint's label that has another name here.
            replaced = [label for label in names if label.casefold() == name.casefold()]
            found = [*find_meant(name, answers.get(attribute, ()), names), *replaced]
            meant[name] = list(dict.fromkeys(found)) or [name]
        unclear = [name for name in rows if len(meant[name]) > 1]
        if unclear:
            several = " and ".join(meant[unclear[0]])
            raise ConfigError(
                f"{file}: {attribute} is not clear: found '{unclear[0]}' ({len(unclear)} rows of "
                f"such names), which the settings' labels give to {several}, expected names of one "
                "label. Write the checkpoint's labels, and use settings without these names."
            )
        given.loc[rows.index, "label"] = [meant[name][0] for name in rows]
    return given


def write_suggestions(
    catalog: Catalog,
    attributes: Collection[str],
    count: int,
    known_ids: Container[str],
    file: Path,
) -> int:
    """Write a CSV to fill in, with products drawn at random and a column an attribute.

    Of products with the same text and picture, such as sizes of an article, one is drawn: they get
    the same answer. Random labels prove thresholds, those of hard products alone do not. Products
    of `known_ids` are labelled already. Returns the number of products written, fewer than `count`
    where no more are left.
    """
    articles: dict[tuple[str, str | None], Product] = {}
    known_first = sorted(catalog.products.values(), key=lambda one: one.product_id not in known_ids)
    for product in known_first:
        text = build_text(product.title, product.description)
        articles.setdefault((text, product.image_path), product)
    left = [one for one in articles.values() if one.product_id not in known_ids]
    drawn = [left[row] for row in np.random.default_rng(0).permutation(len(left))[:count]]
    lines = [{field: guard(getattr(one, field) or "") for field in _SHOWN} for one in drawn]
    with atomic_write(file) as partial:
        write_csv(pd.DataFrame(lines, columns=[*_SHOWN, *attributes]), partial)
    return len(drawn)


def _find_categories(given: pd.DataFrame, catalog: Catalog) -> tuple[str, ...]:
    """Return the categories of products that carry a label, without `not_applicable`."""
    ids = given.loc[given["label"] != NOT_APPLICABLE, "product_id"]
    found = {catalog.categories.get(product_id) for product_id in ids}
    return tuple(sorted(one for one in found if one is not None))


def _count(left_out: Mapping[str, Mapping[str, int]]) -> str:
    every = [f"{label} ({n})" for of_one in left_out.values() for label, n in of_one.items()]
    return ", ".join(every[:_MOST_NAMED]) + (", ..." if len(every) > _MOST_NAMED else "")


def _to_targets(column: pd.Series, labels: tuple[str, ...]) -> np.ndarray:
    index = {label: at for at, label in enumerate(labels)}
    return column.map(index).fillna(UNLABELLED).to_numpy(dtype=np.int64)
