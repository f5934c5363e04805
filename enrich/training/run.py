"""One training run from labelled catalogs to a checkpoint folder."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from enrich.calibration import Calibration
from enrich.classifiers.checkpoint import round_as_stored, save_checkpoint
from enrich.classifiers.cma_clip import cls_of
from enrich.classifiers.interface import Vectors
from enrich.errors import ConfigError
from enrich.files.targets import refuse_existing, require_writable
from enrich.progress import say
from enrich.ranks import rank
from enrich.records import Modalities
from enrich.training.batches import Batches
from enrich.training.conditions import (
    CALIBRATED_UNDER,
    TRUSTED_UNDER,
    Condition,
    only_shown,
    shown_in_training,
)
from enrich.training.config import TrainingConfig
from enrich.training.distributed import process_group
from enrich.training.evaluation import ask, calibrate, evaluate
from enrich.training.labelled import count_known_tests, count_split_groups
from enrich.training.loop import Trainer
from enrich.training.model_card import format_model_card
from enrich.training.names import name_catalog, refuse_same_names
from enrich.training.preparation import (
    Preparation,
    prepare,
    read_strange_shop,
    read_training_products,
)
from enrich.training.readers.layouts import locate
from enrich.training.recipes import TOWER_RECIPE, remove_others
from enrich.training.trust import fit_trust
from enrich.unseen import FEWEST, SAMPLE, Reference


@process_group()
def train_checkpoint(
    config: TrainingConfig,
    catalogs: list[Path],
    output: Path,
    *,
    strange_shops: Sequence[Path] = (),
) -> dict[str, object] | None:
    """Trains, calibrates on validation groups, evaluates on test groups and writes a checkpoint.

    Args:
        config: Everything the run depends on beside its data.
        catalogs: Labelled catalogs, trained on together; folders, or `LAYOUT:PATH`.
        output: The checkpoint folder; the state to resume from lies in `<output>.training`.
        strange_shops: Labelled catalogs that are only evaluated on.

    Returns:
        The metrics, as the checkpoint's `metrics.json` holds them beside its digest; None in all of
        torchrun's processes but the first, which writes the checkpoint.

    Raises:
        ConfigError: a catalog or the towers cannot be read, two catalogs have the same name, or
            there are too few products or labels, or files stand where folders are to be written.
    """
    names = [*map(name_catalog, catalogs)]
    _check_paths(catalogs, output, strange_shops)
    workspace = _workspace(output)
    run = prepare(config, catalogs, strange_shops, workspace)
    rows, batches = run.rows, run.batches
    trainer = Trainer(run.classifier, batches, run.config, rows.train, rows.validation, workspace)
    trainer.train()
    if rank() > 0:
        return None
    round_as_stored(run.classifier)
    _see(run, batches)
    shown = shown_in_training(run.config)
    if run.config.fit_trust:
        _fit_trust(run, shown)
    calibration = calibrate(run.classifier, batches, rows.validation, rows.train, shown)
    calibration = calibration.model_copy(update={"conventions": run.config.conventions})
    _tell_unanswered(calibration)
    metrics = _measure(run, names, calibration)
    _write(run, names, calibration, metrics, output)
    return metrics


def check_training(
    config: TrainingConfig, catalogs: list[Path], output: Path, strange_shops: Sequence[Path]
) -> None:
    """Checks what `train_checkpoint` is given as far as that needs neither pictures nor towers.

    Raises:
        ConfigError: a catalog cannot be read, two have the same name, there are too few labels, or
            a file, or a checkpoint that is not of this training, stands where its own is to be
            written.
    """
    _check_paths(catalogs, output, strange_shops)
    config, _ = read_training_products(config, catalogs)
    for shop in strange_shops:
        read_strange_shop(shop, config.attributes)


def _check_paths(catalogs: list[Path], output: Path, strange_shops: Sequence[Path]) -> None:
    if not output.name:
        raise ConfigError(f"{output} has no name of its own: give --output a folder's name")
    refuse_same_names("catalog", [*map(name_catalog, catalogs)], "the metrics go")
    refuse_same_names("strange shop", [*map(name_catalog, strange_shops)], "the metrics go")
    trained_on = {locate(catalog)[1].resolve() for catalog in catalogs}
    if known := [shop for shop in strange_shops if locate(shop)[1].resolve() in trained_on]:
        raise ConfigError(
            f"{known[0]} is trained on, and no strange shop then: its figures would flatter. Give "
            "it once; of what is trained on, a part is held back for the test"
        )
    for folder in (output, _workspace(output)):
        if folder.exists() and not folder.is_dir():
            raise ConfigError(
                f"{folder} is a file, and a folder is to be written there: give another --output"
            )
    if not _workspace(output).exists():
        refuse_existing(output)
    require_writable(output.parent)


def _workspace(output: Path) -> Path:
    return output.with_name(f"{output.name}.training")


def _see(run: Preparation, batches: Batches) -> None:
    """Caches what the image tower makes of the pictures, unless the run trained it as a whole.

    No other run could use such features, and they would fill the disk.
    """
    if all(phase.cached for phase in run.config.phases):
        batches.see_once(run.classifier)
    else:
        batches.cached = None


def _fit_trust(run: Preparation, shown: Collection[Condition]) -> None:
    """Fits trust and doubt to validation rows, under what training has shown."""
    trusted = only_shown(TRUSTED_UNDER, shown)
    calibrated = only_shown(CALIBRATED_UNDER[Modalities.IMAGE_AND_TEXT], shown)
    fit_trust(run.classifier, run.batches, run.rows.validation, trusted, calibrated)


def _tell_unanswered(calibration: Calibration) -> None:
    """Says which attributes the job would never answer."""
    for attribute, by_modalities in calibration.attributes.items():
        if not any(one.ever_answers() for one in by_modalities.values()):
            say(
                f"{attribute}: no threshold holds 90 % precision on the products to validate with, "
                "so that the job answers none: more labelled products may help"
            )


def _measure(run: Preparation, catalogs: list[str], calibration: Calibration) -> dict[str, object]:
    """Returns the metrics of the test groups of each catalog, by name, and of each strange shop."""
    rows, batches = run.rows, run.batches
    metrics: dict[str, object] = {
        "products": {
            "train": len(rows.train),
            "validation": len(rows.validation),
            "test": len(rows.test),
        },
    }
    # Each catalog apart: easy products of one must not flatter the figures of another.
    for number, name in enumerate(catalogs):
        own = rows.test[batches.products.catalog[rows.test] == number]
        metrics[f"test_groups_{name}"] = evaluate(run.classifier, batches, own, calibration)
    for name, shop in run.shops.items():
        _see(run, shop)
        every = np.arange(len(shop.products))
        metrics[f"strange_shop_{name}"] = evaluate(run.classifier, shop, every, calibration)
    return metrics


def _take_reference(run: Preparation) -> Reference | None:
    """Return how pictures of training lie, from which unseen sources are told; None without any."""
    rng = np.random.default_rng(0)
    taken = []
    for rows in (run.rows.train, run.rows.validation):
        rows = rows[run.batches.images.has_image[rows]]
        rows = np.sort(rng.permutation(rows)[:SAMPLE])
        if len(rows) < FEWEST or not run.classifier.config.reads_image:
            return None
        # A picture is read otherwise where its text is read too.
        vectors = [
            output.vectors
            for condition in (Condition.AS_IS, Condition.NO_TEXT)
            for _, output in ask(run.classifier, run.batches, rows, condition)
        ]
        taken.append(cls_of(Vectors.join(vectors))[0].float().cpu().numpy())
    return Reference.of(*taken)


def _write(
    run: Preparation,
    catalogs: list[str],
    calibration: Calibration,
    metrics: dict[str, object],
    output: Path,
) -> None:
    card = format_model_card(
        run.classifier.config,
        run.config,
        metrics,
        catalogs,
        tells_of_tower=TOWER_RECIPE in run.recipes,
        split_groups=count_split_groups(run.batches.products),
        known_tests=count_known_tests(run.batches.products),
    )
    save_checkpoint(
        output,
        run.classifier,
        run.tokenizer,
        calibration,
        metrics,
        card,
        run.recipes,
        run.batches.label_words.lexicon,
        _take_reference(run),
    )
    remove_others(output, run.recipes)
