"""What goes into the engine and what comes out: products, predictions and statuses.

Knows nothing of tables, tensors or files.
"""

from dataclasses import dataclass
from enum import StrEnum

# The error of a product that names no image: nothing failed.
NO_IMAGE_PATH = "no image path"


class Status(StrEnum):
    """What could be read of a product; the value of column `status`."""

    OK = "ok"
    IMAGE_MISSING = "image_missing"
    IMAGE_UNREADABLE = "image_unreadable"
    IMAGE_CORRUPT = "image_corrupt"
    IMAGE_TOO_LARGE = "image_too_large"
    IMAGE_FORBIDDEN = "image_forbidden"
    TEXT_EMPTY = "text_empty"
    WORKER_CRASHED = "worker_crashed"


class Modalities(StrEnum):
    """Which modalities an answer rests on; the value of column `modalities`."""

    IMAGE_AND_TEXT = "image+text"
    IMAGE = "image"
    TEXT = "text"

    @classmethod
    def of(cls, has_image: bool, has_text: bool) -> "Modalities":
        """Returns what an answer rests on, of a product with an image, a text, or both.

        Raises:
            ValueError: it has neither.
        """
        if has_image:
            return cls.IMAGE_AND_TEXT if has_text else cls.IMAGE
        if has_text:
            return cls.TEXT
        raise ValueError("an answer rests on an image or a text")


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


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the classifier says of one attribute.

    `label` is the best candidate even when abstained; `confidence` is its calibrated probability
    in [0, 1]; `image_weight` is the modality-wise attention on the image, in [0, 1],
    None where a classifier has no such attention;
    `alternatives` are the next best candidates, best first.
    """

    attribute: str
    label: str
    confidence: float
    abstained: bool
    image_weight: float | None
    alternatives: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class EnrichedProduct:
    """The engine's answer to one product.

    `modalities` is None and `predictions` is empty when neither image nor text could be read;
    `error` then and for any unreadable image says why, for people. `image_digest` is the SHA-256 of
    the image's file in hex, None where it was not read or an engine does not say.
    """

    product_id: str
    status: Status
    modalities: Modalities | None
    predictions: tuple[Prediction, ...]
    error: str | None = None
    image_digest: str | None = None
