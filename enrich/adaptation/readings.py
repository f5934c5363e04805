"""What a classifier scores for labelled products, with all and with parts of what they have.

The scores are the engine's own, so that they are those of the job.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from enrich.adaptation.shop_labels import ShopLabels
from enrich.adaptation.watched import classify_watched
from enrich.classifiers.calibrated import join_embeds, to_layer
from enrich.engine import Engine
from enrich.records import Modalities, Product
from enrich.training.answers import Answers
from enrich.training.losses import UNLABELLED


def take_readings(engine: Engine, labels: ShopLabels) -> dict[str, list[Answers]]:
    """Returns for each labelled attribute the answers read from each set of modalities.

    A product with picture and text is in all three: shown without one of them it stands for those
    products of the shop that lack it. A product of which nothing can be read is in none. Logits are
    after the correction that a checkpoint may bring along.

    Raises:
        ConfigError: pictures are named, and not one of them can be read.
    """
    readings: dict[str, list[Answers]] = {attribute: [] for attribute in labels.targets}
    scored = {found: _score(engine, labels.products, found) for found in Modalities}
    # No row of a set of modalities does not tell how wide the embeddings are.
    width = max(embeds.shape[1] for _, _, embeds, _ in scored.values())
    for modalities, (product, logits, embeds, weights) in scored.items():
        for attribute, of_each in labels.targets.items():
            targets = torch.from_numpy(of_each)[product]
            reading = Answers(
                product=product,
                groups=torch.from_numpy(labels.groups)[product],
                modalities=[modalities] * len(product),
                logits=logits[attribute],
                embeds=embeds if len(embeds) else embeds.new_empty(0, width),
                targets=targets,
                image_weight=weights.get(attribute),
            )
            layer = to_layer(engine.calibration.corrections.get(attribute))
            readings[attribute].append(reading.where(targets != UNLABELLED).corrected(layer))
    return readings


def fullest(readings: list[Answers]) -> Answers:
    """Returns each product once, read from all that it has, as the job reads it."""
    first, *others = readings  # the first of Modalities is both
    for one in others:
        first = _concatenate(first, one.where(~torch.isin(one.product, first.product)))
    return first


def _concatenate(one: Answers, other: Answers) -> Answers:
    weights = [reading.image_weight for reading in (one, other) if reading.image_weight is not None]
    return Answers(
        product=torch.cat([one.product, other.product]),
        groups=torch.cat([one.groups, other.groups]),
        modalities=one.modalities + other.modalities,
        logits=torch.cat([one.logits, other.logits]),
        embeds=torch.cat([one.embeds, other.embeds]),
        targets=torch.cat([one.targets, other.targets]),
        image_weight=torch.cat(weights) if len(weights) == 2 else None,
    )


def _score(
    engine: Engine, products: list[Product], modalities: Modalities
) -> tuple[
    Int[Tensor, " M"],
    dict[str, Float[Tensor, "M _"]],
    Float[Tensor, "M E"],
    dict[str, Float[Tensor, " M"]],
]:
    """Returns which products have these modalities, raw logits, embeddings, the image's weights."""
    rows: list[int] = []
    logits = {a: [torch.empty(0, len(labels))] for a, labels in engine.spec.attributes.items()}
    embeds: list[Tensor] = []
    weights: defaultdict[str, list[Tensor]] = defaultdict(list)
    shown = [_show(product, modalities) for product in products]
    # Once: the pictures are the same ones when they are read alone.
    warns = modalities is Modalities.IMAGE_AND_TEXT
    row_of = {product.product_id: row for row, product in enumerate(products)}
    for readable, output in classify_watched(engine, shown, f"reading {modalities}", warns=warns):
        rows += [row_of[product_id] for product_id, found in readable if found is modalities]
        kept = torch.tensor([found is modalities for _, found in readable])
        embeds.append(join_embeds(output, [found for _, found in readable])[kept])
        for attribute, scores in output.logits.items():
            logits[attribute].append(scores.float()[kept])
        for attribute, weight in output.image_weight.items():
            weights[attribute].append(weight.float()[kept])
    return (
        torch.tensor(rows, dtype=torch.long),
        _join(logits),
        torch.cat(embeds) if embeds else torch.empty(0, 0),
        _join(weights),
    )


def _join(parts: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    return {attribute: torch.cat(some) for attribute, some in parts.items()}


def _show(product: Product, modalities: Modalities) -> Product:
    """Returns the product with no more than those modalities."""
    if modalities is Modalities.IMAGE:
        return replace(product, title=None, description=None)
    if modalities is Modalities.TEXT:
        return replace(product, image_path=None)
    return product
