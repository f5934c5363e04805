"""Products that may have changed since an earlier run, by the change feed (R13).

The feed names products that were inserted, deleted or updated. `find_changes` adds products that
are due for another reason. A full diff finds the same products, and decides in case of doubt.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from py4j.protocol import Py4JJavaError
from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from enrich.config import JobConfig
from enrich.images.store import ImageStore
from enrich.spark.diff import Lookups, left_join_sparse_key, select_last_image_states
from enrich.spark.failures import reason_of
from enrich.spark.listing import Listing, with_image_keys
from enrich.spark.rules import (
    Attempt,
    PublishedRow,
    Run,
    find_base,
    is_newer,
    is_unchanged_since,
    must_be_compared,
)
from enrich.spark.source import Feed
from enrich.spark.tables import Tables, now

log = logging.getLogger(__name__)

# Above this share of the products a full diff costs about as much.
_MAX_SHARE = 0.2
_PUBLISHED = (
    *("product_id", "content_hash", "model_version", "product_category", "corrections", "status"),
    *("run_date", "enriched_at", "run_id"),
)


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows that a diff has to compare.

    `products` are rows of `Source.products`, and `lookups` the tables that they are compared to.
    `total` counts the rows of the product table.
    """

    products: DataFrame
    lookups: Lookups
    total: int
    _kept: tuple[DataFrame, ...]

    def unpersist(self) -> None:
        """Free the memory of the rows."""
        _unpersist(self._kept)


def digest_settings(config: JobConfig, store: ImageStore, feed: Feed | None) -> str:
    """Return 12 hex digits of the settings and the table that a diff depends on."""
    # Any other setting may change what is due, so all products are compared once.
    settings = config.model_dump_json(exclude={"log_format"})
    parts = (settings, store.root, "" if feed is None else feed.table_id)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def choose_base(tables: Tables, config: JobConfig, own: Run, runs: Sequence[Run]) -> Run | None:
    """Return the run since which changes are compared, None for a full diff."""
    full_since = now() - timedelta(days=config.full_diff_days)
    base = find_base(own, runs, full_since, deletes=config.deletes_missing)
    if base is None:
        return None
    later = (own.compared_version or 0) - (base.compared_version or 0)
    # Others may commit meanwhile.
    commits = tables.read_commits(newest=later + 10) if later else []
    if not is_unchanged_since(base, [(one.version, one.run_id, one.operation) for one in commits]):
        log.info("all products are compared: product_attributes has changed since %s", base.run_id)
        return None
    return base


def find_changes(
    tables: Tables,
    base: Run,
    feed: Feed,
    products: DataFrame,
    lookups: Lookups,
    model_version: str,
    store: ImageStore,
    accepted: Sequence[str],
) -> Changes | None:
    """Return the rows to compare since a run; None and a log line for a full diff.

    These are products
    - that the feed names,
    - whose published row may be due without a change (`must_be_compared`),
    - that were quarantined or are held back,
    - with a picture that differs between the listing and its last state.
    Rows without a usable id are always compared.

    Args:
        base: the run.
        feed: of the product table.
        products: rows of `Source.products`.
        lookups: tables that a full diff compares products to.
        model_version: today's.
        store: of the pictures.
        accepted: ids of the accepted runs from `base` on.
    """
    kept: list[DataFrame] = []
    named = feed.read_ids(int(base.source_version))
    named = named.union(tables.read("quarantine").select("product_id"))
    if lookups.held_back is not None:
        named = named.union(lookups.held_back.select("product_id"))
    listing = lookups.listing
    try:
        if listing is not None:
            # Persisted, because each use of the listing would list the store again.
            listing = listing._replace(rows=_persist(kept, listing.rows))
            paths = _select_changed_paths(lookups.images, listing, store, base, accepted)
            pictured = products.join(paths, F.col("image_path") == F.col("path"), "left_semi")
            named = named.union(pictured.select("product_id"))
        named = _persist(kept, named.where("product_id IS NOT NULL").distinct())
        # After the count Spark knows that the ids are few, and broadcasts them.
        named.count()
        published = _persist(
            kept, _select_published(lookups, named, base, model_version, has_images=bool(listing))
        )
        ids = _persist(kept, named.union(published.select("product_id")).distinct())
        found, total = ids.count(), feed.count()
    except (PySparkException, Py4JJavaError) as error:
        log.info("all products are compared: the change feed cannot be read: %s", reason_of(error))
        _unpersist(kept)
        return None
    if found > _MAX_SHARE * total:
        log.info("all products are compared: %s of %s may have changed", f"{found:,}", f"{total:,}")
        _unpersist(kept)
        return None
    log.info("%s of %s products may have changed since %s", f"{found:,}", f"{total:,}", base.run_id)
    changed = _persist(kept, feed.select(ids))
    # After the count Spark knows their size, and plans few rows with fewer stages.
    changed.count()
    states = lookups.images.join(changed, F.col("path") == F.col("image_path"), "left_semi")
    lookups = lookups._replace(published=published, images=states, listing=listing)
    return Changes(changed, lookups, total, tuple(kept))


def _persist(kept: list[DataFrame], rows: DataFrame) -> DataFrame:
    kept.append(rows.persist(StorageLevel.MEMORY_AND_DISK))
    return kept[-1]


def _unpersist(kept: Sequence[DataFrame]) -> None:
    # The latest first: Spark plans rows anew that depend on unpersisted ones.
    for rows in reversed(kept):
        rows.unpersist()


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
