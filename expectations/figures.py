"""The figures of one run that the gate looks at: counts, and nothing of any single product.

Knows nothing of how they were counted nor of what is allowed.
"""

from dataclasses import dataclass

from schemas.images import ImageSample

from expectations.summary import CatalogSummary


@dataclass(frozen=True, slots=True)
class ConfidenceFigures:
    """What is odd about one attribute's confidences: rows, and the range of the sound ones."""

    missing: int
    outside: int
    lowest: float | None
    highest: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Unchanged products that were answered before and now, and how many got the same label.

    Attributes:
        category: None for all products.
        same_model: whether the same model_version wrote the published label.
    """

    attribute: str
    category: str | None
    same_model: bool
    compared: int
    agreeing: int


@dataclass(frozen=True, slots=True)
class StagedFigures:
    """One run's staged rows; `summary` is None where there are none.

    `summary` and `agreements` count products that show the same picture and text once, all else
    counts rows. `label_rows` holds each attribute's rows by label, without abstentions.
    """

    rows: int
    distinct_products: int
    model_versions: dict[str, int]
    summary: CatalogSummary | None
    label_rows: dict[str, dict[str, int]]
    confidences: dict[str, ConfidenceFigures]
    agreements: tuple[Agreement, ...] = ()


@dataclass(frozen=True, slots=True)
class InputFigures:
    """The product table before inference.

    `new` are the rows that the classifier will be asked about for the first time: their texts
    are looked at.
    """

    rows: int
    without_id: int
    repeated_id: int
    new: int
    without_text: int
    images: ImageSample
