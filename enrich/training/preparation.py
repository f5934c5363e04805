"""Everything that a training run has before its first step.

That is its products, and a classifier on published weights with its tokenizer. Settings, labels or
catalogs that cannot be trained on are refused here.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from schemas.labels import LABEL_WORDS, RESERVED
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from enrich.classifiers.checkpoint import build_classifier
from enrich.classifiers.config import Architecture, ClassifierConfig
from enrich.classifiers.interface import Classifier
from enrich.classifiers.joint import Coca
from enrich.classifiers.towers import TextEncoder
from enrich.errors import ConfigError, name_some
from enrich.lexicon import Lexicon
from enrich.places import atomic_write
from enrich.terminal import rank, say
from enrich.training.augmentation import LabelWords
from enrich.training.batches import Batches, open_batches
from enrich.training.config import OPEN_CLIP, SMALL, PublishedPair, TrainingConfig
from enrich.training.distributed import first_then_others, processes
from enrich.training.labelled import (
    TEST,
    TRAIN,
    UNLABELLED,
    VALIDATION,
    LabelledProducts,
    count_known_tests,
    divide,
    join_catalogs,
    name_catalog,
    read_catalogs,
    read_to_measure,
    splits_of,
    tell_unlisted,
)
from enrich.training.pretrained import (
    PublishedTowers,
    load_efficientnet_weights,
    load_image_tower,
    load_parts,
    load_text_tower,
    open_hugging_face,
    open_open_clip,
    open_pair,
    open_small_tokenizer,
    small_image_shape,
)
from enrich.training.readers import LabelledRows

_PURPOSES = {TRAIN: "to train on", VALIDATION: "to validate with"}


@dataclass(frozen=True, slots=True)
class Rows:
    """Row numbers of the products of each split."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, slots=True)
class Preparation:
    """A classifier on its published weights, and the products to train on.

    `config` has labels filled in from the data, the parts of all processes in `accumulate`, and
    only phases that can train the classifier. Only the first of torchrun's processes has
    `unseen_sources`.
    """

    config: TrainingConfig
    classifier: Classifier
    tokenizer: Tokenizer
    batches: Batches
    rows: Rows
    unseen_sources: dict[str, Batches]


def prepare(
    config: TrainingConfig, catalogs: list[Path], unseen_sources: Sequence[Path], workspace: Path
) -> Preparation:
    """Read the products and start the classifier.

    `workspace` is the folder of the run's state, and of its cache if the settings name no other.
    """
    config, products = read_training_products(config, catalogs)
    # Only the first of several processes evaluates.
    to_measure = {
        name_catalog(source): read_to_measure(source, config.attributes)
        for source in unseen_sources
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
        varies=config.augmentation == "catalog",
    )
    batches = first_then_others(lambda: open_products(products))
    opened = {name: open_products(source) for name, source in to_measure.items()}
    rows = choose_rows(config, batches)
    return Preparation(config, classifier, tokenizer, batches, rows, opened)


def _start(
    config: TrainingConfig, products: LabelledProducts, workspace: Path
) -> tuple[Classifier, Tokenizer]:
    """Return the classifier that training starts from, the same in every process."""
    torch.manual_seed(config.seed)
    workspace.mkdir(parents=True, exist_ok=True)
    texts = [products.texts[row] for row in np.flatnonzero(products.split == TRAIN)]
    return first_then_others(lambda: start_classifier(config, texts, workspace))


def choose_rows(config: TrainingConfig, batches: Batches) -> Rows:
    """Return the readable rows of each split, and log their numbers."""
    products = batches.products
    rows = _share_out(products, config.half, batches.readable(np.arange(len(products))))
    say(
        f"{len(products):,} products: {len(rows.train):,} to train on, {len(rows.validation):,} to "
        f"validate, {len(rows.test):,} to test"
    )
    _require_enough(config, rows)
    return rows


def read_training_products(
    config: TrainingConfig, catalogs: list[Path]
) -> tuple[TrainingConfig, LabelledProducts]:
    """Return the settings with all labels, and the products.

    `accumulate` of these settings counts the parts of all processes. Texts and pictures are not
    read yet. Raises ConfigError if a catalog cannot be read, or a split lacks products or labels.
    """
    read, _ = divide(read_catalogs(catalogs), config.leave_out)
    attributes = with_labels_of(read, config.attributes, config.optional_attributes)
    if unknown := set(config.optional_attributes) - set(config.attributes):
        say(f"optional_attributes that attributes lacks: {', '.join(sorted(unknown))}")
    if left_out := set(config.attributes) - set(attributes):
        say(f"left out, with fewer than two labels to train on: {', '.join(sorted(left_out))}")
    products = join_catalogs(read, attributes)
    require_labels(read, products, attributes)
    tell_unlisted(read, attributes, "the catalogs")
    _tell_labels(products, attributes)
    _tell_leaks(products)
    # One process reaches the same weights in as many parts. So the settings reproduce the run, and
    # a killed training does not continue in other parts.
    parts = config.accumulate * processes()
    update = {"attributes": attributes, "accumulate": parts}
    config = config.model_copy(update=update)
    _require_enough(config, _share_out(products, config.half, np.arange(len(products))))
    return config, products


