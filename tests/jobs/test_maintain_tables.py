"""jobs/maintain_tables.py: its command line, and what it leaves alone."""

import pytest


@pytest.mark.parametrize(
    ("flag", "given", "least"), [("--retention-hours", 167, 168), ("--keep-candidates-days", 0, 1)]
)
def test_the_time_of_readers_and_a_rollback_is_never_cut_short(run, flag, given, least):
    code, _, err = run(flag, given)
    said = " ".join(err.replace("│", " ").split())
    assert code == 2 and f"'{flag}': Input should be greater than or equal to {least}" in said
