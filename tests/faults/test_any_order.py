"""Commands in any order, and in between each other: what stands is what a simple model says."""

import pytest
from commit_hook import CommitHook
from fake_shop import Shop
from long_tests import is_long

pytest.register_assert_rewrite("random_shop", "observed_tables")

from random_shop import RandomShop  # noqa: E402 - after its asserts are made to speak

pytestmark = pytest.mark.spark

SEEDS = range(4) if is_long() else range(1)
COMMANDS = 30 if is_long() else 5


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_is_done_in_whatever_order_the_table_is_as_expected(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random_shop = RandomShop(shop, CommitHook(monkeypatch), seed)
    try:
        for _ in range(COMMANDS):
            random_shop.act()
    finally:
        # pytest shows it where something else stands.
        print("\n".join(random_shop.log))
