"""Settings of image reading, and its answers: statistics, or the problem."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator
from schemas.tables import Status

from enrich.settings_files import YamlSettings


class ImageLimits(YamlSettings):
    """Limits of an image's bytes and pixels."""

    max_bytes: int = Field(default=50_000_000, gt=0)
    """Larger images are `image_too_large`. When you raise the limit, the next run reads the
    refused images again.
    """
    # Pillow opens none that are larger, nor should it.
    max_pixels: int = Field(default=50_000_000, gt=0, le=178_956_970)
    """The same limit in pixels, at most 178,956,970."""


class ImageReading(YamlSettings):
    """Retries of a store that fails.

    A store fails if it does not answer, or sends an error of its own or half a file. "Not
    found" and "denied" are answers and are not retried.
    """

    attempts: int = Field(default=3, ge=1, le=20)
    """Requests for one image if its store fails, with growing pauses. A missing or denied image is
    requested once.
    """
    timeout_s: float = Field(default=30, gt=0, le=3_600)
    """Seconds that a request may take. After as many seconds no new request for the image
    starts.
    """


# Of a product's images so many are tried.
MOST_IMAGES = 10


class ImageLists(YamlSettings):
    """Reading of an image path that names several images."""

    choice: int = 1
    """Which of [several images](input.md#images) to try first: 1, 2, ..., or -1 for the last. The
    others follow in order.
    """
    separator: str | None = Field(default=None, min_length=1)
    """Text between several images. Without a separator only JSON lists are split."""

    @field_validator("choice")
    @classmethod
    def _counts_from_one(cls, choice: int) -> int:
        if choice == 0:
            raise ValueError("found 0, expected 1 for the first, 2, ..., or -1 for the last")
        return choice

    def images_of(self, image_path: str) -> list[str]:
        """Return the images of a path, the one to try first in front; at least one."""
        found = _parse(image_path)
        if found is None and self.separator is not None:
            found = image_path.split(self.separator)
        named = [one.strip() for one in found or [] if isinstance(one, str)]
        begin = self.choice - 1 if self.choice > 0 else self.choice
        ordered = [one for one in (*named[begin:][:1], *named) if one]
        return list(dict.fromkeys(ordered))[:MOST_IMAGES] or [image_path]


Triple = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
Positive = Annotated[FiniteFloat, Field(gt=0)]


class ImageShape(BaseModel):
    """Size, fit and normalisation of an image tower's input, kept in a checkpoint.

    `pad` keeps the whole picture and fills the square with white, which surrounds most products
    in catalogs. `crop` cuts the centre square, as CLIP's own preprocessing does.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size_px: int = Field(gt=0)
    fit: Literal["pad", "crop"]
    mean: Triple
    std: tuple[Positive, Positive, Positive]


# The error of a product that names no image: nothing failed.
NO_IMAGE_PATH = "no image path"


@dataclass(frozen=True, slots=True)
class ImageStat:
    """Size in bytes, etag and modification time (UTC) of an image.

    Files on a disk or in HDFS have no etag.
    """

    size: int
    etag: str | None
    modified_at: datetime | None

    @property
    def modified_us(self) -> int | None:
        """The modification time in microseconds since 1970."""
        if self.modified_at is None:
            return None
        return (self.modified_at - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)


class ImageProblem(Exception):
    """An image that cannot be used, with the status for its row."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def _parse(text: str) -> list[Any] | None:
    """Return the list that a text is in JSON, else None."""
    if not text.startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None
