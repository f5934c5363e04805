"""How many cases the corpora of faults try: few in CI, all in `make test-faults`."""

import os

import pytest


def is_full() -> bool:
    """Tell whether all cases are tried."""
    return os.environ.get("ALL_CASES") == "1"


only_in_full = pytest.mark.skipif(not is_full(), reason="only `make test-faults` tries this")
