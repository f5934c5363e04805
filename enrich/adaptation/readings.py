"""Scores of labelled products, read from all that they have and from parts.

The engine computes them, as in the job.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from enrich.adaptation.shop_labels import ShopLabels
from enrich.classifiers.calibrated import join_embeds, to_layer
from enrich.classifiers.cma_clip import CmaClip
from enrich.classifiers.interface import IMAGE, TEXT, ModelOutput
from enrich.engine.engine import Engine
from enrich.engine.spec import EngineSpec
from enrich.engine.unreadable import describe_failures
from enrich.images.settings import ImageProblem
from enrich.lexicon import Named
from enrich.records import EncodedProduct, Modalities, Product
from enrich.terminal import watch
from enrich.training.answers import Answers
from enrich.training.labelled import UNLABELLED

log = logging.getLogger(__name__)


# By how much the modality bias may differ from the checkpoint's: at either end one modality
# has hardly any weight left. 0 is not among them, because that is the engine's own answer.
_SHIFTS = [shift for shift in np.arange(-8, 8.5, 0.5).tolist() if shift]


@dataclass(frozen=True, slots=True)
class Readings:
    """One attribute's answers, an entry for each of `Modalities` in their order.

    `weighed` has logits and image weights of answers from both modalities by shift of the modality
    bias; it is empty for a classifier that does not weigh its modalities. `is_added` is True for an
    attribute without a head.
    """

    answers: list[Answers]
    weighed: dict[float, tuple[Float[Tensor, "M C"], Float[Tensor, " M"] | None]]
    is_added: bool = False

    def at(self, shift: float) -> list[Answers]:
        """Return the answers with the modality bias shifted; 0 changes nothing."""
        both, *alone = self.answers
        if shift:
            logits, image_weight = self.weighed[shift]
            both = replace(both, logits=logits, image_weight=image_weight)
        return [both, *alone]


# Finds encodings that earlier runs stored, by product id.
FindsEncodings = Callable[[Sequence[Product], EngineSpec], Mapping[str, EncodedProduct]]


@dataclass(frozen=True, slots=True)
class LabelledReadings:
    """Readings of labelled products by attribute; empty without readable products.

    `stored` and `images_opened` count products with a stored encoding, and decoded pictures.
    """

    by_attribute: dict[str, Readings]
    stored: int
    images_opened: int


def take_readings(
    engine: Engine, labels: ShopLabels, find_encodings: FindsEncodings | None = None
) -> LabelledReadings:
    """Read the labelled products from each set of modalities.

    A product with picture and text is in all three sets: without one of them it stands for products
    that lack it. Its picture is opened once, or not at all if its encoding is stored and says what
    each modality says alone. A product that cannot be read is in no set. Logits are those after a
    correction of the checkpoint. Raises ConfigError if images are named, and 0 of them can be read.
    """
    shapes = engine.answerer.classifier.config.vectors or {}
    is_apart = _holds_modalities_apart(engine, labels.targets, shapes)
    stored: Mapping[str, EncodedProduct] = {}
    if find_encodings is not None and is_apart:
        stored = find_encodings(labels.products, engine.spec)
    elif find_encodings is not None:
        log.warning(
            "stored encodings are not used: %s is answered from picture and text together, and "
            "labelled products are also read without one of them",
            " and ".join(labels.targets),
        )
    row_of = {one.product_id: row for row, one in enumerate(labels.products)}
    found: dict[int, tuple[Modalities, Tensor]] = {}
    for product_id, one in stored.items():
        assert one.modalities is not None and one.vectors is not None
        packed = torch.from_numpy(np.frombuffer(one.vectors, "<f2").copy())
        found[row_of[product_id]] = one.modalities, packed
    unread = [one for one in labels.products if one.product_id not in stored]
    problems: list[ImageProblem | None] = []
    watched = watch(unread, "reading", len(unread))
    for window, encoded in engine.encode_windows(watched, apart=not is_apart):
        problems += [one.image_problem for one in window]
        vectors = iter(() if encoded is None else encoded)
        for prepared in window:
            if prepared.modalities is not None:
                found[row_of[prepared.product_id]] = prepared.modalities, next(vectors)
    has_picture = (Modalities.IMAGE, Modalities.IMAGE_AND_TEXT)
    read_before = [None for one in stored.values() if one.modalities in has_picture]
    if warning := describe_failures([*problems, *read_before]):
        log.warning(warning)
    opened = problems.count(None)
    if not found:
        return LabelledReadings({}, 0, opened)
    rows = sorted(found)
    read_from = [found[row][0] for row in rows]
    joined = torch.stack([found[row][1] for row in rows])
    parts = _split(joined, shapes) if is_apart else joined
    texts = [(one.title, one.description) for one in labels.products]
    product, readings = torch.tensor(rows), []
    for place, modalities in enumerate(Modalities):
        can = torch.tensor([one in (modalities, Modalities.IMAGE_AND_TEXT) for one in read_from])
        shown = [modalities] * int(can.sum())
        output = engine.answerer.read(parts[can, place], shown)
        named = engine.answerer.find_named(
            [(None, None) if modalities is Modalities.IMAGE else texts[row] for row in product[can]]
        )
        readings.append(_Reading(modalities, product[can], output, named))
    return LabelledReadings(
        {attribute: _read(engine, labels, attribute, readings) for attribute in labels.targets},
        len(stored),
        opened,
    )


def _holds_modalities_apart(
    engine: Engine, attributes: Mapping[str, object], shapes: Mapping[str, Sequence[int]]
) -> bool:
    """Return True if vectors of both modalities hold what either says alone.

    The towers' pooled embeddings do. Joint attention mixes the modalities, but an attribute without
    a head does not read what comes out of it.
    """
    is_headless = all(attribute in engine.answerer.headless for attribute in attributes)
    return is_headless or set(shapes) <= {IMAGE, TEXT}


def _split(
    packed: Float[Tensor, "N V"], shapes: Mapping[str, Sequence[int]]
) -> Float[Tensor, "N M V"]:
    """Return the vectors as from each of `Modalities` alone, in the pooled embeddings."""
    names = [name for name, shape in shapes.items() for _ in range(math.prod(shape))]
    kept = {
        Modalities.IMAGE_AND_TEXT: set(shapes),
        Modalities.IMAGE: {IMAGE},
        Modalities.TEXT: {TEXT},
    }
    masks = [torch.tensor([name in kept[one] for name in names]) for one in Modalities]
    return torch.stack([packed.where(mask, 0) for mask in masks], dim=1)


def _read(
    engine: Engine, labels: ShopLabels, attribute: str, readings: Sequence["_Reading"]
) -> Readings:
    layer = to_layer(engine.answerer.calibration.corrections.get(attribute))
    both = readings[0]  # the first of Modalities
    weighed = {}
    for shift, output in _weigh(engine, attribute, both.output):
        shifted = (
            replace(both, output=output).to_answers(engine, labels, attribute).corrected(layer)
        )
        weighed[shift] = (shifted.logits, shifted.image_weight)
    return Readings(
        answers=[one.to_answers(engine, labels, attribute).corrected(layer) for one in readings],
        weighed=weighed,
        is_added=attribute in engine.answerer.headless,
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """Answers to M products of which these modalities were shown.

    `product` has their numbers, `named` the labels that their texts name, by attribute.
    """

    modalities: Modalities
    product: Int[Tensor, " M"]
    output: ModelOutput
    named: dict[str, Named]

    def to_answers(self, engine: Engine, labels: ShopLabels, attribute: str) -> Answers:
        """Return the answers to products with a label of the attribute."""
        weight, named = self.output.image_weight.get(attribute), self.named[attribute]
        logits = self.output.logits[attribute].float()
        targets = torch.from_numpy(labels.targets[attribute])[self.product]
        every_row = Answers(
            product=self.product,
            groups=torch.from_numpy(labels.groups)[self.product],
            modalities=[self.modalities] * len(self.product),
            logits=engine.answerer.add_unread(attribute, logits, named),
            embeds=join_embeds(self.output.vectors),
            targets=targets,
            image_weight=None if weight is None else weight.float(),
            named=torch.from_numpy(named.every),
        )
        return every_row.where(targets != UNLABELLED)


def _weigh(
    engine: Engine, attribute: str, output: ModelOutput
) -> Iterator[tuple[float, ModelOutput]]:
    """Yield every shift of the modality bias with its output."""
    classifier = engine.answerer.classifier
    if not isinstance(classifier, CmaClip) or not classifier.config.modality_wise:
        return
    if attribute in engine.answerer.headless:
        return
    for shift in _SHIFTS:
        with torch.inference_mode():
            logits, weight = classifier.answer_attribute(attribute, output.vectors, shift)
        weights = {} if weight is None else {attribute: weight}
        logits = classifier.widen(attribute, logits)
        yield shift, replace(output, logits={attribute: logits}, image_weight=weights)


def fullest(readings: list[Answers]) -> Answers:
    """Return each product once, read from all that it has, as in the job."""
    both, *alone = readings
    left = [one.where(~torch.isin(one.product, both.product)) for one in alone]
    return Answers.join([both, *left])
