"""What a refresh is given, and what follows from that before anything is done."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from enrich.config import JobConfig
from enrich.images.store import ImageStore
from enrich.spark.catalog.table import CatalogSnapshot
from enrich.spark.corrections import select_corrections
from enrich.spark.inference.udf import build_content_hash_udf
from enrich.spark.ledger import has_newer_run
from enrich.spark.quarantine import select_known_unreadable
from enrich.spark.records import Attempt, RunRequest
from enrich.spark.survey import (
    INPUT_FIELDS,
    State,
    Survey,
    is_of_checkpoint,
    order_of_duplicates,
    spread,
    with_states,
)
from enrich.spark.tables.output_tables import OutputTables
from enrich.spark.times import is_to_come
from enrich.spec import BuildsEngine


@dataclass(slots=True)
class Inputs:
    """All that a refresh depends on; `tables` are those that it would write. Runs on the driver."""

    spark: SparkSession
    config: JobConfig
    request: RunRequest
    spec: BuildsEngine
    store: ImageStore
    catalog: CatalogSnapshot
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    tables: OutputTables = field(init=False)

    def __post_init__(self) -> None:
        attributes = tuple(self.spec.attributes)
        self.tables = OutputTables(self.spark, self.config.database, attributes)

    @property
    def attempt(self) -> Attempt:
        """This attempt at the run."""
        return Attempt(self.request.run_date, self.started_at)

    def select_states(self, read: Callable[[str], DataFrame]) -> DataFrame:
        """Returns all products with their state; lazy. `read` returns an output table by name."""
        products = self.catalog.products
        if self.request.limit is not None:
            with_id = products.where(F.col("product_id").isNotNull())
            ordered = with_id.orderBy("product_id", *order_of_duplicates())
            products = ordered.limit(self.request.limit)
        identity = self.config.image_identity
        content_hash = build_content_hash_udf(self.store, identity, self.config.read_threads)
        hashed = spread(products).withColumn("content_hash", content_hash(*INPUT_FIELDS))
        version, run_date = self.spec.model_version, self.request.run_date
        known = F.lit(False) if self.request.full_refresh else is_of_checkpoint(version)
        return with_states(
            hashed,
            read("product_attributes")
            .withColumn("is_of_this_checkpoint", known)
            .withColumn("is_of_this_version", F.col("model_version") == version)
            .withColumn(
                "is_newer", (F.col("run_date") > run_date) & ~F.expr(is_to_come("run_date"))
            ),
            select_corrections(read("attribute_corrections"), self.spec.attributes),
            select_known_unreadable(read("quarantine").where(known)),
            is_whole=self.request.limit is None,
        )

    def name_run(self, fingerprint: str) -> str:
        """Returns the run's id: with the same date, inputs and model it is the same run again."""
        request = self.request
        if request.run_id:
            return request.run_id
        where = (self.catalog.name, self.config.database)
        what = (self.spec.model_version, request.limit, request.full_refresh, fingerprint)
        digest = hashlib.sha256(repr((*where, *what)).encode()).hexdigest()
        return f"{request.run_date:%Y%m%d}-{digest[:10]}"

    def lineage(self, run_id: str) -> dict[str, Any]:
        """Returns what rows say of the run that they are from."""
        return {
            "model_version": self.spec.model_version,
            "run_id": run_id,
            "run_date": self.request.run_date,
        }

    def count_gone(self, survey: Survey) -> int:
        """Returns how many published rows are of products that are surely gone.

        None where these are kept, or a newer run has found out for itself what is gone.
        """
        gone = survey.count(State.VANISHED) - survey.lost_ids
        if gone <= 0 or not self.config.deletes_missing:
            return 0
        is_behind = has_newer_run(self.tables, self.attempt)
        return 0 if is_behind else gone


def count_to_delete(survey: Survey, gone: int) -> int:
    """Returns how many of the rows that are surely `gone` the run deletes, or who publishes it.

    None while the id of a row is lost: which of the vanished products are gone nobody knows.
    """
    return 0 if survey.lost_ids else gone
