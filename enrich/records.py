"""Records of the engine: products in, encodings and predictions out.

The values of statuses and modalities belong to the tables, and so to `schemas`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.tables import Modalities, Status


@dataclass(frozen=True, slots=True)
class Product:
    """One row of the product table. Any field but the id may be missing."""

    product_id: str
    title: str | None = None
    description: str | None = None
    image_path: str | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A label with its calibrated probability in [0, 1]."""

    label: str
    confidence: float


def confidence_of(label: str | None, candidates: Iterable[Candidate]) -> float:
    """Return the confidence of a label among candidates; 0 where it is not among them."""
    return next((one.confidence for one in candidates if one.label == label), 0.0)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Answer of the classifier for one attribute.

    `label` is the best candidate even when abstained, and `confidence` is its calibrated
    probability in [0, 1]. `image_weight` is the modality-wise attention on the image, in [0,
    1], None for a classifier without such attention. `alternatives` are the next best
    candidates, best first. `named` is the one label that the title names, None for no label or
    several. `abstention` is the reason for giving no label, one of
    `schemas.labels.ABSTENTIONS`.
    """

    attribute: str
    label: str
    confidence: float
    abstained: bool
    image_weight: float | None
    alternatives: tuple[Candidate, ...]
    named: str | None = None
    abstention: str | None = None


@dataclass(frozen=True, slots=True)
class EncodedProduct:
    """The encoding of one product, from which answers are made.

    `vectors` are float16 numbers in little endian, one named vector after the other as
    `config.json` lists them. `modalities` and `vectors` are None when neither image nor text
    could be read. `error` explains this, and any unreadable image, to people. `image_digest` is
    the SHA-256 of the image's file in hex, None where it was not read. `wording` is title and
    description, in which label words are looked for.
    """

    product_id: str
    status: Status
    modalities: Modalities | None
    vectors: bytes | None
    error: str | None = None
    image_digest: str | None = None
    wording: tuple[str | None, str | None] = (None, None)


@dataclass(frozen=True, slots=True)
class EnrichedProduct:
    """The engine's answer to one product.

    `modalities` is None and `predictions` is empty when neither image nor text could be read.
    `error` explains this, and any unreadable image, to people. `image_digest` is the SHA-256 of
    the image's file in hex, None where it was not read.
    """

    product_id: str
    status: Status
    modalities: Modalities | None
    predictions: tuple[Prediction, ...]
    error: str | None = None
    image_digest: str | None = None