def _tell_labels(products: LabelledProducts, attributes: dict[str, tuple[str, ...]]) -> None:
    """Log which labels cannot be learnt or measured."""
    for column, (attribute, labels) in enumerate(attributes.items()):
        targets = products.targets[:, column]
        if (targets[products.split == TEST] == UNLABELLED).all():
            say(f"{attribute}: 0 products to test have a label, so it will not be measured")
        seen = set(targets[products.split == TRAIN].tolist())
        if absent := [label for at, label in enumerate(labels) if at not in seen]:
            say(
                f"{attribute}: 0 products to train on for {len(absent)} labels: {name_some(absent)}"
            )


def _tell_leaks(products: LabelledProducts) -> None:
    """Log what will make figures of the test flatter."""
    if known := count_known_tests(products):
        say(
            f"{known:,} products to test share a group, a text or a picture with one to train on: "
            "figures of the test may flatter. Give such products one group_id, and one split."
        )


def _share_out(products: LabelledProducts, half: int | None, rows: np.ndarray) -> Rows:
    split = products.split[rows]
    train, validation, test = (rows[split == part] for part in (TRAIN, VALIDATION, TEST))
    is_mine = np.full(len(train), True) if half is None else products.half[train] == half
    return Rows(train[is_mine], validation, test)


def _require_enough(config: TrainingConfig, rows: Rows) -> None:
    """Raise ConfigError if a split, or a part of a batch, has too few rows."""
    train, validation, test = len(rows.train), len(rows.validation), len(rows.test)
    if train < config.batch_size:
        raise ConfigError(
            f"products to train on are too few: found {train}, expected a batch of "
            f"{config.batch_size}. Give more products, or lower batch_size."
        )
    if config.batch_size < 2 * config.accumulate:
        raise ConfigError(
            f"batch_size is too small: found {config.batch_size} products for {config.accumulate} "
            f"parts (accumulate times {processes()} process(es)), expected 2 or more a part. Raise "
            "batch_size."
        )
    if not validation or not test:
        raise ConfigError(
            f"held-back products are too few: found {validation} to validate and {test} to test, "
            "expected 1 or more of each. Give more products: a tenth of all groups goes to each "
            "unless the catalog names splits, and without a group_id, products that share a text "
            "or a picture are one group."
        )


def with_labels_of(
    read: Sequence[LabelledRows],
    attributes: dict[str, tuple[str, ...]],
    optional: Collection[str] = (),
) -> dict[str, tuple[str, ...]]:
    """Return the attributes, with labels of the rows to train on where they have none.

    An optional attribute with fewer than two labels in the data is left out. Raises ConfigError if
    another attribute has fewer than two labels, or 0 attributes are left.
    """
    filled = {a: labels or _labels_to_train_on(read, a) for a, labels in attributes.items()}
    lacking = [a for a in attributes if not attributes[a] and len(filled[a]) < 2]
    if set(lacking) - set(optional) or len(lacking) == len(filled):
        known = sorted({name for rows in read for name in rows.labels})
        counts = ", ".join(f"{len(filled[a])} of '{a}'" for a in lacking)
        raise ConfigError(
            f"labels from the data are too few: found {counts}, expected two or more. The data "
            f"labels {', '.join(known) or 'nothing'}."
        )
    return {a: labels for a, labels in filled.items() if a not in lacking}


def require_labels(
    read: Sequence[LabelledRows], products: LabelledProducts, attributes: dict[str, tuple[str, ...]]
) -> None:
    """Raise ConfigError if a split has no labels of an attribute, or tests of none."""
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
                f"attribute '{attribute}' lacks labels {' and '.join(lacking)}: found "
                f"{_name_labels(read, attribute) or 'none'}, expected {name_some(labels)}"
            )
    if lacks:
        raise ConfigError(f"{'. '.join(lacks)}. Correct the labels, or give more products.")
    to_test = products.targets[products.split == TEST]
    if len(to_test) and (to_test == UNLABELLED).all():
        raise ConfigError(
            f"products to test are not labelled: found 0 labels of {', '.join(attributes)}, "
            "expected 1 or more. Label some, or give more products: a tenth of all groups is to "
            "test."
        )


def _name_labels(read: Sequence[LabelledRows], attribute: str) -> str:
    found = (label for rows in read for label in rows.labels.get(attribute, []))
    return name_some(label for label in found if label is not None)


def _labels_to_train_on(read: Sequence[LabelledRows], attribute: str) -> tuple[str, ...]:
    found = Counter(
        label
        for rows in read
        for label, split in zip(rows.labels.get(attribute, ()), splits_of(rows), strict=False)
        # Labels for products that the others do not fit are no classes to learn.
        if split == TRAIN and label is not None and label.casefold() not in RESERVED
    )
    # Of labels that differ in capitals alone the commonest spelling stays.
    spelled = {label.casefold(): label for label, _ in reversed(found.most_common())}
    return tuple(sorted(spelled.values()))


