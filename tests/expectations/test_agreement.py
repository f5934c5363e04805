"""Products that nobody changed keep their labels, in the catalog and in each large category."""

import pytest

from expectations.agreement import check_agreements
from expectations.checks import Check, share_out
from expectations.figures import Agreement
from expectations.settings import ValidationSettings
from expectations.summary import OTHER, UNKNOWN


def check(*agreements: Agreement, **settings: object) -> list[Check]:
    given = ValidationSettings.model_validate(settings)
    return share_out(list(check_agreements(agreements, given)), given.false_alarm_rate)


def test_labels_of_one_category_that_went_to_other_products_block_where_the_whole_hides_them() -> (
    None
):
    whole = Agreement("color", None, True, compared=40_000, agreeing=39_700)
    shoes = Agreement("color", "shoes", True, compared=500, agreeing=250)
    shirts = Agreement("color", "shirts", True, compared=39_500, agreeing=39_450)
    (blocking,) = [one for one in check(whole, shoes, shirts) if one.blocks]
    assert (blocking.attribute, blocking.category) == ("color", "shoes")


@pytest.mark.parametrize(
    ("category", "same_model", "agreeing", "settings", "blocks"),
    [
        # 98 % are wanted of the whole, 96 % of a category, less what chance takes from that.
        (None, True, 955, {}, True),
        ("shoes", True, 955, {}, False),
        ("shoes", True, 930, {}, True),
        ("shoes", True, 955, {"category_slack": 1}, True),
        # 80 % of the whole, 60 % of a category.
        (None, False, 600, {}, True),
        ("shoes", False, 600, {}, False),
        ("shoes", False, 540, {}, True),
        # Twice this tolerance is more than all products.
        ("shoes", False, 0, {"min_agreement_other_model": 0.4}, False),
    ],
)
def test_a_category_may_disagree_by_so_many_times_what_the_whole_may(
    category: str | None,
    same_model: bool,
    agreeing: int,
    settings: dict[str, float],
    blocks: bool,
) -> None:
    (found,) = check(Agreement("color", category, same_model, 1_000, agreeing), **settings)
    assert found.blocks == blocks


@pytest.mark.parametrize(
    ("category", "compared", "is_checked"),
    [
        (None, 1, True),
        (None, 0, False),
        ("shoes", 100, True),
        ("shoes", 99, False),
        (OTHER, 5_000, False),
        (UNKNOWN, 5_000, False),
    ],
)
def test_agreement_is_asked_of_the_whole_and_of_every_large_category_that_is_one(
    category: str | None, compared: int, is_checked: bool
) -> None:
    assert len(check(Agreement("color", category, True, compared, compared))) == is_checked


@pytest.mark.parametrize(("agreeing", "blocks"), [(1_000, False), (999, True)])
def test_every_product_has_to_agree_where_that_is_wanted(agreeing: int, blocks: bool) -> None:
    agreement = Agreement("color", None, True, 1_000, agreeing)
    (found,) = check(agreement, min_agreement_same_model=1)
    assert found.blocks == blocks
