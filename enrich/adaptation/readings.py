"""What a classifier scores for labelled products, with all and with parts of what they have.

The scores are the engine's own, so that they are those of the job.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from enrich.adaptation.shop_labels import ShopLabels
from enrich.adaptation.watched import classify_watched
from enrich.calibration import CalibratedModalities
from enrich.classifiers.calibrated import at_temperatures, correct, log_temperatures
from enrich.engine import Engine
from enrich.records import Modalities, Product
from enrich.training.losses import UNLABELLED


@dataclass(frozen=True, slots=True)
class Reading:
    """One attribute of M products that carry a label of it.

    `product` says which of the products each row is of, `modalities` what was read of it. `logits`
    are before temperatures, but after the correction that a checkpoint may bring along.
    `image_weight` is the image's share in each answer, in [0, 1]; None where the classifier does
    not weigh its modalities.
    """

    product: Int[Tensor, " M"]
    modalities: list[Modalities]
    logits: Float[Tensor, "M C"]
    targets: Int[Tensor, " M"]
    image_weight: Float[Tensor, " M"] | None

    def __len__(self) -> int:
        return len(self.targets)

    def where(self, kept: Tensor) -> "Reading":
        """Returns the rows that a mask (M,) keeps."""
        return Reading(
            product=self.product[kept],
            modalities=[self.modalities[row] for row in kept.nonzero().flatten()],
            logits=self.logits[kept],
            targets=self.targets[kept],
            image_weight=None if self.image_weight is None else self.image_weight[kept],
        )

    def log_temperature(
        self, calibrated: dict[Modalities, CalibratedModalities]
    ) -> Float[Tensor, " M"]:
        """Returns the logarithm of each row's temperature."""
        return log_temperatures([calibrated[m] for m in self.modalities], self.image_weight)

    def probabilities(
        self, calibrated: dict[Modalities, CalibratedModalities]
    ) -> Float[Tensor, "M C"]:
        """Returns calibrated probabilities, which sum to 1 in each row."""
        rows = [calibrated[m] for m in self.modalities]
        return at_temperatures(self.logits, rows, self.image_weight)


def take_readings(engine: Engine, labels: ShopLabels) -> dict[str, list[Reading]]:
    """Returns for each labelled attribute a reading of each set of modalities.

    A product with picture and text is in all three: shown without one of them it stands for those
    products of the shop that lack it. A product of which nothing can be read is in none.

    Raises:
        ConfigError: pictures are named, and not one of them can be read.
    """
    readings: dict[str, list[Reading]] = {attribute: [] for attribute in labels.targets}
    for modalities in Modalities:
        product, logits, weights = _score(engine, labels.products, modalities)
        for attribute, of_each in labels.targets.items():
            targets = torch.from_numpy(of_each)[product]
            reading = Reading(
                product=product,
                modalities=[modalities] * len(product),
                logits=correct(logits[attribute], engine.calibration.corrections.get(attribute)),
                targets=targets,
                image_weight=weights.get(attribute),
            )
            readings[attribute].append(reading.where(targets != UNLABELLED))
    return readings


def fullest(readings: list[Reading]) -> Reading:
    """Returns each product once, read from all that it has, as the job reads it."""
    first, *others = readings  # the first of Modalities is both
    for one in others:
        first = _concatenate(first, one.where(~torch.isin(one.product, first.product)))
    return first


def _concatenate(one: Reading, other: Reading) -> Reading:
    weights = [reading.image_weight for reading in (one, other) if reading.image_weight is not None]
    return Reading(
        product=torch.cat([one.product, other.product]),
        modalities=one.modalities + other.modalities,
        logits=torch.cat([one.logits, other.logits]),
        targets=torch.cat([one.targets, other.targets]),
        image_weight=torch.cat(weights) if len(weights) == 2 else None,
    )


def _score(
    engine: Engine, products: list[Product], modalities: Modalities
) -> tuple[Int[Tensor, " M"], dict[str, Float[Tensor, "M _"]], dict[str, Float[Tensor, " M"]]]:
    """Returns which products have these modalities, their raw logits and the image's weights."""
    rows: list[int] = []
    logits = {a: [torch.empty(0, len(labels))] for a, labels in engine.spec.attributes.items()}
    weights: defaultdict[str, list[Tensor]] = defaultdict(list)
    shown = [_show(product, modalities) for product in products]
    # Once: the pictures are the same ones when they are read alone.
    warns = modalities is Modalities.IMAGE_AND_TEXT
    row_of = {product.product_id: row for row, product in enumerate(products)}
    for readable, output in classify_watched(engine, shown, f"reading {modalities}", warns=warns):
        rows += [row_of[product_id] for product_id, found in readable if found is modalities]
        kept = torch.tensor([found is modalities for _, found in readable])
        for attribute, scores in output.logits.items():
            logits[attribute].append(scores.float()[kept])
        for attribute, weight in output.image_weight.items():
            weights[attribute].append(weight.float()[kept])
    return torch.tensor(rows, dtype=torch.long), _join(logits), _join(weights)


def _join(parts: Mapping[str, list[Tensor]]) -> dict[str, Tensor]:
    return {attribute: torch.cat(some) for attribute, some in parts.items()}


def _show(product: Product, modalities: Modalities) -> Product:
    """Returns the product with no more than those modalities."""
    if modalities is Modalities.IMAGE:
        return replace(product, title=None, description=None)
    if modalities is Modalities.TEXT:
        return replace(product, image_path=None)
    return product
