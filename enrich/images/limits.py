"""Settings of image reading, and the answers about an image without its pixels."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
    """Retries of a store that fails, and the status of an image that is not read.

    A store fails if it gives no answer, an error of its own, or half a file. "Not found" and
    "denied" are answers and are not retried.
    """

    attempts: int = Field(default=3, ge=1, le=20)
    timeout_s: float = Field(default=30, gt=0, le=3_600)
    failed_status: Literal[Status.IMAGE_UNREADABLE, Status.IMAGE_MISSING] = Status.IMAGE_UNREADABLE


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
