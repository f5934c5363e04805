"""Rules of the refresh one by one, on plain values."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from enrich.spark.rules import Run, find_base
from schemas.tables import DiffKind, State

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def make_run(run_id: str = "a", days_ago: float = 1, **changes: Any) -> Run:
    """Return a published whole run that began and ended so many days ago."""
    at = NOW - timedelta(days=days_ago)
    run = Run(
        *(run_id, 2, State.PUBLISHED, at, None, at.date(), at, True, False, "one-p90"),
        caused_by=None,
        published_version=6,
        source="delta",
        source_version="3",
        compared_version=5,
    )
    return run._replace(**changes)


@pytest.mark.parametrize(
    ("base", "compared_version", "is_full"),
    [
        (make_run(), 6, False),
        (make_run(), 9, False),
        (make_run(published_version=None, state=State.NOTHING_TO_DO), 5, False),
        # product_attributes was dropped, and made anew.
        (make_run(), 0, True),
        (make_run(), 5, True),
        (make_run(published_version=1, compared_version=0), 0, True),
        (make_run(published_version=None, state=State.NOTHING_TO_DO), 4, True),
    ],
)
def test_all_products_are_compared_after_the_published_table_was_dropped(
    base: Run, compared_version: int, is_full: bool
) -> None:
    own = make_run("b", 0, compared_version=compared_version)
    found = find_base(own, [base], NOW - timedelta(days=7), deletes=False)
    assert found == (None if is_full else base)
