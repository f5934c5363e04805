"""Rules of the refresh one by one, on plain values."""

from datetime import UTC, datetime, timedelta

import pytest

from enrich.spark.rules import Run, find_base, list_unneeded_candidates
from schemas.tables import State

NOW = datetime(2026, 12, 1, tzinfo=UTC)


def make_run(run_id="a", days_ago=1, **changes):
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
    base, compared_version, is_full
):
    own = make_run("b", 0, compared_version=compared_version)
    found = find_base(own, [base], NOW - timedelta(days=7), deletes=False)
    assert found == (None if is_full else base)


@pytest.mark.parametrize(
    ("run", "is_unneeded"),
    [
        (make_run(days_ago=29, state=State.NOTHING_TO_DO), False),
        (make_run(days_ago=31, state=State.NOTHING_TO_DO), True),
        # A published run may be rolled back for 60 days.
        (make_run(days_ago=59), False),
        (make_run(days_ago=61), True),
        (make_run(days_ago=6, state=State.FAILED), False),
        (make_run(days_ago=8, state=State.FAILED), True),
        (make_run(days_ago=8, state=State.DISCARDED), True),
        (make_run(days_ago=8, state=State.SUPERSEDED), True),
        (make_run(days_ago=8, state=State.STARTED), True),
        (make_run(days_ago=400, state=State.PUBLISHING), False),
        (make_run(days_ago=400, state=State.ROLLING_BACK), False),
        (make_run(days_ago=400, state=State.RELEASED), False),
        # The newer run, of yesterday, has answered all products.
        (make_run(days_ago=29, state=State.BLOCKED), False),
        (make_run(days_ago=31, state=State.BLOCKED), True),
        (make_run("newest", 0, state=State.STAGED, at=NOW - timedelta(days=400)), False),
        # What is held back: the checkpoint "one" is used, and "two" was 90 days ago.
        (make_run(days_ago=400, state=State.ROLLED_BACK), False),
        (make_run(days_ago=400, state=State.ROLLED_BACK, model_version="one-p95"), False),
        (make_run(days_ago=31, state=State.ROLLED_BACK, model_version="two-p90"), False),
        (make_run(days_ago=91, state=State.ROLLED_BACK, model_version="two-p90"), True),
    ],
)
def test_candidates_stay_as_long_as_somebody_may_need_them(run, is_unneeded):
    newer = make_run("b", 1)
    keep, retention = timedelta(days=30), timedelta(days=60)
    found = list_unneeded_candidates([run, newer], NOW, keep=keep, retention=retention)
    assert found == ([run.run_id] if is_unneeded else [])
