"""The page of a run has words for everything that a row may say."""

from enrich.records import Status
from enrich.report.words import REASONS, STATUSES
from schemas.tables import Reason


def test_every_status_and_reason_has_an_explanation() -> None:
    assert set(STATUSES) == set(Status)
    assert set(REASONS) == set(Reason)
