"""The checks of a product table before inference: what would waste hours if found afterwards.

Pure functions of counts. Rows that break them are quarantined one by one anyway; these checks say
that a table is broken as a whole: a wrong key, a lost text column, images that are out of reach.
"""

from functools import partial

from expectations import chance
from expectations.checks import Check, share_out
from expectations.figures import InputFigures
from expectations.settings import ValidationSettings


def check_input(figures: InputFigures, settings: ValidationSettings) -> list[Check]:
    """Returns every check of a product table; there is nothing to check in an empty one."""
    rows, tried = figures.rows, figures.images_tried
    ids, texts = settings.max_unusable_id_share, settings.max_empty_text_share
    shares = [
        (
            "expect_product_ids_present",
            figures.without_id,
            rows,
            ids,
            "rows have no product_id",
            "max_unusable_id_share",
        ),
        (
            "expect_product_ids_unique",
            figures.repeated_id,
            rows,
            ids,
            "rows repeat a product_id of another row",
            "max_unusable_id_share",
        ),
        (
            "expect_text_present",
            figures.without_text,
            figures.pending,
            texts,
            "products have neither title nor description",
            "max_empty_text_share",
        ),
        (
            "expect_images_reachable",
            tried - figures.images_read,
            tried,
            settings.max_unread_image_share,
            "images of a sample could not be read",
            "max_unread_image_share",
        ),
    ]
    measured = [partial(_check_share, *share) for share in shares if share[2]]
    return share_out(measured, settings.false_alarm_rate)


def _check_share(
    expectation: str,
    found: int,
    rows: int,
    tolerance: float,
    what: str,
    setting: str,
    alpha: float,
) -> Check:
    allowed = chance.allowed_share(tolerance, rows, alpha)
    return Check(
        expectation=expectation,
        observed=found / rows,
        at_most=allowed,
        rule=f"Few {what}: a share of {tolerance:.0%}, and what chance adds to that.",
        finding=f"{found} of {rows} {what} ({found / rows:.1%}), allowed {allowed:.1%} "
        f"(validation.{setting})",
    )
