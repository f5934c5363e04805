"""Products that share a text or a picture are found to be one, however many there are."""

import numpy as np

from enrich.training.near_identical import group_near_identical


def test_groups_are_numbered_in_the_order_of_their_first_products_and_blanks_name_none() -> None:
    texts = ["a", "b", "c", "b", "", "", ""]
    pictures = ["1", "2", None, "1", " ", None, " "]
    assert group_near_identical(texts, pictures, 5).tolist() == [0, 0, 1, 0, 2, 3, 4]
    assert group_near_identical([], [], 5).tolist() == []


def test_a_picture_counts_by_how_many_different_texts_it_has() -> None:
    assert group_near_identical(["a", "b", "b", "c"], ["1"] * 4, 3).tolist() == [0] * 4
    assert group_near_identical(["a", "b", "b", "c"], ["1"] * 4, 2).tolist() == [0, 1, 1, 2]


def test_a_long_chain_is_one_group_and_found_at_once() -> None:
    links = np.random.default_rng(0).permutation(100_000)
    texts, pictures = [[str(n) for n in (links + more) // 2] for more in (0, 1)]
    assert not group_near_identical(texts, pictures, 5).any()
