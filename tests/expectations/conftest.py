"""A baseline of what a small shop's classifier might say."""

import pytest
from drawn_answers import make_answers

from expectations.baseline import LabelBaseline
from expectations.drill.in_arrays import build_baseline


@pytest.fixture(scope="session")
def baseline() -> LabelBaseline:
    """Of 3,000 sound answers."""
    return build_baseline(make_answers(3000, seed=1))
