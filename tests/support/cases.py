"""How many cases the corpora of faults try: few in CI, all in `make test-faults`."""

import os


def is_full() -> bool:
    """Tell whether all cases are tried."""
    return os.environ.get("ALL_CASES") == "1"
