"""Stops a run of which too much is missing or unreadable, and says which setting allows more."""

from pyspark.sql import functions as F
from schemas.digits import tell_apart
from schemas.tables import Outcome

from enrich.config import JobConfig, is_too_much
from enrich.errors import ConfigError, TooManyFailures
from enrich.spark.counting import New
from enrich.spark.inputs import Inputs
from enrich.spark.survey import Survey
from enrich.spark.tables.output_tables import OutputTables


def refuse_demo_among_products(tables: OutputTables, demo: str) -> None:
    """Raises ConfigError when the demo would go to the tables of another catalog.

    A job that is given no product table takes the demo, also one that is given another database.
    Runs on the driver; one action where the database is there.

    Args:
        tables: Those that the demo would go to.
        demo: The name of the demo's folder, wherever a checkout had it.
    """
    ledger = tables.name("enrichment_runs")
    if not tables.spark.catalog.tableExists(ledger):
        return
    has_answers = (F.col("published") > 0) | (F.col("outcome") == Outcome.STAGED)
    of_others = has_answers & ~F.col("catalog").endswith(demo)
    if (run := tables.read("enrichment_runs").where(of_others).first()) is not None:
        raise ConfigError(
            f"database '{tables.database}' holds what is known of {run['catalog']}, and the "
            "demo's invented products would be published among it: give --config or --catalog, or "
            "another --database for the demo"
        )


def refuse_cut_off(inputs: Inputs, survey: Survey, gone: int) -> None:
    """Raises TooManyFailures when the product table lacks so much that it may be cut off.

    `gone` is what `inputs.count_gone` tells; where it is none, only a table without any row is
    refused. Runs on the driver; one action for such a table.
    """
    if gone:
        refuse_many_deletions(gone, survey.read, inputs.config)
        return
    if survey.read or inputs.request.limit is not None:
        return
    # Counted anew: what a run of a later date has published has not vanished for this one.
    if there := inputs.tables.read_as_updated("product_attributes").count():
        # Else a night on which the shop's export failed would end well, with nothing to do.
        raise TooManyFailures(
            f"the product table has no row, and {there:,} products are published. Nothing was "
            "changed: check that the product table is whole. If the shop is empty indeed, "
            "'missing_products: delete' with 'max_deleted_share: 1' deletes them"
        )


def explain_cut_off(inputs: Inputs, survey: Survey, gone: int) -> str | None:
    """Returns what `refuse_cut_off` would say, None where it would let the run go on."""
    try:
        refuse_cut_off(inputs, survey, gone)
    except TooManyFailures as error:
        return str(error)
    return None


def refuse_many_deletions(gone: int, read: int, config: JobConfig) -> None:
    """Raises TooManyFailures when so much is to be deleted that the product table may be cut off.

    `gone` are published products that are not among the `read` rows. Runs on the driver.
    """
    allowed = config.max_deleted_share
    if gone and (share := gone / (gone + read)) > allowed:
        found, most = tell_apart(share, allowed, ".1%")
        raise TooManyFailures(
            f"{gone:,} published products are no longer in the product table, which has "
            f"{read:,} rows: {found} would be deleted, allowed are {most} "
            "(max_deleted_share). Nothing was published or deleted: check that the product table "
            "is whole"
        )


def refuse_many_failures(inputs: Inputs, new: New) -> None:
    """Raises TooManyFailures when too many products, or their images, could not be read.

    Runs on the driver. Only products that are asked about for the first time count: a few files
    that stay denied, and are asked for again and again, would stop every night on which little else
    is new. Nor do answers count that were carried over, or that an earlier attempt has published.
    """
    config, staged = inputs.config, inputs.tables.name("staged_attributes")
    allowed, failed = config.max_quarantined_share, new.asked - new.answered
    if is_too_much(failed, new.asked, allowed):
        found, most = tell_apart(failed / new.asked, allowed, ".1%")
        raise TooManyFailures(
            f"{found} of {new.asked:,} new or changed products could not be "
            f"read, allowed are {most} (max_quarantined_share). Nothing was published; the "
            f"reasons are in {staged} (status, error): check the export, the image root and its "
            "permissions, then run again"
        )
    allowed = config.max_failed_images_share
    # The answers would rest on texts alone.
    if is_too_much(new.failed_images, new.images, allowed):
        found, most = tell_apart(new.failed_images / new.images, allowed, ".1%")
        raise TooManyFailures(
            f"of {new.images:,} products that name an image, {found} "
            f"of the images could not be read, allowed are {most} "
            f"(max_failed_images_share). Nothing was published; the errors are in {staged}: check "
            "the image root, its store and its permissions, then run again"
        )
