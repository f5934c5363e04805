"""Export of a checkpoint to int8, where its answers stay.

`enrich.classifiers.int8` computes in int8.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from schemas.tables import IMAGE_PROBLEMS

from enrich.certificates import bound_share
from enrich.classifiers.checkpoint import add_to_card, derived_checkpoint, write_metrics
from enrich.classifiers.manifest import Manifest, read_metrics
from enrich.config import JobConfig
from enrich.engine.engine import Engine
from enrich.engine.spec import build_spec
from enrich.engine.unreadable import describe_failures
from enrich.errors import ConfigError, ExportRefused
from enrich.images.settings import ImageProblem
from enrich.records import EnrichedProduct, Modalities, Prediction, Product
from enrich.terminal import Table, escape, say, to_markdown

# int8 is for CPUs: on a GPU such a checkpoint computes with its weights as they are stored.
_DEVICE = torch.device("cpu")
# The chance that fewer answers stay than the lower bound says.
_DELTA = 0.1


class LabelAgreement(NamedTuple):
    """Agreement of the answers to one attribute before and after.

    Attributes:
        products: products that were answered by both.
        same: products with the same published value, a label or NULL.
        surely: lower bound of the share that stays, exceeded in nine of ten samples. The smaller of
            `same` and `same_best` counts.
        same_best: products with the same best label, published or not. Without this, a classifier
            that always abstains would agree with every other classifier.
        mean_move, largest_move: differences of the confidences, in [0, 1].
    """

    products: int
    same: int
    surely: float
    same_best: int
    mean_move: float
    largest_move: float


@dataclass(frozen=True, slots=True)
class Int8Comparison:
    """Agreement by attribute, on the same products.

    `with_image` counts products whose answers rest on their image, alone or with the text.
    """

    attributes: dict[str, LabelAgreement]
    with_image: int


def compare_with_int8(
    manifest: Manifest,
    image_root: str,
    products: Sequence[Product],
    settings: JobConfig | None = None,
) -> Int8Comparison:
    """Answer the products as the checkpoint does, and with its linear layers in int8.

    Of `settings` all but the checkpoint counts. Compared are products that both could read in the
    same modalities.

    Raises ConfigError for 0 products, 0 readable products, or 0 readable images where images are
    named: texts alone tell nothing about an image tower.
    """
    if not products:
        raise ConfigError("--catalog is empty: found 0 products, expected 1 or more")
    used = (settings or JobConfig()).model_copy(update={"checkpoint": str(manifest.folder)})
    spec = build_spec(used, manifest, image_root)
    in_int8 = replace(manifest, config=manifest.config.model_copy(update={"int8": True}))
    engines = [Engine(spec, variant, _DEVICE) for variant in (manifest, in_int8)]
    before, after = ([*engine.enrich(products)] for engine in engines)
    alike = select_read_alike(before, after)
    pairs = [
        pair for old, new in alike for pair in zip(old.predictions, new.predictions, strict=True)
    ]
    return Int8Comparison(
        {
            a: measure_agreement([pair for pair in pairs if pair[0].attribute == a])
            for a in spec.attributes
        },
        sum(old.modalities is not Modalities.TEXT for old, _ in alike),
    )


def select_read_alike(
    before: Sequence[EnrichedProduct], after: Sequence[EnrichedProduct]
) -> list[tuple[EnrichedProduct, EnrichedProduct]]:
    """Return both answers to the products that were read in the same modalities."""
    if warning := describe_failures([_image_problem(one) for one in before]):
        say(warning)
    # An image may be out of reach for one of the two and not for the other.
    alike = [
        (old, new)
        for old, new in zip(before, after, strict=True)
        if old.modalities is not None and old.modalities == new.modalities
    ]
    if not alike:
        raise ConfigError(
            f"products cannot be compared: found 0 of {len(before)} readable, expected 1 or more. "
            "Check --image-root."
        )
    return alike


def _image_problem(product: EnrichedProduct) -> ImageProblem | None:
    if product.status not in IMAGE_PROBLEMS:
        return None
    return ImageProblem(product.status, product.error or "")


def measure_agreement(pairs: Sequence[tuple[Prediction, Prediction]]) -> LabelAgreement:
    """Return the agreement of pairs of predictions of one attribute."""
    moves = [abs(old.confidence - new.confidence) for old, new in pairs]
    same = sum(_shown(old) == _shown(new) for old, new in pairs)
    same_best = sum(old.label == new.label for old, new in pairs)
    return LabelAgreement(
        products=len(pairs),
        same=same,
        # Rounded down: a bound that is lower holds as well.
        surely=math.floor(1e4 * bound_share(min(same, same_best), len(pairs), _DELTA)) / 1e4,
        same_best=same_best,
        mean_move=round(sum(moves) / len(moves), 5),
        largest_move=round(max(moves), 4),
    )


def _shown(prediction: Prediction) -> str | None:
    return None if prediction.abstained else prediction.label


def format_report(comparison: Int8Comparison) -> str:
    """Return the comparison as Markdown."""
    rows = [[a, *map(str, one)] for a, one in comparison.attributes.items()]
    columns = (
        *("attribute", "products", "same answer", "surely", "same best label"),
        *("confidence moves by", "at most"),
    )
    return (
        f"{to_markdown(Table('The same products, before and in int8', columns, [rows]))}\n"
        f"{comparison.with_image:,} of the products were answered with their image.\n"
    )


def summarise(comparison: Int8Comparison) -> dict[str, Any]:
    """Return the comparison as plain values."""
    return {
        "with_image": comparison.with_image,
        "attributes": {a: one._asdict() for a, one in comparison.attributes.items()},
    }


def refuse_other_answers(comparison: Int8Comparison, least: float) -> None:
    """Raise ExportRefused if less than the share `least` surely stays of an attribute."""
    short = [
        f"found {attribute} unchanged in {min(answers.same, answers.same_best):,} of "
        f"{answers.products:,} products (lower bound {answers.surely:.3f})"
        for attribute, answers in comparison.attributes.items()
        if answers.surely < least
    ]
    if short:
        raise ExportRefused(
            f"int8 may change answers: {'; '.join(short)}, expected {least:g}. Give a larger "
            "--sample if the products are too few, else use the checkpoint as it is."
        )


def write_exported(manifest: Manifest, name: str, comparison: Int8Comparison, output: Path) -> None:
    """Write the checkpoint, with the comparison in its metrics and on its card."""
    config = manifest.config.model_copy(update={"name": name, "int8": True})
    with derived_checkpoint(manifest, config, output) as partial:
        write_metrics(partial, read_metrics(partial) | {"int8": summarise(comparison)})
        add_to_card(
            partial,
            f"## int8\n\nThe linear layers of {escape(manifest.config.name)}, content "
            f"{manifest.digests.model}, compute in int8 here. The figures above are those of the "
            f"checkpoint before.\n\n{format_report(comparison)}",
        )
