"""When an earlier set-up is believed."""

from pathlib import Path

import pytest

from jobs.set_up import __main__ as set_up

INPUTS = (
    "pyproject.toml",
    "jobs/set_up/spark.py",
    "jobs/set_up/load_classes.py",
    "jobs/conf/spark/spark-defaults.conf",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Returns a checkout that holds only what a set-up's fingerprint is made of."""
    for name in INPUTS:
        file = tmp_path / "checkout" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return tmp_path / "checkout"


@pytest.mark.parametrize("changed", INPUTS)
def test_fingerprint_changes_with_every_file_that_decides_the_set_up(changed: str, checkout: Path):
    before = set_up.read_fingerprint(checkout)
    assert set_up.read_fingerprint(checkout) == before
    (checkout / changed).write_text("something else")
    assert set_up.read_fingerprint(checkout) != before


def test_fingerprint_changes_when_the_checkout_moves(checkout: Path):
    before = set_up.read_fingerprint(checkout)
    assert set_up.read_fingerprint(checkout.rename(checkout.with_name("moved"))) != before


def test_stamp_is_believed_only_for_the_same_files(tmp_path: Path):
    stamp = tmp_path / "set_up.json"
    assert set_up.read_stamp(stamp, "files") == set()
    set_up.write_stamp(stamp, {"spark", "test"}, "packages", "files")
    assert set_up.read_stamp(stamp, "files") == {"spark", "test"}
    assert set_up.read_stamp(stamp, "packages") == {"spark", "test"}
    assert set_up.read_stamp(stamp, "other files") == set()
    stamp.write_text('{"fingerprint": "files", "extras": ["spark"]}')  # of an earlier version
    assert set_up.read_stamp(stamp, "files") == {"spark"}


def test_half_written_stamp_is_not_believed(tmp_path: Path):
    stamp = tmp_path / "set_up.json"
    stamp.write_text('{"fingerprint": "fi')
    assert set_up.read_stamp(stamp, "files") == set()
