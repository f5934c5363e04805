"""Whether the long tests run too: they are not what every change must be held against."""

import os

import pytest


def is_long() -> bool:
    """Returns whether tests run in full (`make test-faults` and others), or as CI's short cut."""
    return os.environ.get("LONG_TESTS") == "1"


in_full = pytest.mark.skipif(not is_long(), reason="whole refreshes: make test-faults")
