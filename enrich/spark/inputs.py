"""Inputs of a run, its diff, and guards on its product table (R7).

With a change feed, a run compares only products that may have changed since an earlier run (R13).
`Inputs._find_changes` adds products that are due for another reason. A full diff finds the same
products, and decides in case of doubt.
"""

import hashlib
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

from py4j.protocol import Py4JJavaError
from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from schemas.tables import Outcome, State

from enrich.calibration import UnseenSource
from enrich.config import DEMO_CATALOG, ImageIdentity, JobConfig
from enrich.engine.spec import EngineSpec
from enrich.errors import ConfigError, tell_apart
from enrich.images.store import ImageStore
from enrich.spark.corrections import select_corrections
from enrich.spark.diff import (
    Diff,
    Lookups,
    build_inspect,
    compare,
    left_join_sparse_key,
    persist_and_count,
    repartition_by_size,
    select_findings,
    select_last_image_states,
)
from enrich.spark.failures import reason_of
from enrich.spark.listing import Listing, choose_identity, open_listing, with_image_keys
from enrich.spark.publish import select_held_back
from enrich.spark.rules import (
    Attempt,
    PublishedRow,
    Run,
    checkpoint_of,
    find_base,
    is_newer,
    is_unchanged_since,
    must_be_compared,
)
from enrich.spark.source import Source
from enrich.spark.tables import Tables, now
from enrich.unseen import SourceProfile

log = logging.getLogger(__name__)

# Above this share of the products a full diff costs about as much.
_MAX_SHARE = 0.2
_PUBLISHED = (
    *("product_id", "content_hash", "model_version", "product_category", "corrections", "status"),
    *("run_date", "enriched_at", "run_id"),
)


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
            settings=self._digest_settings(),
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
        full_since = now() - timedelta(days=self.config.full_diff_days)
        base = find_base(own, runs, full_since, deletes=self.config.deletes_missing)
        if base is None:
            return None
        later = (own.compared_version or 0) - (base.compared_version or 0)
        # Others may commit meanwhile.
        commits = self.tables.read_commits(newest=later + 10) if later else []
        done = [(one.version, one.run_id, one.operation) for one in commits]
        if not is_unchanged_since(base, done):
            log.info(
                "all products are compared: product_attributes has changed since %s", base.run_id
            )
            return None
        return base

    def _digest_settings(self) -> str:
        """Return 12 hex digits of the settings and the table that a diff depends on."""
        # Any other setting may change what is due, so all products are compared once.
        settings = self.config.model_dump_json(exclude={"log_format"})
        feed = self.source.feed
        parts = (settings, self.store.root, "" if feed is None else feed.table_id)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

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
        if base is not None:
            since = base.started_at
            accepted = [run.run_id for run in runs if run.is_accepted and run.started_at >= since]
            with ExitStack() as kept:
                if found := self._find_changes(base, products, lookups, accepted, kept):
                    changed, its_lookups, total = found
                    changed = repartition_by_size(changed)
                    return persist_and_count(self._compare(changed, its_lookups, attempt), total)
        return persist_and_count(self._compare(products, lookups, attempt))

    def _find_changes(
        self,
        base: Run,
        products: DataFrame,
        lookups: Lookups,
        accepted: Sequence[str],
        kept: ExitStack,
    ) -> tuple[DataFrame, Lookups, int] | None:
        """Return the rows to compare since a run; None and a log line for a full diff.

        These are products
        - that the feed names,
        - whose published row may be due without a change (`must_be_compared`),
        - that were quarantined or are held back,
        - with a picture that differs between the listing and its last state.
        Rows without a usable id are always compared.

        Args:
            base: the run.
            products: rows of `Source.products`.
            lookups: tables that a full diff compares products to.
            accepted: ids of the accepted runs from `base` on.
            kept: unpersists what this method persists.

        Returns:
            The rows, the tables that they are compared to, and the size of the product table.
        """
        feed = self.source.feed
        assert feed is not None
        named = feed.read_ids(int(base.source_version))
        named = named.union(self.tables.read("quarantine").select("product_id"))
        if lookups.held_back is not None:
            named = named.union(lookups.held_back.select("product_id"))
        listing = lookups.listing
        try:
            if listing is not None:
                # Persisted, because each use of the listing would list the store again.
                listing = listing._replace(rows=_persist(listing.rows, kept))
                paths = _select_changed_paths(lookups.images, listing, self.store, base, accepted)
                pictured = products.join(paths, F.col("image_path") == F.col("path"), "left_semi")
                named = named.union(pictured.select("product_id"))
            named = _persist(named.where("product_id IS NOT NULL").distinct(), kept)
            # After the count Spark knows that the ids are few, and broadcasts them.
            named.count()
            version, has_images = self.spec.model_version, listing is not None
            published = _select_published(lookups, named, base, version, has_images=has_images)
            published = _persist(published, kept)
            ids = _persist(named.union(published.select("product_id")).distinct(), kept)
            found, total = ids.count(), feed.count()
        except (PySparkException, Py4JJavaError) as error:
            reason = reason_of(error)
            log.info("all products are compared: the change feed cannot be read: %s", reason)
            return None
        of_all = (f"{found:,}", f"{total:,}")
        if found > _MAX_SHARE * total:
            log.info("all products are compared: %s of %s may have changed", *of_all)
            return None
        log.info("%s of %s products may have changed since %s", *of_all, base.run_id)
        changed = _persist(feed.select(ids), kept)
        # After the count Spark knows their size, and plans few rows with fewer stages.
        changed.count()
        states = lookups.images.join(changed, F.col("path") == F.col("image_path"), "left_semi")
        lookups = lookups._replace(published=published, images=states, listing=listing)
        return changed, lookups, total

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


