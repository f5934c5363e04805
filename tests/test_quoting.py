"""Names as they may stand in SQL, whoever has quoted them."""

import pytest

from schemas.tables import quote


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("shop.products", "`shop`.`products`"),
        ("dev-catalog.shop.products", "`dev-catalog`.`shop`.`products`"),
        ("`dev-catalog`.shop.products", "`dev-catalog`.`shop`.`products`"),
        ("shop.`a.b`", "`shop`.`a.b`"),
        ("shop.`a``b`", "`shop`.`a``b`"),
        # What is no name is one that there is not, and never more than a name.
        ("a`; DROP TABLE b; --", "`a``; DROP TABLE b; --`"),
        ("`a` b", "```a`` b`"),
    ],
)
def test_a_name_is_quoted_once(name, quoted):
    assert quote(name) == quoted
