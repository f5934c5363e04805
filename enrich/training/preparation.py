"""Everything that a training run has before its first step.

Settings, labels or catalogs that cannot be trained on are refused here.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from schemas.labels import LABEL_WORDS
from tokenizers import Tokenizer

from enrich.classifiers.interface import Classifier
from enrich.errors import ConfigError, name_some
from enrich.lexicon import Lexicon
from enrich.progress import say
from enrich.ranks import rank
from enrich.text import spell_without_case
from enrich.tokenizer import TextEncoder
from enrich.training.augmentation import LabelWords
from enrich.training.batches import Batches, open_batches
from enrich.training.config import TrainingConfig
from enrich.training.distributed import first_then_others, processes
from enrich.training.labelled import (
    TEST,
    TRAIN,
    UNLABELLED,
    VALIDATION,
    LabelledProducts,
    count_known_tests,
    count_split_groups,
    half_of,
    join_catalogs,
    name_catalog,
    read_catalogs,
    read_to_measure,
    require_any_label,
    splits_of,
    tell_unlisted,
)
from enrich.training.readers import LabelledRows, Split
from enrich.training.start import collect_recipes, keep_usable_phases, start_classifier

_PURPOSES = {TRAIN: "to train on", VALIDATION: "to validate with"}


@dataclass(frozen=True, slots=True)
class Rows:
    """Which products a run uses for what: row numbers."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, slots=True)
class Preparation:
    """A classifier on its published weights, and the products that it will be trained on.

    `config` has its labels filled in from the data, counts the parts of all processes in
    `accumulate`, and has no phase that cannot train the classifier.
    `recipes` are the checkpoint's files that say how it was trained. `shops` are the strange ones
    by name; the first of torchrun's processes alone opens them.
    """

    config: TrainingConfig
    classifier: Classifier
    tokenizer: Tokenizer
    recipes: dict[str, str]
    batches: Batches
    rows: Rows
    shops: dict[str, Batches]


def prepare(
    config: TrainingConfig, catalogs: list[Path], strange_shops: Sequence[Path], workspace: Path
) -> Preparation:
    """Read the products and starts the classifier.

    Args:
        config: The training run's configuration.
        catalogs: Labelled catalogs, trained on together; folders, or `LAYOUT:PATH`.
        strange_shops: Labelled catalogs that are only evaluated on.
        workspace: Folder of what the run keeps, its cache too where the configuration names none.

    Raises:
        ConfigError: a catalog or the towers cannot be read, or there are too few products or
            labels.
    """
    config, products = read_training_products(config, catalogs)
    # Only the first of several processes measures.
    strange = {
        name_catalog(shop): read_strange_shop(shop, config.attributes)
        for shop in strange_shops
        if rank() == 0
    }
    classifier, tokenizer = _start(config, products, workspace)
    config = keep_usable_phases(config, classifier)
    open_products = partial(
        open_batches,
        shape=classifier.config.image,
        encoder=TextEncoder(tokenizer, config.text_length),
        label_words=LabelWords(config.attributes, Lexicon.of_labels(LABEL_WORDS)),
        cache=config.cache or workspace / "cache",
    )
    batches = first_then_others(lambda: open_products(products))
    shops = {name: open_products(shop) for name, shop in strange.items()}
    recipes = collect_recipes(config, classifier)
    rows = _choose_rows(config, batches)
    return Preparation(config, classifier, tokenizer, recipes, batches, rows, shops)


def _start(
    config: TrainingConfig, products: LabelledProducts, workspace: Path
) -> tuple[Classifier, Tokenizer]:
    """Return the classifier that training starts from, the same one in every process."""
    torch.manual_seed(config.seed)
    workspace.mkdir(parents=True, exist_ok=True)
    texts = [products.texts[row] for row in np.flatnonzero(products.split == TRAIN)]
    return first_then_others(lambda: start_classifier(config, texts, workspace))


def _choose_rows(config: TrainingConfig, batches: Batches) -> Rows:
    """Return what each readable product is for, and says how many there are of each.

    Raises:
        ConfigError: there are too few.
    """
    products = batches.products
    rows = _share_out(products, config.half, batches.readable(np.arange(len(products))))
    say(
        f"{len(products):,} products: {len(rows.train):,} to train on, {len(rows.validation):,} to "
        f"validate, {len(rows.test):,} to test"
    )
    _require_enough(config, rows)
    return rows


def read_strange_shop(shop: Path, attributes: dict[str, tuple[str, ...]]) -> LabelledProducts:
    """Return the products of a catalog that is only evaluated on.

    Raises:
        ConfigError: the catalog cannot be read, or holds none of the labels.
    """
    products = read_to_measure(shop, attributes, f"the strange shop {name_catalog(shop)}")
    require_any_label(products, attributes, shop)
    return products


