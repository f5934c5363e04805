"""One training run from labelled catalogs to a checkpoint folder."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from schemas.labels import LABEL_WORDS
from tokenizers import Tokenizer
from transformers import CLIPModel

from enrich.classifiers.checkpoint import save_checkpoint
from enrich.classifiers.config import Architecture, ClassifierConfig
from enrich.classifiers.interface import Classifier
from enrich.classifiers.registry import build_classifier
from enrich.errors import ConfigError
from enrich.preprocess import ImageShape
from enrich.tokenizer import TextEncoder
from enrich.training.batches import Batches, LabelWords
from enrich.training.cache import cache_pixels
from enrich.training.config import TrainingConfig
from enrich.training.evaluation import calibrate, evaluate
from enrich.training.labelled import (
    TEST,
    TRAIN,
    VALIDATION,
    LabelledProducts,
    load_labelled,
)
from enrich.training.loop import Trainer
from enrich.training.model_card import write_model_card
from enrich.training.pretrained import (
    load_clip_weights,
    load_efficientnet_weights,
    open_clip_towers,
)
from enrich.training.tokenizers import train_tokenizer

_console = Console(stderr=True)


def train_checkpoint(
    config: TrainingConfig,
    catalogs: list[Path],
    output: Path,
    *,
    strange_shops: list[Path] | None = None,
) -> dict[str, object]:
    """Trains, calibrates on validation groups, evaluates on test groups and writes a checkpoint.

    Args:
        config: Everything the run depends on beside its data.
        catalogs: Labelled catalog folders, trained on together.
        output: The checkpoint folder; the state to resume from lies in `<output>.training`.
        strange_shops: Labelled catalogs that are only evaluated on.

    Returns:
        The metrics, as in the checkpoint's `metrics.json`.

    Raises:
        ConfigError: a catalog or the towers cannot be read, or there are too few products.
    """
    products = load_labelled(catalogs, config.attributes)
    train_rows, validation_rows, test_rows = (
        np.flatnonzero(products.split == split) for split in (TRAIN, VALIDATION, TEST)
    )
    _console.print(
        f"{len(products):,} products: {len(train_rows):,} to train on, "
        f"{len(validation_rows):,} to validate, {len(test_rows):,} to test"
    )
    _check_sizes(config, len(train_rows), len(validation_rows), len(test_rows))
    torch.manual_seed(config.seed)
    workspace = output.with_name(f"{output.name}.training")
    workspace.mkdir(parents=True, exist_ok=True)
    classifier, tokenizer = _start_classifier(
        config, [products.texts[row] for row in train_rows], workspace / "tokenizer.json"
    )
    cache = config.cache or workspace / "cache"

    def batches_of(labelled: LabelledProducts) -> Batches:
        return Batches(
            labelled,
            cache_pixels(labelled, classifier.config.image, cache),
            TextEncoder(tokenizer, config.text_length),
            LabelWords(config.attributes, LABEL_WORDS),
        )

    batches = batches_of(products)
    trainer = Trainer(classifier, batches, config, train_rows, validation_rows, workspace)
    trainer.train()

    batches.features = None
    calibration = calibrate(classifier, batches, validation_rows, trainer.device)
    metrics: dict[str, object] = {
        "products": {
            "train": len(train_rows),
            "validation": len(validation_rows),
            "test": len(test_rows),
        },
    }
    # Each catalog apart: easy products of one must not flatter the figures of another.
    roots = np.array(products.image_roots)
    for folder in catalogs:
        rows = test_rows[roots[test_rows] == str(folder)]
        metrics[f"test_groups_{folder.name}"] = evaluate(
            classifier, batches, rows, trainer.device, calibration
        )
    for folder in strange_shops or []:
        shop = load_labelled([folder], config.attributes)
        rows = np.arange(len(shop))
        metrics[f"strange_shop_{folder.name}"] = evaluate(
            classifier, batches_of(shop), rows, trainer.device, calibration
        )
    card = write_model_card(classifier.config, config, metrics, [c.name for c in catalogs])
    save_checkpoint(output, classifier, tokenizer, calibration, metrics, card)
    return metrics


def _check_sizes(config: TrainingConfig, train: int, validation: int, test: int) -> None:
    if train < config.batch_size:
        raise ConfigError(
            f"{train} products to train on do not fill one batch of {config.batch_size}; "
            "give more, or lower batch_size"
        )
    if not validation or not test:
        raise ConfigError(
            f"{validation} products to validate and {test} to test; a tenth of all groups goes to "
            "each, and neither may be empty: give more products"
        )


def _start_classifier(
    config: TrainingConfig, texts: list[str], tokenizer_file: Path
) -> tuple[Classifier, Tokenizer]:
    """Returns the classifier on its published weights, and its tokenizer.

    A resumed run must read the same token ids, so a trained tokenizer is kept beside its state.
    """
    if config.towers == "small":
        if not tokenizer_file.exists():
            train_tokenizer(texts, config.vocabulary).save(str(tokenizer_file))
        tokenizer = Tokenizer.from_file(str(tokenizer_file))
        classifier = _build(config, config.small_towers, _SMALL_SHAPE, tokenizer)
        load_efficientnet_weights(classifier.image_tower.pretrained())
        return classifier, tokenizer
    towers, clip, tokenizer = open_clip_towers(config.towers)
    classifier = _build(config, towers, _clip_shape(clip), tokenizer)
    load_clip_weights(classifier, clip)
    return classifier, tokenizer


# What the published EfficientNet-Lite weights were trained with.
_SMALL_SHAPE = {"fit": "pad", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


def _clip_shape(clip: CLIPModel) -> dict[str, object]:
    """Returns OpenAI CLIP's own preprocessing, shared by nearly all of its descendants."""
    return {
        "size_px": clip.config.vision_config.image_size,
        "fit": "crop",
        "mean": (0.48145466, 0.4578275, 0.40821073),
        "std": (0.26862954, 0.26130258, 0.27577711),
    }


def _build(
    config: TrainingConfig, towers: object, shape: Mapping[str, object], tokenizer: Tokenizer
) -> Classifier:
    return build_classifier(
        ClassifierConfig(
            name=config.name,
            towers=towers,  # type: ignore[arg-type]
            image=ImageShape(**{"size_px": config.image_size_px, **shape}),  # type: ignore[arg-type]
            text_length=config.text_length,
            attributes=config.attributes,
            **{field: getattr(config, field) for field in Architecture.model_fields},
        ),
        tokenizer.get_vocab_size(),
    )
