"""Products are paired with products of other groups, as far as there are any."""

import numpy as np
import pytest

from enrich.training.text_changes import other_group


@pytest.mark.parametrize("sizes", [[1] * 50, [7, 1, 3, 9, 2, 2], [5, 5], [3, 1, 1, 1]])
def test_no_product_is_paired_with_its_own_group(sizes: list[int]) -> None:
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    partner, is_other = other_group(groups)
    assert sorted(partner) == list(range(len(groups)))
    assert is_other.all() and (groups[partner] != groups).all()


def test_products_of_a_group_that_is_more_than_half_find_no_partner_for_all() -> None:
    partner, is_other = other_group(np.array([4, 4, 4, 0]))
    assert is_other.sum() == 2 and sorted(partner) == [0, 1, 2, 3]
