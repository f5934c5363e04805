"""What an image may cost, how patiently its store is asked, and what is said of one without use.

Knows neither files nor stores.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import Field

from enrich.records import Status
from enrich.settings_files import YamlSettings


class ImageLimits(YamlSettings):
    """How much an image may cost before it is refused."""

    max_bytes: int = Field(default=50_000_000, gt=0)
    # Pillow opens none that are larger, nor should it.
    max_pixels: int = Field(default=50_000_000, gt=0, le=178_956_970)


class ImageReading(YamlSettings):
    """How patiently a store is asked for an image, and what its row says when the store failed.

    A store fails where it gives no answer, an error of its own, or half a file. A file that is not
    there, or that it denies, is an answer and is not asked for again.
    """

    attempts: int = Field(default=3, ge=1, le=20)
    timeout_s: float = Field(default=30, gt=0, le=3_600)
    failed_status: Literal[Status.IMAGE_UNREADABLE, Status.IMAGE_MISSING] = Status.IMAGE_UNREADABLE


@dataclass(frozen=True, slots=True)
class ImageStat:
    """What a store says of an image without sending its bytes.

    `size` is in bytes, `modified_at` in UTC. `etag` is the store's own name of the content; files
    on a disk have none.
    """

    size: int
    etag: str | None
    modified_at: datetime | None


class ImageProblem(Exception):
    """An image that cannot be used, with the status for its row."""

    def __init__(self, status: Status, reason: str) -> None:
        super().__init__(reason)
        self.status = status
