"""One training run from labelled catalogs to a checkpoint folder."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from enrich.classifiers.checkpoint import round_as_stored, save_checkpoint
from enrich.classifiers.interface import Classifier
from enrich.errors import ConfigError
from enrich.tokenizer import TextEncoder
from enrich.training.batches import Batches, open_batches
from enrich.training.config import TrainingConfig
from enrich.training.distributed import first_then_others, process_group, processes, rank
from enrich.training.evaluation import TRUSTED_UNDER, calibrate, evaluate
from enrich.training.labelled import (
    TEST,
    TRAIN,
    VALIDATION,
    LabelledProducts,
    load_labelled,
    require_labels,
    with_labels_of,
)
from enrich.training.loop import Trainer
from enrich.training.model_card import write_model_card
from enrich.training.names import refuse_same_names
from enrich.training.opinions import half_of, read_opinions, read_recipe, write_opinions
from enrich.training.progress import say
from enrich.training.start import keep_usable_phases, start_classifier
from enrich.training.trust import fit_trust

_TOWER_SETTINGS = "image_tower_training.yaml"
_OPINIONS_SETTINGS = "opinions_training.yaml"


@process_group()
def train_checkpoint(
    config: TrainingConfig,
    catalogs: list[Path],
    output: Path,
    *,
    strange_shops: list[Path] | None = None,
) -> dict[str, object] | None:
    """Trains, calibrates on validation groups, evaluates on test groups and writes a checkpoint.

    Args:
        config: Everything the run depends on beside its data.
        catalogs: Labelled catalogs, trained on together; folders, or `LAYOUT:PATH`.
        output: The checkpoint folder; the state to resume from lies in `<output>.training`.
        strange_shops: Labelled catalogs that are only evaluated on.

    Returns:
        The metrics, as in the checkpoint's `metrics.json`; None in all of torchrun's processes but
        the first, which writes the checkpoint.

    Raises:
        ConfigError: a catalog or the towers cannot be read, two catalogs have the same name, or
            there are too few products or labels.
    """
    strange_shops = strange_shops or []
    for what, folders in (("catalog", catalogs), ("strange shop", strange_shops)):
        refuse_same_names(what, [folder.name for folder in folders], "the metrics go")
    attributes = with_labels_of(catalogs, config.attributes)
    config = config.model_copy(update={"attributes": attributes})
    products = load_labelled(catalogs, config.attributes)
    require_labels(catalogs, products, config.attributes)
    splits = [np.flatnonzero(products.split == split) for split in (TRAIN, VALIDATION, TEST)]
    torch.manual_seed(config.seed)
    workspace = output.with_name(f"{output.name}.training")
    workspace.mkdir(parents=True, exist_ok=True)
    texts = [products.texts[row] for row in splits[TRAIN]]
    classifier, tokenizer = first_then_others(lambda: start_classifier(config, texts, workspace))
    config = keep_usable_phases(config, classifier)
    cache = config.cache or workspace / "cache"

    def batches_of(labelled: LabelledProducts) -> Batches:
        encoder = TextEncoder(tokenizer, config.text_length)
        return open_batches(labelled, classifier.config, encoder, cache)

    batches = first_then_others(lambda: batches_of(products))
    # Before anything is trained, so that a wrong folder shows at once.
    shops = {
        folder.name: batches_of(load_labelled([folder], config.attributes))
        for folder in strange_shops
        if rank() == 0
    }
    recipes = [read_recipe(file) for file in config.opinions]
    if config.opinions:
        heard_on = {name: config.attributes[name] for name in config.opinion_shares}
        batches.opinions = read_opinions(config.opinions, products, heard_on)
    train_rows, validation_rows, test_rows = (batches.readable(rows) for rows in splits)
    if config.half is not None:
        is_mine = half_of(products.groups)[train_rows] == config.half
        train_rows, other_half = train_rows[is_mine], train_rows[~is_mine]
    say(
        f"{len(products):,} products: {len(train_rows):,} to train on, "
        f"{len(validation_rows):,} to validate, {len(test_rows):,} to test"
    )
    _check_sizes(config, len(train_rows), len(validation_rows), len(test_rows))
    trainer = Trainer(classifier, batches, config, train_rows, validation_rows, workspace)
    trainer.train()
    if rank() > 0:
        return None

    round_as_stored(classifier)
    batches.see_once(classifier, trainer.device)
    if config.half is not None:
        file = output.with_name(f"{output.name}.opinions.npz")
        write_opinions(file, config, classifier, batches, other_half, trainer.device)
        say(f"opinions of the other half: {file}")
    fit_trust(classifier, batches, validation_rows, trainer.device, TRUSTED_UNDER)
    calibration = calibrate(
        classifier, batches, validation_rows, trainer.device, trainer.log_priors()
    )
    metrics: dict[str, object] = {
        "products": {
            "train": len(train_rows),
            "validation": len(validation_rows),
            "test": len(test_rows),
        },
    }
    # Each catalog apart: easy products of one must not flatter the figures of another.
    for number, folder in enumerate(catalogs):
        rows = test_rows[products.catalog[test_rows] == number]
        metrics[f"test_groups_{folder.name}"] = evaluate(
            classifier, batches, rows, trainer.device, calibration
        )
    for name, shop in shops.items():
        shop.see_once(classifier, trainer.device)
        rows = np.arange(len(shop.products))
        metrics[f"strange_shop_{name}"] = evaluate(
            classifier, shop, rows, trainer.device, calibration
        )
    tower_settings = _find_tower_settings(config, classifier)
    names = [c.name for c in catalogs]
    card = write_model_card(
        classifier.config, config, metrics, names, tells_of_tower=tower_settings is not None
    )
    settings = _settings_files(config, tower_settings, recipes)
    save_checkpoint(output, classifier, tokenizer, calibration, metrics, card, settings)
    for name in {_TOWER_SETTINGS, _OPINIONS_SETTINGS} - settings.keys():
        (output / name).unlink(missing_ok=True)
    return metrics


def _settings_files(
    config: TrainingConfig, tower_settings: Path | None, recipes: list[dict[str, Any]]
) -> dict[str, str]:
    """Returns all settings, defaults too, so that they outlive a change of defaults.

    Beside them those of what was trained before: the image tower, and who had opinions.
    """
    settings = config.model_dump(mode="json", exclude={"cache"})
    files = {"training.yaml": yaml.safe_dump(settings, sort_keys=False)}
    if tower_settings is not None:
        files[_TOWER_SETTINGS] = tower_settings.read_text()
    if recipes:
        files[_OPINIONS_SETTINGS] = yaml.safe_dump_all(recipes, sort_keys=False)
    return files


def _find_tower_settings(config: TrainingConfig, classifier: Classifier) -> Path | None:
    """Returns what the checkpoint says of its training that the image tower was taken from."""
    if config.image_tower is None or classifier.image_tower.absent:
        return None
    file = config.image_tower / "training.yaml"
    return file if file.exists() else None


def _check_sizes(config: TrainingConfig, train: int, validation: int, test: int) -> None:
    if train < config.batch_size:
        raise ConfigError(
            f"{train} products to train on do not fill one batch of {config.batch_size}; "
            "give more, or lower batch_size"
        )
    parts = config.accumulate * processes()
    if config.batch_size < 2 * parts:
        raise ConfigError(
            f"a batch of {config.batch_size} in {parts} parts (accumulate {config.accumulate}, "
            f"{processes()} process(es)) leaves fewer than 2 products a part; raise batch_size"
        )
    if not validation or not test:
        raise ConfigError(
            f"{validation} products to validate and {test} to test; a tenth of all groups goes to "
            "each, and neither may be empty: give more products"
        )