# Settings that one classifier alone reads. `matching` is left out, because recipes for all
# classifiers set it.
_SWITCHES = {
    "cma_clip": ("sequence_wise", "modality_wise"),
    "clip_zero_shot": ("prompt", "prompts"),
    "embracenet": ("selection_probabilities",),
}

_SPECIAL = ["<pad>", "<start>", "<end>"]


def start_classifier(
    config: TrainingConfig, texts: list[str], folder: Path
) -> tuple[Classifier, Tokenizer]:
    """Build the classifier on its published weights, with its tokenizer.

    For towers without a tokenizer one is trained on the texts and kept in `folder`, so that a
    resumed run reads the same ids. Raises ConfigError if the published weights cannot be read, or
    do not fit this classifier.
    """
    _tell_unused(config)
    published = _open_towers(config, texts, folder)
    classifier = _build(config, published)
    if published.parts:
        load_parts(classifier, published.parts)
    if config.on_small_image_tower and not classifier.image_tower.absent:
        backbone = classifier.image_tower.pretrained()
        if config.image_tower is None:
            load_efficientnet_weights(backbone)
        else:
            load_image_tower(backbone, config.image_tower)
    if config.text_tower is not None:
        load_text_tower(classifier.text_tower, config.text_tower)
    if isinstance(classifier, Coca):
        classifier.word_scores = published.word_scores
    classifier.read_tokenizer(TextEncoder(published.tokenizer, config.text_length))
    return classifier, published.tokenizer


def keep_usable_phases(config: TrainingConfig, classifier: Classifier) -> TrainingConfig:
    """Return the settings with only those phases whose loss can train the classifier.

    So one file serves all classifiers: zero-shot takes its contrastive phases, a classifier of a
    single modality its multitask phases.
    """
    phases = tuple(phase for phase in config.phases if phase.loss in classifier.trained_by)
    if left_out := len(config.phases) - len(phases):
        losses = " and ".join(sorted(classifier.trained_by))
        say(f"{config.classifier} is trained by {losses} phases alone: {left_out} left out")
    if "multitask" in classifier.trained_by:
        if not any(phase.loss == "multitask" for phase in phases):
            raise ConfigError(
                f"{config.classifier} cannot be trained: found 0 multitask phases, expected 1 or "
                "more for its heads. Add one to phases."
            )
    elif not phases and (config.towers == SMALL or isinstance(config.towers, PublishedPair)):
        raise ConfigError(
            f"{config.classifier} cannot be trained: found towers that were not trained to compare "
            "images with texts, expected a CLIP or a contrastive phase"
        )
    return config.model_copy(update={"phases": phases})


def _tell_unused(config: TrainingConfig) -> None:
    """Log switches without effect, before the same classifier is trained twice."""
    fields = Architecture.model_fields
    for owner, switches in _SWITCHES.items():
        given = [name for name in switches if getattr(config, name) != fields[name].default]
        if given and config.classifier != owner:
            say(f"without effect, as {owner} alone reads it: {', '.join(given)}")
    if unknown := config.prompts.keys() - config.attributes.keys():
        say(f"prompts of attributes that are not trained: {', '.join(sorted(unknown))}")


def _build(config: TrainingConfig, published: PublishedTowers) -> Classifier:
    try:
        return build_classifier(
            ClassifierConfig(
                name=config.name,
                towers=published.towers,
                image=published.image,
                text_length=config.text_length,
                attributes=config.attributes,
                **{field: getattr(config, field) for field in Architecture.model_fields},
            ),
            published.tokenizer.get_vocab_size(),
        )
    except ValueError as error:
        raise ConfigError(f"settings of the classifier are wrong: {error}") from error


def _open_towers(config: TrainingConfig, texts: list[str], folder: Path) -> PublishedTowers:
    if isinstance(config.towers, PublishedPair):
        return open_pair(config.towers, config.small_towers, config.image_size_px)
    if config.towers.startswith(OPEN_CLIP):
        return open_open_clip(config.towers.removeprefix(OPEN_CLIP))
    if config.towers != SMALL:
        return open_hugging_face(config.towers)
    shape = small_image_shape(config.image_size_px)
    return PublishedTowers(config.small_towers, shape, _keep_tokenizer(config, texts, folder), {})


def _keep_tokenizer(config: TrainingConfig, texts: list[str], folder: Path) -> Tokenizer:
    """Return the tokenizer of these texts, as an earlier attempt at the run left it."""
    if config.text_tower is not None:
        return open_small_tokenizer(config.text_tower)
    digest = hashlib.sha256(repr((config.vocabulary, texts)).encode()).hexdigest()[:12]
    file = folder / f"tokenizer-{digest}.json"
    if not file.exists():
        with atomic_write(file) as partial:
            train_tokenizer(texts, config.vocabulary).save(str(partial))
    return Tokenizer.from_file(str(file))


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Train a lower-casing byte-level BPE tokenizer, which encodes any script.

    Every text ends in `<end>`, also when it is cut, because that token stands for the whole text.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=3,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in _SPECIAL[1:]],
    )
    return tokenizer
