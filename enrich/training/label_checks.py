"""Whether the labels of catalogs are enough to train on and to measure by, and which they are.

Knows nothing of layouts, texts or pictures.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from enrich.errors import ConfigError, name_some
from enrich.progress import say
from enrich.text import read_as, spell_without_case
from enrich.training.labelled import (
    TEST,
    TRAIN,
    UNLABELLED,
    VALIDATION,
    LabelledProducts,
    join_catalogs,
    read_catalogs,
    splits_of,
)
from enrich.training.readers.rows import LabelledRows, Split

_PURPOSES = {TRAIN: "to train on", VALIDATION: "to validate with"}


def with_labels_of(
    read: Sequence[LabelledRows],
    attributes: dict[str, tuple[str, ...]],
    optional: Collection[str] = (),
) -> dict[str, tuple[str, ...]]:
    """Returns the attributes; one without labels gets those of the rows to train on, sorted.

    An optional attribute with fewer than two labels there is left out.

    Raises:
        ConfigError: another attribute has fewer than two labels there, or none is left.
    """
    filled = {a: labels or _labels_to_train_on(read, a) for a, labels in attributes.items()}
    lacking = [a for a in attributes if not attributes[a] and len(filled[a]) < 2]
    if set(lacking) - set(optional) or len(lacking) == len(filled):
        known = sorted({name for rows in read for name in rows.labels})
        counts = ", ".join(f"{len(filled[a])} of '{a}'" for a in lacking)
        raise ConfigError(
            f"attributes shall take their labels from the data, which holds {counts}; wanted: two "
            f"or more. The data labels {', '.join(known) or 'nothing'}"
        )
    return {a: labels for a, labels in filled.items() if a not in lacking}


def find_unlisted(
    read: Sequence[LabelledRows], attributes: dict[str, tuple[str, ...]]
) -> dict[str, list[str]]:
    """Returns for each attribute the labels in the data that it does not list, one a product."""
    unlisted = {}
    for attribute, labels in attributes.items():
        found = [label for rows in read for label in rows.labels.get(attribute, ()) if label]
        meant = read_as(labels)
        unknown = {label for label in set(found) if meant(label) is None}
        unlisted[attribute] = [label for label in found if label in unknown]
    return unlisted


def tell_unlisted(
    read: Sequence[LabelledRows], attributes: dict[str, tuple[str, ...]], of: str
) -> None:
    """Says how many products `of` these catalogs count as unlabelled though they have a label."""
    for attribute, unlisted in find_unlisted(read, attributes).items():
        if unlisted:
            say(
                f"{attribute}: {len(unlisted):,} products of {of} have a label that is not listed, "
                f"such as {name_some(unlisted)}; they count as unlabelled, and no figure or "
                "threshold knows of them"
            )


def read_to_measure(
    catalog: Path, attributes: dict[str, tuple[str, ...]], title: str
) -> LabelledProducts:
    """Reads a catalog to measure answers on, and says what of its labels is not measured.

    `title` is what that calls the catalog.

    Raises:
        ConfigError: the catalog cannot be read, or has no row.
    """
    read = read_catalogs([catalog])
    tell_unlisted(read, attributes, title)
    return join_catalogs(read, attributes)


def find_same_but_for_capitals(labels: Collection[str]) -> list[str]:
    """Returns the labels that differ from another one in capitals alone."""
    alone = set(spell_without_case(labels).values())
    return sorted(set(labels) - alone, key=lambda label: (label.lower(), label))


def find_absent(
    products: LabelledProducts, attributes: dict[str, tuple[str, ...]]
) -> dict[str, list[str]]:
    """Returns each attribute's labels that no product to train on has."""
    seen = [set(targets.tolist()) for targets in products.targets[products.split == TRAIN].T]
    return {
        attribute: [label for index, label in enumerate(labels) if index not in there]
        for (attribute, labels), there in zip(attributes.items(), seen, strict=True)
    }


def find_untested(products: LabelledProducts, attributes: dict[str, tuple[str, ...]]) -> list[str]:
    """Returns the attributes that no product to test has a label of."""
    is_tested = (products.targets[products.split == TEST] != UNLABELLED).any(axis=0)
    return [
        attribute for attribute, tested in zip(attributes, is_tested, strict=True) if not tested
    ]


def require_splits(read: Sequence[LabelledRows]) -> None:
    """Checks that there are products to train, to validate and to test, if catalogs name the split.

    Raises:
        ConfigError: one does.
    """
    if all(rows.split is None for rows in read):
        return  # groups are dealt out; whether there are enough of them is checked later
    there = {split for rows in read for split in splits_of(rows)}
    if lacking := [f"no {split.name.lower()}" for split in Split if split not in there]:
        raise ConfigError(
            f"the split that the catalogs name has {' and '.join(lacking)} product: give some "
            "products that split, or name no split, and a tenth of all groups goes to validation "
            "and to the test each"
        )


def require_labels(
    read: Sequence[LabelledRows],
    products: LabelledProducts,
    attributes: dict[str, tuple[str, ...]],
) -> None:
    """Checks that products to train on, to validate with and to test are labelled.

    `products` are those of the catalogs that were read, whose labels an error names.

    Raises:
        ConfigError: an attribute has no label to train on or to validate with, or none of them has
            one to test.
    """
    lacks = []
    for column, (attribute, labels) in enumerate(attributes.items()):
        labelled = products.split[products.targets[:, column] != UNLABELLED]
        # A split without any product is another error, which is raised elsewhere.
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
    if TEST in products.split and len(find_untested(products, attributes)) == len(attributes):
        raise ConfigError(
            f"no product to test has a label of {', '.join(attributes)}, so that nothing would be "
            "measured: label some, or give more products. Of catalogs that name no split, a tenth "
            "of all groups is to test"
        )


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
        for label, split in zip(rows.labels.get(attribute, ()), splits_of(rows), strict=False)
        if split == TRAIN and label is not None
    }
    return tuple(sorted(found))
