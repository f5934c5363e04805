"""The page of a run has words for everything that a row may say."""

from enrich.records import Status
from enrich.report.words import STATUSES


def test_every_status_has_an_explanation() -> None:
    assert set(STATUSES) == set(Status)