def read_training_products(
    config: TrainingConfig, catalogs: list[Path]
) -> tuple[TrainingConfig, LabelledProducts]:
    """Return the configuration with all labels, and the products.

    There, `accumulate` counts the parts of all processes.

    Raises:
        ConfigError: a catalog cannot be read, or a split lacks products or labels. Whether texts
            and pictures can be read is not known yet.
    """
    read = read_catalogs(catalogs)
    require_splits(read)
    attributes = with_labels_of(read, config.attributes, config.optional_attributes)
    if unknown := set(config.optional_attributes) - set(config.attributes):
        say(f"optional_attributes that are no attributes: {', '.join(sorted(unknown))}")
    if left_out := set(config.attributes) - set(attributes):
        say(f"left out, as no two labels are there to train on: {', '.join(sorted(left_out))}")
    products = join_catalogs(read, attributes)
    require_labels(read, products, attributes)
    tell_unlisted(read, attributes, "the catalogs")
    _tell_labels(products, attributes)
    _tell_leaks(products)
    # What one process reaches in as many parts: so its settings give the same weights again, and a
    # killed training does not go on in other parts.
    parts = config.accumulate * processes()
    update = {"attributes": attributes, "accumulate": parts}
    config = config.model_copy(update=update)
    _require_enough(config, _share_out(products, config.half, np.arange(len(products))))
    return config, products


def _tell_labels(products: LabelledProducts, attributes: dict[str, tuple[str, ...]]) -> None:
    """Say what will keep labels from being answered well, or from being measured."""
    for attribute in find_untested(products, attributes):
        say(f"{attribute}: no product to test has a label: there will be no figure of it")
    for attribute, absent in find_absent(products, attributes).items():
        if absent:
            lacking = f"a label of {len(absent)}: {name_some(absent)}"
            say(f"{attribute}: no product to train on has {lacking}")
    for attribute, labels in attributes.items():
        if same := find_same_but_for_capitals(labels):
            say(
                f"{attribute}: {len(same)} labels differ from another one in capitals alone: "
                f"{name_some(same)}. They share the confidence of one. Spell them alike in the "
                "data, or list each once under attributes: then capitals do not count"
            )


def _tell_leaks(products: LabelledProducts) -> None:
    """Say what will make figures of the test flatter."""
    if split_groups := count_split_groups(products):
        say(
            f"{split_groups:,} groups of near-identical products are in more than one split, as "
            "the catalogs name them: figures of the test will flatter"
        )
    if known := count_known_tests(products):
        say(
            f"{known:,} products to test share a text or a picture with one to train on: figures "
            "of the test may flatter. Products of one group_id are in one split"
        )


def _share_out(products: LabelledProducts, half: int | None, rows: np.ndarray) -> Rows:
    split = products.split[rows]
    train, validation, test = (rows[split == part] for part in (TRAIN, VALIDATION, TEST))
    is_mine = np.full(len(train), True) if half is None else half_of(products.groups)[train] == half
    return Rows(train[is_mine], validation, test)


def _require_enough(config: TrainingConfig, rows: Rows) -> None:
    """Raise ConfigError where these are too few."""
    train, validation, test = len(rows.train), len(rows.validation), len(rows.test)
    if train < config.batch_size:
        raise ConfigError(
            f"{train} products to train on do not fill one batch of {config.batch_size}; "
            "give more, or lower batch_size"
        )
    if config.batch_size < 2 * config.accumulate:
        raise ConfigError(
            f"a batch of {config.batch_size} in {config.accumulate} parts (accumulate times "
            f"{processes()} process(es)) leaves fewer than 2 products a part; raise batch_size"
        )
    if not validation or not test:
        raise ConfigError(
            f"{validation} products to validate and {test} to test, and neither may be none: give "
            "more products. Of catalogs that name no split, a tenth of all groups goes to each; "
            "without a group_id, products that share a text or a picture are one group"
        )


def with_labels_of(
    read: Sequence[LabelledRows],
    attributes: dict[str, tuple[str, ...]],
    optional: Collection[str] = (),
) -> dict[str, tuple[str, ...]]:
    """Return the attributes; one without labels gets those of the rows to train on, sorted.

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


def find_same_but_for_capitals(labels: Collection[str]) -> list[str]:
    """Return the labels that differ from another one in capitals alone."""
    alone = set(spell_without_case(labels).values())
    return sorted(set(labels) - alone, key=lambda label: (label.lower(), label))


def find_absent(
    products: LabelledProducts, attributes: dict[str, tuple[str, ...]]
) -> dict[str, list[str]]:
    """Return each attribute's labels that no product to train on has."""
    seen = [set(targets.tolist()) for targets in products.targets[products.split == TRAIN].T]
    return {
        attribute: [label for index, label in enumerate(labels) if index not in there]
        for (attribute, labels), there in zip(attributes.items(), seen, strict=True)
    }


def find_untested(products: LabelledProducts, attributes: dict[str, tuple[str, ...]]) -> list[str]:
    """Return the attributes that no product to test has a label of."""
    is_tested = (products.targets[products.split == TEST] != UNLABELLED).any(axis=0)
    return [
        attribute for attribute, tested in zip(attributes, is_tested, strict=True) if not tested
    ]


def require_splits(read: Sequence[LabelledRows]) -> None:
    """Check that there are products to train, to validate and to test, if catalogs name the split.

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
    """Check that products to train on, to validate with and to test are labelled.

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
