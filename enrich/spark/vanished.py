"""Published rows whose product is gone, found again when a staged run is published later."""

import logging
from collections.abc import Mapping
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from enrich.config import JobConfig
from enrich.spark.catalog import CatalogSnapshot
from enrich.spark.guards import refuse_many_deletions
from enrich.spark.ledger import has_newer_run
from enrich.spark.tables import OutputTables

log = logging.getLogger(__name__)


def select_vanished(
    tables: OutputTables, config: JobConfig, row: Mapping[str, Any], catalog: CatalogSnapshot
) -> DataFrame | None:
    """Returns product_id, run_date and enriched_at, as `OutputTables.delete_published` takes them.

    Runs on the driver; one action.

    Args:
        tables: The output tables.
        config: With `max_deleted_share`.
        row: The staged run's, from the ledger.
        catalog: The product table. If it is not as the run saw it, or a newer run has seen a newer
            one, nothing is to be deleted: None.

    Raises:
        TooManyFailures: so much is gone that the product table may be cut off.
    """
    seen, found = (row["catalog"], row["catalog_version"]), (catalog.name, catalog.version)
    if seen != found:
        log.warning(
            "vanished products are left to the next run: run %s read %s in version %s, and this "
            "is %s in version %s",
            *(row["run_id"], *seen, *found),
        )
        return None
    if has_newer_run(tables, row["run_date"], row["started_at"]):
        log.warning("vanished products are left as they are: a newer run has ended")
        return None
    published = tables.read("product_attributes").where(F.col("run_date") <= row["run_date"])
    lineage = {"run_date": row["run_date"], "enriched_at": row["started_at"]}
    gone = published.join(catalog.products, "product_id", "left_anti").select(
        "product_id", *(F.lit(value).alias(name) for name, value in lineage.items())
    )
    refuse_many_deletions(gone.count(), row["read"], config)
    return gone
