"""Published rows whose product is gone, found again when a staged run is published later."""

import logging
from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from enrich.config import JobConfig
from enrich.errors import ConfigError, EnrichError, NoAnswer
from enrich.spark.catalog.table import CatalogSnapshot, open_catalog, refuse_exchanged
from enrich.spark.failures import explain_failure
from enrich.spark.guards import refuse_many_deletions
from enrich.spark.ledger import has_newer_run
from enrich.spark.records import Attempt
from enrich.spark.tables.output_tables import OutputTables
from enrich.spark.tables.scratch import write_aside
from enrich.spark.times import is_to_come

log = logging.getLogger(__name__)


def find_vanished(
    tables: OutputTables, config: JobConfig, row: Mapping[str, Any], scratch: str
) -> DataFrame | None:
    """Returns the product_id of each published row that a staged run is to delete.

    Runs on the driver; four actions. What is found stands in `scratch`: the product table may be
    written over before it is deleted. None, and a warning, where the product table can no longer be
    read as the run saw it, or a newer run has seen a newer one.

    Args:
        tables: The output tables.
        config: With `columns` and `max_deleted_share`.
        row: The staged run's, from the ledger.
        scratch: A folder to write to, which the caller removes.

    Raises:
        TooManyFailures: so much is gone that the product table may be cut off.
    """
    try:
        # From the ledger: the settings may name another table by now, and it may have changed.
        catalog = open_catalog(tables.spark, row["catalog"], config.columns, row["catalog_version"])
        return _select_vanished(tables, config, row, catalog, scratch)
    except Exception as error:
        # Of a version that can still be opened, files may be gone.
        known = error if isinstance(error, EnrichError) else explain_failure(error)
        if not isinstance(known, (ConfigError, NoAnswer)):
            raise
        log.warning("vanished products are left to the next run: %s", known)
        return None


def _select_vanished(
    tables: OutputTables,
    config: JobConfig,
    row: Mapping[str, Any],
    catalog: CatalogSnapshot,
    scratch: str,
) -> DataFrame | None:
    then, now = (row["catalog"], row["catalog_version"]), (catalog.name, catalog.version)
    if then != now:
        log.warning(
            "vanished products are left to the next run: run %s read %s in version %s, and this "
            "is %s in version %s",
            *(row["run_id"], *then, *now),
        )
        return None
    if has_newer_run(tables, Attempt.of(row)):
        log.warning("vanished products are left as they are: a newer run has ended")
        return None
    # With a column: Spark refuses to read of a CSV file nothing but what does not fit its columns.
    has_lost_id = "has_surplus_fields OR (has_replaced_bytes AND product_id IS NULL)"
    if catalog.products.where(has_lost_id).select("product_id").first() is not None:
        log.warning("vanished products are left as they are: rows whose ids are lost may be theirs")
        return None
    is_older = (F.col("run_date") <= row["run_date"]) | F.expr(is_to_come("run_date"))
    published = tables.read("product_attributes").where(is_older)
    missing = published.join(catalog.products, "product_id", "left_anti").select("product_id")
    gone = write_aside(missing, scratch)
    refuse_exchanged(catalog)
    refuse_many_deletions(gone.count(), row["read"], config)
    return gone
