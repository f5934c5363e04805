"""A baseline of what a small catalog's classifier might say."""

import pytest
from drawn_answers import make_answers

from bench.gate_runs import build_baseline


@pytest.fixture(scope="session")
def baseline():
    """Of 3,000 sound answers."""
    return build_baseline(make_answers(3000, seed=1))
