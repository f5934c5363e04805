"""An engine without a model, for tests and for timing everything around the model.

Obeys the contract of `enrich.engine`: one answer a product, in order. Answers depend on the text
alone, so that equal products get equal answers; an image is taken as read where there is a path.
"""

import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from enrich.calibration import Thresholds
from enrich.records import (
    NO_IMAGE_PATH,
    Candidate,
    EnrichedProduct,
    Modalities,
    Prediction,
    Product,
    Status,
)
from enrich.text import build_text

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class FakeEngineSpec:
    """Recipe of a `FakeEngine`.

    `threshold` is the confidence below which it abstains, `seconds_per_product` how long it
    pretends to think.
    """

    model_version: str = "fake-1"
    attributes: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {"color": ("red", "green", "blue"), "pattern": ("solid", "striped")}
    )
    threshold: float = 0.5
    seconds_per_product: float = 0.0

    @property
    def thresholds(self) -> Thresholds:
        """The same for all attributes and sets of modalities."""
        return {name: dict.fromkeys(Modalities, self.threshold) for name in self.attributes}

    def build(self, device: "torch.device") -> "FakeEngine":
        """Returns the engine; `device` is not used."""
        return FakeEngine(self)


class FakeEngine:
    """Answers from a checksum of the text; is unsure of a fifth; cannot answer an empty text."""

    def __init__(self, spec: FakeEngineSpec) -> None:
        self._spec = spec

    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        """Yields one answer a product, in order."""
        due = time.monotonic()
        for product in products:
            # By the clock: on a busy machine every nap is too long.
            due += self._spec.seconds_per_product
            time.sleep(max(0.0, due - time.monotonic()))
            text = build_text(product.title, product.description)
            if not text:
                # An image alone tells it nothing.
                status, error = Status.IMAGE_MISSING, NO_IMAGE_PATH
                if product.image_path:
                    status, error = Status.IMAGE_CORRUPT, "not looked at"
                yield EnrichedProduct(product.product_id, status, None, (), error)
                continue
            predictions = tuple(
                self._predict(attribute, labels, zlib.crc32(f"{attribute}:{text}".encode()))
                for attribute, labels in self._spec.attributes.items()
            )
            if product.image_path:
                read: tuple[Any, ...] = (Status.OK, Modalities.IMAGE_AND_TEXT, predictions)
            else:
                read = (Status.IMAGE_MISSING, Modalities.TEXT, predictions, NO_IMAGE_PATH)
            yield EnrichedProduct(product.product_id, *read)

    def _predict(self, attribute: str, labels: tuple[str, ...], checksum: int) -> Prediction:
        first, second = labels[checksum % len(labels)], labels[(checksum + 1) % len(labels)]
        confidence = 0.375 if checksum % 5 == 0 else 0.75
        return Prediction(
            attribute,
            first,
            confidence,
            confidence < self._spec.threshold,
            0.0,
            (Candidate(second, 0.25),),
        )