def _persist(rows: DataFrame, kept: ExitStack) -> DataFrame:
    # Unpersisted the latest first: Spark plans rows anew that depend on unpersisted ones.
    rows = rows.persist(StorageLevel.MEMORY_AND_DISK)
    kept.callback(rows.unpersist)
    return rows


def _select_published(
    lookups: Lookups, named: DataFrame, base: Run, model_version: str, *, has_images: bool
) -> DataFrame:
    """Return published rows of named products and those to compare anyway; lazy."""
    rows = lookups.published.select(*_PUBLISHED)
    current = F.col("corrections").alias("_corrections")
    corrections = lookups.corrections.select("product_id", current)
    marked = named.withColumn("_is_named", F.lit(True))
    rows = rows.join(marked, "product_id", "left").join(corrections, "product_id", "left")
    row = PublishedRow(
        is_newer=is_newer(
            Attempt(*(F.col(name) for name in ("run_date", "enriched_at", "run_id"))),
            Attempt(*map(F.lit, base.attempt)),
        ),
        has_same_model=F.col("model_version") == model_version,
        has_same_corrections=F.col("corrections").eqNullSafe(F.col("_corrections")),
        status=F.col("status"),
    )
    wanted = F.col("_is_named").isNotNull() | must_be_compared(row, has_images=has_images)
    return rows.where(wanted).select(*_PUBLISHED)


def _select_changed_paths(
    images: DataFrame, listing: Listing, store: ImageStore, base: Run, accepted: Sequence[str]
) -> DataFrame:
    """Return `path` of pictures that may have changed since the base; lazy.

    Pictures outside the listing are among them. A state that was recorded since the base counts
    only if its run is accepted: another run may have recorded a change and published nothing.
    """
    states = with_image_keys(select_last_image_states(images, "run_id", "looked_at"), store, "path")
    listed = listing.rows.select("key", F.struct("size", "etag", "modified_us").alias("listed"))
    joined = left_join_sparse_key(states, "key", listed, unique="path")
    seen = {"size": "last.size", "etag": "last.etag"}
    same = [F.col(old).eqNullSafe(F.col(f"listed.{new}")) for new, old in seen.items()]
    same.append(F.unix_micros("last.modified_at").eqNullSafe(F.col("listed.modified_us")))
    is_unchanged = F.col("last.size").isNotNull() & F.col("listed").isNotNull()
    is_unchanged &= (F.col("last.looked_at") < F.lit(base.started_at)) | F.col("last.run_id").isin(
        *accepted
    )
    for one in same:
        is_unchanged &= one
    return joined.where(~is_unchanged).select("path")
