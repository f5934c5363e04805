"""Counts of products and images that could not be read, outside Spark.

A product that names no image does not count as a failed image.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.tables import IMAGE_PROBLEMS

from enrich.config import JobConfig, is_too_much
from enrich.errors import ConfigError, TooManyFailures, tell_apart
from enrich.images.settings import NO_IMAGE_PATH, ImageProblem
from enrich.records import EncodedProduct


def names_an_image(error: str | None) -> bool:
    """Return True if a product names an image, by the error of its encoding."""
    return error != NO_IMAGE_PATH


@dataclass(slots=True)
class FailureCounts:
    """Number of rows, of unreadable rows, of named images and of failed images."""

    rows: int = 0
    unreadable: int = 0
    named_images: int = 0
    failed_images: int = 0

    def add(self, product: EncodedProduct) -> None:
        """Count a product by its modalities, status and error."""
        has_image = names_an_image(product.error)
        self.rows += 1
        self.unreadable += product.modalities is None
        self.named_images += has_image
        self.failed_images += has_image and product.status in IMAGE_PROBLEMS

    def refuse_many(self, settings: JobConfig) -> None:
        """Raise TooManyFailures if more rows or images failed than the settings allow."""
        for what, failed, among, allowed in (
            ("products", self.unreadable, self.rows, settings.max_quarantined_share),
            ("images", self.failed_images, self.named_images, settings.max_failed_images_share),
        ):
            if is_too_much(failed, among, allowed):
                found, most = tell_apart(failed / among, allowed, ".0%")
                raise TooManyFailures(
                    f"{failed:,} of {among:,} {what} could not be read, {found} (allowed are "
                    f"{most}). Check the file, the image root and its permissions."
                )


def describe_failures(problems: Sequence[ImageProblem | None]) -> str | None:
    """Return the number of failed images and the reasons; None for none.

    `problems` has None for each image that can be read. Raises ConfigError if images are named, and
    0 of them can be read.
    """
    named = [p for p in problems if p is None or names_an_image(str(p))]
    failed = [p for p in named if p is not None]
    if not failed:
        return None
    by_status = Counter(problem.status for problem in failed).most_common()
    reasons = ", ".join(f"{count:,} {status}" for status, count in by_status)
    if len(failed) == len(named):
        raise ConfigError(
            f"not one of {len(named):,} images can be read: found {reasons} (the first: "
            f"{failed[0]}). Give image paths that start from the catalog's image root, or none."
        )
    return f"{len(failed):,} of {len(named):,} images cannot be read: {reasons}"
