"""Batches are as large as a GPU has memory for, and lanes have the same to do."""

import pytest

from enrich.engine.prefetch import even_slices


@pytest.mark.parametrize(("total", "lanes"), [(0, 2), (1, 4), (9, 1), (13, 2), (64, 4)])
def test_no_batch_is_larger_than_allowed_and_lanes_share_them_evenly(total, lanes):
    slices = even_slices(total, 4, lanes)
    assert [row for one in slices for row in range(total)[one]] == [*range(total)]
    assert all(one.stop - one.start <= 4 for one in slices)
    assert len(slices) % lanes == 0 or len(slices) == total
