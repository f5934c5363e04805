"""What is counted as failed, and from when on it is too much."""

import pytest

from enrich.config import JobConfig
from enrich.engine.unreadable import FailureCounts
from enrich.errors import TooManyFailures
from enrich.images.settings import NO_IMAGE_PATH
from enrich.records import EncodedProduct, Modalities, Status


def row(status="ok", modalities="text", error=None):
    read_from = None if modalities is None else Modalities(modalities)
    return EncodedProduct("p", Status(status), read_from, None, error)


def count(*rows):
    counts = FailureCounts()
    for one in rows:
        counts.add(one)
    return counts


def test_a_product_that_names_no_image_has_none_that_failed():
    counts = count(
        row(modalities="image+text"),
        row("image_missing", error="no such file"),
        row("image_missing", error=NO_IMAGE_PATH),
        row("image_missing", None, NO_IMAGE_PATH),
        row("text_empty", "image"),
    )
    assert counts == FailureCounts(rows=5, unreadable=1, named_images=3, failed_images=1)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (
            FailureCounts(rows=1_000, unreadable=201),
            "201 of 1,000 products could not be read, 20.1%",
        ),
        (
            FailureCounts(rows=1_000, named_images=200, failed_images=101),
            r"101 of 200 images could not be read, 50.5% \(allowed are 50.0%\)",
        ),
    ],
)
def test_more_failures_than_are_allowed_are_refused(counts, message):
    with pytest.raises(TooManyFailures, match=message):
        counts.refuse_many(JobConfig())


def test_as_many_failures_as_are_allowed_and_few_of_any_pass():
    FailureCounts(1_000, 200, 200, 100).refuse_many(JobConfig())
    FailureCounts(199, 199, 199, 199).refuse_many(JobConfig())
