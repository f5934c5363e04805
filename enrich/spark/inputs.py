"""Inputs of a run, and guards on its product table (R7)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from schemas.tables import Outcome, State

from enrich.calibration import UnseenSource
from enrich.config import DEMO_CATALOG, ImageIdentity, JobConfig
from enrich.engine.spec import EngineSpec
from enrich.errors import ConfigError, tell_apart
from enrich.images.store import ImageStore
from enrich.spark.changes import choose_base, digest_settings, find_changes
from enrich.spark.corrections import select_corrections
from enrich.spark.diff import (
    Diff,
    Lookups,
    build_inspect,
    compare,
    persist_and_count,
    repartition_by_size,
    select_findings,
)
from enrich.spark.listing import choose_identity, open_listing, with_image_keys
from enrich.spark.publish import select_held_back
from enrich.spark.rules import Attempt, Run, checkpoint_of
from enrich.spark.source import Source
from enrich.spark.tables import Tables, now
from enrich.unseen import SourceProfile


@dataclass(frozen=True, slots=True)
class Request:
    """Request of one run.

    If a run answers fewer products than `window`, the gate also checks them together with the
    latest answers of earlier runs.
    """

    run_date: date
    trigger: str | None = None
    full_refresh: bool = False
    limit: int | None = None
    publish: bool = True
    window: int = 0


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a refresh depends on."""

    spark: SparkSession
    config: JobConfig
    request: Request
    spec: EngineSpec
    store: ImageStore
    source: Source

    @property
    def tables(self) -> Tables:
        """Tables that the refresh writes."""
        config = self.config
        attributes = tuple(self.spec.attributes)
        return Tables(self.spark, config.database, attributes, config.encodings_database)

    def with_profile(self, profile: SourceProfile | None) -> "Inputs":
        """Return the same inputs with the source's thresholds."""
        if profile is None or self.config.unseen_source is UnseenSource.CALIBRATED:
            return self
        return replace(self, spec=self.spec.in_source(profile.rise))

    def select_products(self) -> DataFrame:
        """Return the rows of the product table that the run reads; lazy."""
        products = self.source.products
        limit = self.request.limit
        by_id = F.asc_nulls_last("product_id")
        return products if limit is None else products.orderBy(by_id).limit(limit)

    def make_header(self, run_id: str) -> Run:
        """Return the columns that all events of a run that begins now share."""
        request, source, spec = self.request, self.source, self.spec
        has_base = source.feed is not None and self.tables.exists("product_attributes")
        return Run(
            run_id=run_id,
            number=0,
            state=State.STARTED,
            at=now(),
            trigger=request.trigger,
            run_date=request.run_date,
            started_at=now(),
            is_whole=request.limit is None,
            full_refresh=request.full_refresh,
            source=source.name,
            source_version=source.version,
            encoder_version=spec.encoder_version,
            model_version=spec.model_version,
            settings=digest_settings(self.config, self.store, source.feed),
            caused_by=None,
            published_version=None,
            compared_version=self.tables.version("product_attributes") if has_base else None,
        )

    def choose_base(self, own: Run, runs: Sequence[Run]) -> Run | None:
        """Return the run since which changes are compared, None for a full diff."""
        if self.source.feed is None or not (
            self._uses_listing or self.config.columns.image_path is None
        ):
            return None
        return choose_base(self.tables, self.config, own, runs)

    @property
    def _identity(self) -> ImageIdentity:
        return choose_identity(self.config, self.store, is_whole=self.request.limit is None)

    @property
    def _uses_listing(self) -> bool:
        return self._identity is ImageIdentity.LISTING

    def diff(self, runs: Sequence[Run], attempt: Attempt, base: Run | None = None) -> Diff:
        """Return the diff of all products, or of changes since a base; write nothing.

        `Diff.rows` are persisted; the caller unpersists them.
        """
        products = repartition_by_size(self.select_products())
        lookups = self._read_lookups(products, runs)
        if base is None or self.source.feed is None:
            return persist_and_count(self._compare(products, lookups, attempt))
        version = self.spec.model_version
        since = base.started_at
        accepted = [run.run_id for run in runs if run.is_accepted and run.started_at >= since]
        changes = find_changes(
            self.tables, base, self.source.feed, products, lookups, version, self.store, accepted
        )
        if changes is None:
            return persist_and_count(self._compare(products, lookups, attempt))
        try:
            compared = self._compare(
                repartition_by_size(changes.products), changes.lookups, attempt
            )
            return persist_and_count(compared, changes.total)
        finally:
            changes.unpersist()

    def _read_lookups(self, products: DataFrame, runs: Sequence[Run]) -> Lookups:
        """Return the tables that products are compared to; lazy."""
        tables, spec, listing = self.tables, self.spec, None
        if self._uses_listing:
            listing = open_listing(self.store, self.config.image_inventory, products)
        not_accepted = [run.run_id for run in runs if not run.is_accepted]
        return Lookups(
            published=tables.read_or_empty("product_attributes"),
            corrections=select_corrections(
                tables.read_or_empty("attribute_corrections"), spec.attributes
            ),
            findings=select_findings(
                tables.read_or_empty("quarantine"), spec.limits_digest, not_accepted
            ),
            held_back=select_held_back(tables, runs, checkpoint_of(spec.model_version)),
            images=tables.read_or_empty("images"),
            listing=listing,
        )

    def _compare(self, products: DataFrame, lookups: Lookups, attempt: Attempt) -> DataFrame:
        if lookups.listing is not None:
            products = with_image_keys(products, self.store, "image_path")
        return compare(
            products,
            lookups,
            attempt,
            self.spec.model_version,
            build_inspect(self.store, self._identity, self.config.read_threads),
            is_whole=self.request.limit is None,
            is_renewed=self.request.full_refresh,
            by_category=bool(self.spec.applies_to),
        )


def refuse_demo_among_products(inputs: Inputs, runs: Sequence[Run]) -> None:
    """Raise ConfigError when the demo would go to the tables of another product table.

    A job without a product table runs the demo, also if it has another database.
    """
    if inputs.config.catalog != DEMO_CATALOG:
        return
    # By name, because the demo's folder may have moved with its checkout.
    demo = Path(inputs.source.name).name
    others = [run.source for run in runs if run.answered and not run.source.endswith(demo)]
    if others:
        raise ConfigError(
            f"Database '{inputs.config.database}' holds products of {others[0]}, and the demo "
            "would be published among them. Give --config or --catalog, or another --database for "
            "the demo."
        )


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
