"""Which publications stand, by the history of the table alone."""

from datetime import UTC, datetime, timedelta

import pytest

from enrich.spark.tables.history import Commit, select_standing

CREATED = datetime(2026, 11, 24, tzinfo=UTC)


def history(*made: str | int) -> list[Commit]:
    """Returns a version each: by the run of that name, or a RESTORE to that version."""
    commits = [Commit(0, CREATED, None, None, 0)]
    for version, by in enumerate(made, start=1):
        run_id, restored_to = (by, None) if isinstance(by, str) else ("rollback", by)
        commits.append(Commit(version, CREATED + timedelta(hours=version), run_id, restored_to, 0))
    return commits


@pytest.mark.parametrize(
    ("made", "standing"),
    [
        (("monday", "tuesday"), ["monday", "tuesday"]),
        (("monday", "tuesday", 1), ["monday"]),
        (("monday", "tuesday", 1, "wednesday"), ["monday", "wednesday"]),
        (("monday", "tuesday", 1, 0), []),
        (("monday", "tuesday", 1, 2), ["monday", "tuesday"]),
        (("monday", "tuesday", 1, 2, 3), ["monday"]),
        (("monday", "tuesday", 1, "wednesday", 2), ["monday", "tuesday"]),
    ],
)
def test_what_a_restore_undid_stands_again_once_that_is_undone_itself(
    made: tuple[str | int, ...], standing: list[str]
) -> None:
    assert [commit.run_id for commit in select_standing(history(*made))] == standing
