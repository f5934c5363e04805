"""Counts what the fault tests did, for the last line of `make test-faults`."""

import json
from pathlib import Path

import pytest
from fault_drill import Drill

COUNTS_FILE = Path(__file__).parents[2] / "build" / "faults.json"


@pytest.fixture(scope="session")
def drill():
    """The session's counts; a file holds them when it ends."""
    drill = Drill()
    yield drill
    COUNTS_FILE.parent.mkdir(exist_ok=True)
    COUNTS_FILE.write_text(json.dumps(drill.counts) + "\n")
