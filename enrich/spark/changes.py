"""Products that may have changed since an earlier run, found without a look at the others (R13).

The product table's change feed names what came, went or changed. Beside these products, what must
be asked again is compared: see `find_changes`. A full diff finds the same, and is what counts.
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
from enrich.spark.diff import Known, join_left, select_last_looks
from enrich.spark.failures import reason_of
from enrich.spark.listing import Listing, with_keys
from enrich.spark.rules import (
    Attempt,
    Row,
    Run,
    find_base,
    is_as_left,
    is_newer,
    must_be_compared,
)
from enrich.spark.source import Feed
from enrich.spark.tables import Tables, now

log = logging.getLogger(__name__)

# Above this share of the products a full diff costs about as much.
_MOST = 0.2
# Settings that no outcome of a diff depends on, beside the source and the model version. After a
# change of any other all products are compared.
_OF_NO_DIFF = {
    *("catalog", "database", "checkpoint", "image_root", "target_precision", "unseen_source"),
    *("lexicon", "languages", "applies_to", "labels", "baselines", "validation", "table_layout"),
    *(
        "batch_size",
        "read_threads",
        "products_per_task",
        "products_per_chunk",
        "seconds_per_chunk",
        "gpu_executors",
    ),
    *("max_quarantined_share", "max_failed_images_share", "max_crashing_products"),
    *("max_deleted_share", "full_diff_days", "follow_window"),
    *("data_docs", "report_dir", "metrics_dir", "log_format"),
}
_PUBLISHED = (
    *("product_id", "content_hash", "model_version", "product_category", "corrections", "status"),
    *("run_date", "enriched_at", "run_id"),
)


@dataclass(frozen=True, slots=True)
class Changes:
    """Rows that a diff has to compare.

    `products` are rows of `Source.products`, `known` what they are compared to, and `total` counts
    the rows of the product table.
    """

    products: DataFrame
    known: Known
    total: int
    _kept: tuple[DataFrame, ...]

    def forget(self) -> None:
        """Free the memory of what was found."""
        _forget(self._kept)


def digest_settings(config: JobConfig, store: ImageStore, feed: Feed | None) -> str:
    """Return 12 hex digits of what a diff depends on, beside the products and the model."""
    said = config.model_dump_json(exclude=_OF_NO_DIFF)
    parts = (said, store.root, "" if feed is None else feed.table_id)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def choose_base(tables: Tables, config: JobConfig, own: Run, runs: Sequence[Run]) -> Run | None:
    """Return the run since which changes are compared, None where all products are."""
    full_since = now() - timedelta(days=config.full_diff_days)
    base = find_base(own, runs, full_since, deletes=config.deletes_missing)
    if base is None:
        return None
    later = (own.compared_version or 0) - (base.compared_version or 0)
    # Others may commit meanwhile.
    commits = tables.read_commits(newest=later + 10) if later else []
    if not is_as_left(base, [(one.version, one.run_id, one.operation) for one in commits]):
        log.info("all products are compared: product_attributes has changed since %s", base.run_id)
        return None
    return base


def find_changes(
    tables: Tables,
    base: Run,
    feed: Feed,
    products: DataFrame,
    known: Known,
    model_version: str,
    store: ImageStore,
    accepted: Sequence[str],
) -> Changes | None:
    """Return what has to be compared since a run; None (and a log line) if everything has.

    Compared are products that the feed names; those with a published row that is due without a
    change of the product, or may be (`must_be_compared`); those that were quarantined or are held
    back; those with a picture that a listing has as another one than the last look. Rows without a
    usable id always are.

    Args:
        tables: the output tables.
        base: the run.
        feed: of the product table.
        products: rows of `Source.products`.
        known: what a full diff compares them to.
        model_version: today's.
        store: of the pictures.
        accepted: ids of the accepted runs from `base` on.
    """
    kept: list[DataFrame] = []
    named = feed.read_ids(int(base.source_version))
    named = named.union(tables.read("quarantine").select("product_id"))
    if known.held_back is not None:
        named = named.union(known.held_back.select("product_id"))
    listing = known.listing
    try:
        if listing is not None:
            # Asked once: each use of it would list the store again.
            listing = listing._replace(rows=_keep(kept, listing.rows))
            paths = _select_changed_paths(known.images, listing, store, base, accepted)
            pictured = products.join(paths, F.col("image_path") == F.col("path"), "left_semi")
            named = named.union(pictured.select("product_id"))
        named = _keep(kept, named.where("product_id IS NOT NULL").distinct())
        # Counted, it is known to be small, and goes to where the published rows are.
        named.count()
        published = _keep(
            kept, _select_published(known, named, base, model_version, has_images=bool(listing))
        )
        ids = _keep(kept, named.union(published.select("product_id")).distinct())
        found, total = ids.count(), feed.count()
    except (PySparkException, Py4JJavaError) as error:
        log.info("all products are compared: the change feed cannot be read: %s", reason_of(error))
        _forget(kept)
        return None
    if found > _MOST * total:
        log.info("all products are compared: %s of %s may have changed", f"{found:,}", f"{total:,}")
        _forget(kept)
        return None
    log.info("%s of %s products may have changed since %s", f"{found:,}", f"{total:,}", base.run_id)
    changed = _keep(kept, feed.select(ids))
    # Their size is known then, and few rows are compared by a shorter plan.
    changed.count()
    looks = known.images.join(changed, F.col("path") == F.col("image_path"), "left_semi")
    known = known._replace(published=published, images=looks, listing=listing)
    return Changes(changed, known, total, tuple(kept))


def _keep(kept: list[DataFrame], rows: DataFrame) -> DataFrame:
    kept.append(rows.persist(StorageLevel.MEMORY_AND_DISK))
    return kept[-1]


def _forget(kept: Sequence[DataFrame]) -> None:
    # Spark plans anew what rests on rows that are unpersisted: the latest first.
    for rows in reversed(kept):
        rows.unpersist()


def _select_published(
    known: Known, named: DataFrame, base: Run, model_version: str, *, has_images: bool
) -> DataFrame:
    """Return the published rows of named products, and those that must be compared; lazy."""
    rows = known.published.select(*_PUBLISHED)
    said = known.corrections.select("product_id", F.col("corrections").alias("_said"))
    marked = named.withColumn("_is_named", F.lit(True))
    rows = rows.join(marked, "product_id", "left").join(said, "product_id", "left")
    row = Row(
        is_newer=is_newer(
            Attempt(*(F.col(name) for name in ("run_date", "enriched_at", "run_id"))),
            Attempt(*map(F.lit, base.attempt)),
        ),
        has_same_model=F.col("model_version") == model_version,
        has_same_corrections=F.col("corrections").eqNullSafe(F.col("_said")),
        status=F.col("status"),
    )
    wanted = F.col("_is_named").isNotNull() | must_be_compared(row, has_images=has_images)
    return rows.where(wanted).select(*_PUBLISHED)


def _select_changed_paths(
    images: DataFrame, listing: Listing, store: ImageStore, base: Run, accepted: Sequence[str]
) -> DataFrame:
    """Return `path` of pictures that are not as at the last look, or that must be asked for; lazy.

    These are also pictures of other places, of which the listing has no say. A look since the base
    counts if its run is accepted: another run may have seen a change and published nothing of it.
    """
    looks = with_keys(select_last_looks(images, "run_id", "looked_at"), store, "path")
    told = listing.rows.select("key", F.struct("size", "etag", "modified_us").alias("told"))
    joined = join_left(looks, "key", told, unique="path")
    seen = {"size": "last.size", "etag": "last.etag"}
    same = [F.col(old).eqNullSafe(F.col(f"told.{new}")) for new, old in seen.items()]
    same.append(F.unix_micros("last.modified_at").eqNullSafe(F.col("told.modified_us")))
    is_settled = F.col("last.size").isNotNull() & F.col("told").isNotNull()
    is_settled &= (F.col("last.looked_at") < F.lit(base.started_at)) | F.col("last.run_id").isin(
        *accepted
    )
    for one in same:
        is_settled &= one
    return joined.where(~is_settled).select("path")
