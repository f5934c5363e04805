"""An engine without a model, for tests and for timing everything around the model.

Obeys the contract of `enrich.engine`: one encoding a product, in order, and answers from encodings.
Answers depend on the text alone, so that equal products get equal answers. An image is taken as
read where there is a path.
"""

import hashlib
import os
import random
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from enrich.calibration import Least, Thresholds
from enrich.engine.columns import AttributeAnswers, to_enriched, to_record_batch
from enrich.images.settings import NO_IMAGE_PATH, ImageProblem
from enrich.images.store import ImageStore
from enrich.lexicon import Evidence, ProductText
from enrich.records import EncodedProduct, EnrichedProduct, Modalities, Product, Status
from enrich.text import build_text
from schemas.labels import ABSTENTIONS, NOT_APPLICABLE

if TYPE_CHECKING:
    import torch

# The four bytes of the text's checksum, each a number that float16 holds exactly, and the noise.
_NUMBERS = 5
_MOST_NOISE = 0.125
_NOT_APPLICABLE = ABSTENTIONS.index(NOT_APPLICABLE)


@dataclass(frozen=True, slots=True)
class FakeEngineSpec:
    """Recipe of a `FakeEngine`.

    `threshold` is the confidence below which it abstains, `seconds_per_product` how long it
    pretends to think. With `opens_images` it reads the bytes of each image below `image_root` and
    reports their digest. With `crashes` a text that holds "crash-worker" ends the process. With
    `confidence_noise` no two attempts have the same confidences.
    """

    model_version: str = "fake-1"
    attributes: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {"color": ("red", "green", "blue"), "pattern": ("solid", "striped")}
    )
    threshold: float = 0.5
    seconds_per_product: float = 0.0
    encoder_version: str = "0123456789ab"
    limits_digest: str = "ba9876543210"
    opens_images: bool = False
    image_root: str = "."
    crashes: bool = False
    confidence_noise: bool = False
    applies_to: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def thresholds(self) -> Thresholds:
        """The same for all attributes and sets of modalities."""
        every = dict.fromkeys(Evidence, self.threshold)
        return {
            name: dict.fromkeys(Modalities, Least(every, (0.0,) * len(labels)))
            for name, labels in self.attributes.items()
        }

    def build(self, device: "torch.device") -> "FakeEngine":
        """Return the engine; `device` is not used."""
        return FakeEngine(self)

    def build_answerer(self) -> "FakeAnswerer":
        """Return an answerer of the engine's vectors."""
        return FakeAnswerer(self)

    def profile(
        self, vectors: Sequence[bytes], modalities: Sequence[str], texts: Sequence[ProductText]
    ) -> None:
        """Return None: a checksum does not describe a source."""

    @property
    def reads_descriptions(self) -> bool:
        """False: it reads no text for its answers."""
        return False

    def in_source(self, rise: float) -> "FakeEngineSpec":
        """Return the same recipe."""
        return self


class FakeEngine:
    """Engine that encodes the checksum of a text, and no picture."""

    def __init__(self, spec: FakeEngineSpec) -> None:
        self._spec = spec
        self._store = ImageStore(spec.image_root)

    def encode(self, products: Iterable[Product]) -> Iterator[EncodedProduct]:
        """Yield one encoding a product, in order."""
        due = time.monotonic()
        for product in products:
            # By the clock: on a busy machine every nap is too long.
            due += self._spec.seconds_per_product
            time.sleep(max(0.0, due - time.monotonic()))
            yield self._encode(product)

    def enrich(self, products: Iterable[Product]) -> Iterator[EnrichedProduct]:
        """Yield one answer a product, in order."""
        for encoded in self.encode(products):
            answerer: Any = self._spec.build_answerer()
            yield from to_enriched([encoded], answerer, self._spec.attributes)

    def _encode(self, product: Product) -> EncodedProduct:
        text = build_text(product.title, product.description)
        if self._spec.crashes and "crash-worker" in text:
            os._exit(1)
        status, error, digest = Status.OK, None, None
        if not product.image_path:
            status, error = Status.IMAGE_MISSING, NO_IMAGE_PATH
        elif self._spec.opens_images:
            try:
                digest = hashlib.sha256(self._store.read(product.image_path)).hexdigest()
            except ImageProblem as problem:
                status, error = problem.status, str(problem)
        if not text:
            if status is Status.OK:
                status, error = Status.IMAGE_CORRUPT, "not looked at"
            return EncodedProduct(product.product_id, status, None, None, error, digest)
        modalities = Modalities.of(status is Status.OK, has_text=True)
        checksum = zlib.crc32(text.encode(errors="replace")).to_bytes(4, "little")
        noise = random.random() if self._spec.confidence_noise else 0.0
        vectors = np.array([*checksum, noise], "<f2").tobytes()
        return EncodedProduct(product.product_id, status, modalities, vectors, error, digest)


class FakeAnswerer:
    """Answerer of checksums; it abstains on a fifth of them."""

    def __init__(self, spec: FakeEngineSpec) -> None:
        self._spec = spec

    def answer(
        self,
        vectors: Sequence[bytes],
        modalities: Sequence[str],
        texts: Sequence[ProductText],
        categories: Sequence[str | None] | None = None,
    ) -> pa.RecordBatch:
        """Return the columns of `columns.answer_fields`, a row for each of the vectors."""
        numbers = np.frombuffer(b"".join(vectors), "<f2").reshape(-1, _NUMBERS)
        bytes_of_text = numbers[:, :4].astype(np.uint8)
        checksums = np.ascontiguousarray(bytes_of_text).view("<u4").ravel().astype(np.uint64)
        noise = numbers[:, 4].astype(np.float64)
        if self._spec.confidence_noise:
            noise = (noise + np.random.default_rng().random(len(noise))) / 2
        categories = [None] * len(vectors) if categories is None else categories
        return to_record_batch(
            [
                self._answer(attribute, labels, checksums, noise * _MOST_NOISE, categories)
                for attribute, labels in self._spec.attributes.items()
            ]
        )

    def _answer(
        self,
        attribute: str,
        labels: tuple[str, ...],
        checksums: np.ndarray,
        noise: np.ndarray,
        categories: Sequence[str | None],
    ) -> AttributeAnswers:
        # Another order of the texts for each attribute; Knuth's multiplier spreads them.
        mixed = ((checksums ^ zlib.crc32(attribute.encode())) * 2654435761 % 2**32) >> 8
        first = (mixed % len(labels)).astype(np.int64)
        confidence = np.where(mixed % 5 == 0, 0.375, 0.75) + noise
        known = self._spec.applies_to.get(attribute)
        outside = np.zeros(len(first), dtype=bool)
        if known is not None:
            outside[:] = [one is not None and one not in known for one in categories]
        return AttributeAnswers(
            attribute,
            labels,
            np.stack([first, (first + 1) % len(labels)], axis=1),
            np.stack([confidence, np.full(len(first), 0.25)], axis=1),
            np.where(outside, _NOT_APPLICABLE, np.where(confidence < self._spec.threshold, 0, -1)),
            np.zeros(len(first)),
        )
