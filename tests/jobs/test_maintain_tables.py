"""jobs/maintain_tables.py: what it does not do."""

from collections.abc import Callable

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("flag", [("--retention-hours", 167), ("--keep-staged-days", 0)])
def test_what_readers_and_a_rollback_need_is_never_deleted(run: Run, flag: tuple[str, int]) -> None:
    code, _, err = run(*flag)
    said = " ".join(err.replace("│", " ").split())
    assert code == 2 and f"'{flag[0]}': {flag[1]} is not in the range" in said
