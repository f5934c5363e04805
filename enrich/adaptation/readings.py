"""The scores that a classifier gives labelled products, read from all and from parts of them.

The scores are the engine's own, so that they are those of the job.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from enrich.adaptation.shop_labels import ShopLabels
from enrich.adaptation.watched import classify_watched
from enrich.classifiers.calibrated import join_embeds, to_layer
from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.interface import ModelOutput
from enrich.engine import Engine
from enrich.records import Modalities, Product
from enrich.training.answers import Answers
from enrich.training.labelled import UNLABELLED

# By how much more the picture may be trusted than the checkpoint does: at either end one modality
# has hardly any weight left. 0 is not among them, because that is the engine's own answer.
_SHIFTS = [shift for shift in np.arange(-8, 8.5, 0.5).tolist() if shift]


@dataclass(frozen=True, slots=True)
class Readings:
    """One attribute's answers, one entry for each of `Modalities` in their order.

    `weighed` maps a shift of the trust in pictures to the logits and image weights that answers
    read from both would then have; empty where a classifier does not weigh its modalities.
    """

    answers: list[Answers]
    weighed: dict[float, tuple[Float[Tensor, "M C"], Float[Tensor, " M"] | None]]

    def at(self, shift: float) -> list[Answers]:
        """Returns the answers with the picture trusted by that much more; 0 is as it is."""
        both, *alone = self.answers
        if shift:
            logits, image_weight = self.weighed[shift]
            both = replace(both, logits=logits, image_weight=image_weight)
        return [both, *alone]


def take_readings(engine: Engine, labels: ShopLabels) -> dict[str, Readings]:
    """Returns for each labelled attribute the answers read from each set of modalities.

    A product with picture and text is in all three: shown without one of them it stands for the
    products of the shop that lack it. A product of which nothing can be read is in none, and if
    none can be read there are no readings. Logits are after the correction that a checkpoint may
    bring along.

    Raises:
        ConfigError: pictures are named, and not one of them can be read.
    """
    taken = {m: _take_reading(engine, labels.products, m) for m in Modalities}
    example = next((reading for reading in taken.values() if reading is not None), None)
    if example is None:
        return {}
    readings = [one or example.without_rows(modalities) for modalities, one in taken.items()]
    return {attribute: _read(engine, labels, attribute, readings) for attribute in labels.targets}


def _read(
    engine: Engine, labels: ShopLabels, attribute: str, readings: Sequence["_Reading"]
) -> Readings:
    layer = to_layer(engine.calibration.corrections.get(attribute))
    both = readings[0]  # the first of Modalities
    weighed = {}
    for shift, output in _weigh(engine, attribute, both.output):
        shifted = replace(both, output=output).to_answers(labels, attribute).corrected(layer)
        weighed[shift] = (shifted.logits, shifted.image_weight)
    return Readings(
        answers=[one.to_answers(labels, attribute).corrected(layer) for one in readings],
        weighed=weighed,
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """The engine's output for M products, of which it was shown only these modalities.

    `product` is the number of each row's product, `embeds` are as `join_embeds` lays them out.
    """

    modalities: Modalities
    product: Int[Tensor, " M"]
    embeds: Float[Tensor, "M E"]
    output: ModelOutput

    def take(self, rows: Int[Tensor, " N"]) -> "_Reading":
        """Returns these rows."""
        return replace(
            self,
            product=self.product[rows],
            embeds=self.embeds[rows],
            output=self.output.take(rows),
        )

    def without_rows(self, modalities: Modalities) -> "_Reading":
        """Returns the reading of no product at all, for these modalities."""
        return replace(self.take(torch.empty(0, dtype=torch.long)), modalities=modalities)

    def to_answers(self, labels: ShopLabels, attribute: str) -> Answers:
        """Returns the answers to those products that carry a label of the attribute."""
        weight = self.output.image_weight.get(attribute)
        targets = torch.from_numpy(labels.targets[attribute])[self.product]
        every_row = Answers(
            product=self.product,
            groups=torch.from_numpy(labels.groups)[self.product],
            modalities=[self.modalities] * len(self.product),
            logits=self.output.logits[attribute].float(),
            embeds=self.embeds,
            targets=targets,
            image_weight=None if weight is None else weight.float(),
        )
        return every_row.where(targets != UNLABELLED)


def _take_reading(
    engine: Engine, products: list[Product], modalities: Modalities
) -> _Reading | None:
    """Returns the reading of the products that have these modalities; None if none can be read."""
    product: list[int] = []
    read_from: list[Modalities] = []
    outputs: list[ModelOutput] = []
    shown = [_show(one, modalities) for one in products]
    # Warns once: the pictures are the same ones when they are read alone.
    warns = modalities is Modalities.IMAGE_AND_TEXT
    row_of = {one.product_id: row for row, one in enumerate(products)}
    for readable, output in classify_watched(engine, shown, f"reading {modalities}", warns=warns):
        product += [row_of[product_id] for product_id, _ in readable]
        read_from += [one for _, one in readable]
        outputs.append(output)
    if not outputs:
        return None
    output = ModelOutput.join(outputs)
    reading = _Reading(modalities, torch.tensor(product), join_embeds(output, read_from), output)
    return reading.take(torch.tensor([one is modalities for one in read_from]).nonzero().flatten())


def _weigh(
    engine: Engine, attribute: str, output: ModelOutput
) -> Iterator[tuple[float, ModelOutput]]:
    """Yields every shift of the trust in the picture with the output that it leads to."""
    if output.joint is None or not isinstance(classifier := engine.classifier, CmaClip):
        return
    joint = output.joint.in_full_precision().to(classifier.device)
    for shift in _SHIFTS:
        with torch.inference_mode():
            logits, weight = classifier.answer(attribute, joint, shift)
        weights = {} if weight is None else {attribute: weight.cpu()}
        yield shift, replace(output, logits={attribute: logits.cpu()}, image_weight=weights)


def fullest(readings: list[Answers]) -> Answers:
    """Returns each product once, read from all that it has, as the job reads it."""
    first, *others = readings  # the first of Modalities is both
    for one in others:
        first = _concatenate(first, one.where(~torch.isin(one.product, first.product)))
    return first


def _concatenate(first: Answers, second: Answers) -> Answers:
    weights = [part.image_weight for part in (first, second) if part.image_weight is not None]
    return Answers(
        product=torch.cat([first.product, second.product]),
        groups=torch.cat([first.groups, second.groups]),
        modalities=first.modalities + second.modalities,
        logits=torch.cat([first.logits, second.logits]),
        embeds=torch.cat([first.embeds, second.embeds]),
        targets=torch.cat([first.targets, second.targets]),
        image_weight=torch.cat(weights) if len(weights) == 2 else None,
    )


def _show(product: Product, modalities: Modalities) -> Product:
    """Returns the product with no more than those modalities."""
    if modalities is Modalities.IMAGE:
        return replace(product, title=None, description=None)
    if modalities is Modalities.TEXT:
        return replace(product, image_path=None)
    return product
