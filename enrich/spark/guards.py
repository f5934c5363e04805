"""Guards of a run (R7): limits on missing products and unreadable contents."""

from collections.abc import Iterator

from schemas.tables import Outcome

from enrich.config import JobConfig, is_too_much
from enrich.errors import tell_apart
from enrich.spark.answer import AnswerCounts
from enrich.spark.diff import Diff
from enrich.spark.inputs import Inputs
from enrich.spark.tables import Tables


def count_deletable(inputs: Inputs, diff: Diff, superseded: bool) -> int:
    """Return the number of published rows that the run deletes.

    It is 0 if any row's id is unreadable: that row may be one of the products that seem to be
    missing. It is 0 too if a newer whole run was accepted, which has compared all products itself.
    """
    if superseded or diff.lost_ids or not inputs.config.deletes_missing:
        return 0
    return diff.count(Outcome.MISSING)


def explain_truncation(inputs: Inputs, diff: Diff, superseded: bool) -> str | None:
    """Return why the product table may be truncated, None where it looks whole."""
    if inputs.request.limit is not None:
        return None
    missing = diff.count_surely_missing()
    if not diff.read:
        if not missing or (inputs.config.deletes_missing and inputs.config.max_deleted_share == 1):
            return None
        return (
            f"The product table has 0 rows, and {missing:,} products are published. Nothing was "
            "changed: check that the product table is whole. If the shop is empty indeed, "
            "'missing_products: delete' with 'max_deleted_share: 1' deletes them."
        )
    allowed = inputs.config.max_deleted_share
    if not inputs.config.deletes_missing or superseded or not missing:
        return None
    if (share := missing / (missing + diff.read)) <= allowed:
        return None
    found, most = tell_apart(share, allowed, ".1%")
    return (
        f"{missing:,} published products are no longer in the product table, which has "
        f"{diff.read:,} rows: {found} would be deleted, allowed are {most} (max_deleted_share). "
        "Nothing was published or deleted: check that the product table is whole."
    )


def explain_unreadable(config: JobConfig, answered: AnswerCounts, tables: Tables) -> Iterator[str]:
    """Yield the limits on unreadable contents and images that are exceeded (R7).

    The shares leave out contents that an accepted run has published or quarantined. So a few images
    that stay unreadable do not block every night, and a blocked night blocks the next one too.
    """
    of, where = answered.contents, tables.name("quarantine")
    if is_too_much(answered.unreadable, of, config.max_quarantined_share):
        share = answered.unreadable / of
        found, most = tell_apart(share, config.max_quarantined_share, ".1%")
        yield (
            f"{found} of {of:,} new or changed contents could not be read, allowed are {most} "
            f"(max_quarantined_share); the reasons are in {where}"
        )
    # Without images, answers would rest on texts alone.
    if is_too_much(answered.failed_images, answered.with_image, config.max_failed_images_share):
        share = answered.failed_images / answered.with_image
        found, most = tell_apart(share, config.max_failed_images_share, ".1%")
        yield (
            f"of {answered.with_image:,} contents that name an image, {found} of the images could "
            f"not be read, allowed are {most} (max_failed_images_share): check the image root, its "
            "store and its permissions"
        )
