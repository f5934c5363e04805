"""The checks of a product table before inference: what would waste hours if found afterwards.

Pure functions of counts. Rows that break them are quarantined one by one anyway; these checks say
that a table is broken as a whole: a wrong key, a lost text column, images that are out of reach.
"""

from functools import partial
from typing import NamedTuple

from schemas.digits import tell_apart

from expectations import chance
from expectations.checks import Check, share_out
from expectations.figures import InputFigures
from expectations.settings import ValidationSettings

# One picture under fewer paths may be that of one product in many sizes. Under more of them it is
# the placeholder of a shop that has lost its images.
_MIN_PATHS = 50


class _Share(NamedTuple):
    """Of `rows` rows `broken` have something wrong.

    `what` goes on from their number in a sentence, `setting` is the name of the setting that says
    how large their share may be, and `example` says what is wrong with the first of them.
    """

    expectation: str
    what: str
    broken: int
    rows: int
    setting: str
    example: str | None = None


def check_input(figures: InputFigures, settings: ValidationSettings) -> list[Check]:
    """Returns every check of a product table; there is nothing to check in an empty one."""
    images = figures.images
    shares = [
        _Share(
            "expect_product_ids_present",
            "rows have no product_id, or none in UTF-8, or more fields than columns",
            figures.without_id,
            figures.rows,
            "max_unusable_id_share",
        ),
        _Share(
            "expect_product_ids_unique",
            "rows repeat a product_id of another row",
            figures.repeated_id,
            figures.rows,
            "max_unusable_id_share",
        ),
        _Share(
            "expect_text_present",
            "products have neither title nor description",
            figures.without_text,
            figures.new,
            "max_empty_text_share",
        ),
        _Share(
            "expect_images_reachable",
            "images of a sample could not be read",
            images.tried - images.read,
            images.tried,
            "max_unread_image_share",
            images.problem,
        ),
        _Share(
            "expect_images_to_differ",
            "images of a sample are one and the same picture",
            images.alike,
            images.paths if images.paths >= _MIN_PATHS else 0,
            "max_same_image_share",
        ),
    ]
    measured = [
        partial(_check_share, share, getattr(settings, share.setting))
        for share in shares
        if share.rows
    ]
    return share_out(measured, settings.false_alarm_rate)


def _check_share(share: _Share, tolerance: float, alpha: float) -> Check:
    allowed = chance.allowed_share(tolerance, share.rows, alpha)
    observed = share.broken / share.rows
    found, most = tell_apart(observed, allowed, ".1%")
    example = "" if share.example is None else f"; the first: {share.example}"
    return Check(
        expectation=share.expectation,
        observed=observed,
        at_most=allowed,
        rule=f"Few {share.what}: a share of {tolerance:.0%}, and what chance adds to that.",
        finding=f"{share.broken} of {share.rows} {share.what} ({found}), allowed {most} "
        f"(validation.{share.setting}){example}",
    )
