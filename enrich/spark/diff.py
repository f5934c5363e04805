"""Diff of the product table and the published rows: due products, and why.

One pass over the product table compares size and time of every picture with the last run's. Bytes
are read only where these differ. The content_hash is of the normalised text and of the picture's
digest, however the digest was found.
"""

import hashlib
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice, repeat
from typing import Any, NamedTuple, cast

import pandas as pd
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.functions import pandas_udf
from schemas.tables import BROKEN, DUE, Outcome, Reason, Status

from enrich.config import ImageIdentity
from enrich.images.settings import ImageProblem, ImageStat
from enrich.images.store import (
    IMAGES_TRIED,
    ImageSample,
    ImageStore,
    TriedImage,
    sum_up,
    try_images,
)
from enrich.spark.listing import Listing
from enrich.spark.rules import Attempt, Comparison, is_newer, outcome_of, row_holds
from enrich.spark.session import cores_of, count_partitions, size_in_bytes, tasks_for
from enrich.spark.tables import Tables, now
from enrich.text import build_text

INPUT_FIELDS = ("title", "description", "image_path")
# Up to this size of a product table its rows are sorted whole to find repeated ids.
_FEW_BYTES = 16 << 20
# Tasks that try to read a sample of images: a few executors, not the whole cluster at once.
_SAMPLE_TASKS = 4
# A file that has just changed may change again within this time and keep its modification time.
_TIME_RESOLUTION = timedelta(seconds=2)
_IMAGE_STATE = (
    "content_hash STRING, image_digest STRING, size BIGINT, etag STRING, modified_us BIGINT, "
    "was_read BOOLEAN, is_out_of_reach BOOLEAN"
)
# So many pictures are timed. If one takes so many seconds, the next ones are asked in threads.
_TIMED, _WORTH_A_THREAD_S, _IN_THREADS = 10, 0.001, 2_000
# For a picture that no listing covers.
_ASK_STORE: Any = ...
# Outcomes whose texts no later step reads.
_WITHOUT_TEXT = (Outcome.UNCHANGED, Outcome.SUPERSEDED, Outcome.HELD_BACK, Outcome.MISSING)


@dataclass(frozen=True, slots=True)
class Diff:
    """Rows of the product table and missing products, each with its `outcome`.

    `rows`: product_id, product_category, priority, title, description, image_path, content_hash,
    image_digest (a status where the picture could not be read), size, etag, modified_at, was_read,
    outcome, and replaces: run_id of the published row, NULL where there is none.
    `out_of_reach`: rows whose picture's store did not answer, or denied it.
    `lost_ids`: rows whose id is unreadable; each may be of a product that seems to be missing.
    `not_compared`: rows of the product table that are unchanged, and not among `rows`.
    """

    rows: DataFrame
    counts: Mapping[Outcome, int]
    images_compared: int
    out_of_reach: int
    undecodable: int
    lost_ids: int
    not_compared: int = 0

    @property
    def read(self) -> int:
        """Number of rows of the product table."""
        return sum(self.counts.values()) - self.counts[Outcome.MISSING]

    def count(self, *outcomes: Outcome) -> int:
        """Return the number of rows that have one of the outcomes."""
        return sum(self.counts[outcome] for outcome in outcomes)

    def select(self, *outcomes: Outcome) -> DataFrame:
        """Return the rows that have one of the outcomes; lazy."""
        return self.rows.where(F.col("outcome").isin(*outcomes))

    def count_surely_missing(self) -> int:
        """Return the number of missing products that cannot be rows with a lost id."""
        return max(0, self.counts[Outcome.MISSING] - self.lost_ids)


class Lookups(NamedTuple):
    """Lookup tables of the diff; frames are lazy.

    `published`: product_attributes. `corrections`: product_id, corrections. `findings`:
    product_id, content_hash, is_quarantined. `held_back`: product_id, content_hash, None where no
    run is rolled back. `images`: rows of `images`. `listing`: size, etag and time of all images,
    None where the store is asked for each image.
    """

    published: DataFrame
    corrections: DataFrame
    findings: DataFrame
    held_back: DataFrame | None
    images: DataFrame
    listing: Listing | None


def compare(
    products: DataFrame,
    lookups: Lookups,
    attempt: Attempt,
    model_version: str,
    inspect: Callable[..., Column],
    *,
    is_whole: bool,
    is_renewed: bool,
    by_category: bool,
) -> DataFrame:
    """Return rows of the product table and missing products, with outcomes; lazy.

    Args:
        products: rows of `Source.products`.
        lookups: tables that products are compared to.
        attempt: this run.
        model_version: this run's.
        inspect: the UDF of `build_inspect`.
        is_whole: `products` are all products: published products that they lack are missing.
        is_renewed: a full refresh.
        by_category: answers depend on the category.
    """
    # A null key would put all its rows into one task of the window and of the join.
    is_usable = F.col("product_id").isNotNull() & ~F.col("is_malformed")
    usable = products.where(is_usable)
    if size_in_bytes(products) <= _FEW_BYTES:
        # Sorted after the inspection, which as many tasks as the table has are to share.
        marked = _with_image_states(usable, lookups, inspect).withColumn(
            "is_repeated", _is_repeated()
        )
    else:
        marked = _with_image_states(_mark_repeated(usable), lookups, inspect)
    listed = marked.withColumn("is_listed", F.lit(True))
    compared = listed.join(_published(lookups.published), "product_id", _join_type(is_whole))
    compared = compared.join(lookups.corrections, "product_id", "left")
    compared = compared.join(lookups.findings, ["product_id", "content_hash"], "left")
    if lookups.held_back is not None:
        held = lookups.held_back.select("product_id", "content_hash").distinct()
        held = held.withColumn("is_held_back", F.lit(True))
        compared = compared.join(held, ["product_id", "content_hash"], "left")
    else:
        compared = compared.withColumn("is_held_back", F.lit(False))
    found = _build_comparison(
        attempt, model_version, is_renewed=is_renewed, by_category=by_category
    )
    rows = compared.withColumn("outcome", outcome_of(found))
    # A published row of a newer run is not missing from an older product table.
    rows = rows.where(_is_true("is_listed") | (F.col("outcome") == Outcome.MISSING))
    rows = rows.withColumn("replaces", F.col("published_run_id"))
    return _select(rows).unionByName(_select(_without_id(products.where(~is_usable))))


def _mark_repeated(rows: DataFrame) -> DataFrame:
    """Return the rows with `is_repeated`. Only rows of repeated ids are sorted."""
    counted = rows.groupBy("product_id").count()
    # Stays persisted: the rows are lazy, and are computed after this function has returned.
    repeated = counted.where("count > 1").select("product_id").persist()
    once = rows.withColumn("is_repeated", F.lit(False))
    if repeated.isEmpty():
        repeated.unpersist()
        return once
    some = rows.join(repeated, "product_id", "left_semi").withColumn("is_repeated", _is_repeated())
    return once.join(repeated, "product_id", "left_anti").unionByName(some)


def _is_repeated() -> Column:
    """Return a column: another row of the same id comes first."""
    same_id = Window.partitionBy("product_id").orderBy(*duplicate_order())
    return F.row_number().over(same_id) > 1


def persist_and_count(rows: DataFrame, products: int | None = None) -> Diff:
    """Persist the compared rows, so that pictures are inspected once; count them.

    One action.

    Args:
        rows: the compared rows.
        products: rows of the product table; None where all of them were compared.
    """
    rows = rows.persist(StorageLevel.MEMORY_AND_DISK)
    by_outcome = rows.groupBy("outcome").agg(
        F.count("*").alias("rows"),
        F.count_if("was_read").alias("read"),
        F.count_if("is_out_of_reach").alias("out_of_reach"),
        F.count_if("has_replaced_bytes").alias("undecodable"),
    )
    found = by_outcome.collect()
    counts = dict.fromkeys(Outcome, 0) | {Outcome(row["outcome"]): row["rows"] for row in found}
    undecodable = {row["outcome"]: row["undecodable"] for row in found}
    lost = counts[Outcome.MALFORMED] + undecodable.get(Outcome.NULL_ID, 0)
    read = sum(row["read"] for row in found)
    compared = sum(counts.values()) - counts[Outcome.MISSING]
    not_compared = 0 if products is None else products - compared
    counts[Outcome.UNCHANGED] += not_compared
    out_of_reach = sum(row["out_of_reach"] for row in found)
    return Diff(rows, counts, read, out_of_reach, sum(undecodable.values()), lost, not_compared)


def save_diff(diff: Diff, folder: str) -> Diff:
    """Write the rows that the run needs, and return the diff over them (R12).

    After this, neither a lost executor nor a replaced picture gives a product another content.
    """
    needed = F.col("outcome").isin(*DUE, *BROKEN, Outcome.QUARANTINED, Outcome.MISSING)
    diff.rows.where(needed | F.col("was_read")).write.format("delta").save(folder)
    written = diff.rows.sparkSession.read.format("delta").load(folder)
    return replace(diff, rows=written)


def append_image_states(tables: Tables, rows: DataFrame, run_id: str) -> None:
    """Append the state of pictures whose bytes were read to `images`. One commit."""
    states = rows.where("was_read").dropDuplicates(["image_path"])
    columns = states.select(
        F.col("image_path").alias("path"),
        *("size", "etag", "modified_at"),
        F.col("image_digest").alias("digest"),
        F.lit(run_id).alias("run_id"),
        F.lit(datetime.now(UTC)).alias("looked_at"),
    )
    tables.append("images", columns, run_id)


def sample_images(store: ImageStore, rows: DataFrame) -> ImageSample:
    """Try to read a sample of images on executors.

    The sample of equal products is the same.
    """
    # White space of any kind is not a path; SQL's `trim` removes the space alone.
    is_given = F.col("image_path").rlike(r"(?U)\S")
    shuffled = rows.where(is_given).orderBy(F.xxhash64("product_id"))
    chosen = shuffled.limit(IMAGES_TRIED).select("image_path")

    def read(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in frames:
            tried = try_images(store, list(frame["image_path"]))
            yield pd.DataFrame(tried, columns=TriedImage._fields, dtype="object")

    tasks = min(_SAMPLE_TASKS, cores_of(rows.sparkSession))
    tried = chosen.repartition(tasks).mapInPandas(
        read, "path STRING, digest STRING, problem STRING"
    )
    return sum_up([TriedImage(*row) for row in tried.collect()])


def repartition_by_size(products: DataFrame) -> DataFrame:
    """Repartition products to a task a megabyte, if their files make fewer; lazy.

    Spark reads a CSV file, or a Parquet file of one row group, in a single task. That task would
    inspect every image.
    """
    cores = cores_of(products.sparkSession)
    wanted = tasks_for(products)
    if wanted <= 1:
        return products
    tasks = min(len(products.inputFiles()), count_partitions(products))
    if tasks >= min(wanted, cores):
        return products
    # Whole rounds: of five tasks on two cores, the last would have one to itself.
    return products.repartition(cores * min(4, math.ceil(wanted / cores)))


def select_findings(quarantine: DataFrame, limits: str, refused: list[str]) -> DataFrame:
    """Return contents that accepted runs could not read.

    Columns: product_id, content_hash, and is_quarantined, which is true while a finding holds.

    Args:
        quarantine: the table.
        limits: digest of today's image limits and allowed roots.
        refused: runs that are not accepted.
    """
    is_unreadable = F.col("reason").isin(Reason.NO_MODALITY, Reason.WORKER_CRASHED)
    accepted = quarantine.where(is_unreadable & ~F.col("run_id").isin(refused))
    by_content = accepted.groupBy("product_id", "content_hash")
    return by_content.agg(F.bool_or(row_holds("found_at", limits, now())).alias("is_quarantined"))


def duplicate_order() -> list[Column]:
    """Return the sort order of rows with the same id: the first row is kept."""
    fields = (*INPUT_FIELDS, "product_category", "priority")
    return [F.col(field).asc_nulls_last() for field in fields]


def read_texts(
    products: DataFrame, ids: Collection[str], longest: int | None = None
) -> dict[str, dict[str, str | None]]:
    """Return `title` and `image_path` by id, for the products that the table has.

    At most one action. Of rows with the same id the first counts, as in a run. Titles are cut to
    `longest` letters.
    """
    if not ids:
        return {}
    same_id = Window.partitionBy("product_id").orderBy(*duplicate_order())
    wanted = products.where(F.col("product_id").isin(*ids))
    kept = wanted.withColumn("place", F.row_number().over(same_id)).where("place = 1")
    title = F.col("title") if longest is None else F.substring("title", 1, longest).alias("title")
    found = kept.select("product_id", title, "image_path").collect()
    return {row["product_id"]: {n: row[n] for n in ("title", "image_path")} for row in found}


class ImageState(NamedTuple):
    """State of a picture; without `size` the next run reads its bytes again.

    A picture out of reach has the digest of its last bytes, else its status.
    """

    digest: str
    size: int | None = None
    etag: str | None = None
    modified_us: int | None = None
    was_read: bool = False
    is_out_of_reach: bool = False


def build_inspect(
    store: ImageStore, identity: ImageIdentity, threads: int
) -> Callable[..., Column]:
    """Return the UDF that inspects a product's picture and computes its content_hash.

    Columns in: title, description, image_path; size, etag, modified_us and digest of the last
    state; with a listing also `has_listing` (it covers the picture), size, etag and modified_us.
    Column out: a struct, `_IMAGE_STATE`.
    """

    def inspect(batches: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.DataFrame]:
        with ThreadPoolExecutor(threads) as pool:
            for titles, descriptions, paths, *seen in batches:
                listed = map(_read_listed, *seen[4:]) if seen[4:] else repeat(_ASK_STORE)
                rows = zip(paths, *seen[:4], listed, strict=False)
                found = inspect_all(pool, lambda row: inspect_image(store, identity, *row), rows)
                products = zip(titles, descriptions, paths, found, strict=True)
                yield pd.DataFrame(
                    (
                        (hash_content(title, description, one.digest, path), *one)
                        for title, description, path, one in products
                    ),
                    columns=[column.split()[0] for column in _IMAGE_STATE.split(", ")],
                ).astype({"size": "Int64", "modified_us": "Int64"})

    udf: Any = pandas_udf(inspect, _IMAGE_STATE)  # type: ignore[call-overload]
    # Marked, because Spark may plan a deterministic UDF once for each field of its struct.
    return cast(Callable[..., Column], udf.asNondeterministic())


def inspect_all(
    pool: ThreadPoolExecutor, inspect: Callable[[Any], ImageState], rows: Iterator[Any]
) -> Iterator[ImageState]:
    """Yield the states in order, in threads where pictures take long to answer.

    A local disk answers faster than threads take turns: in one thread three times as fast.
    """
    while True:
        begin, group = time.perf_counter(), [inspect(row) for row in islice(rows, _TIMED)]
        yield from group
        if len(group) < _TIMED:
            return
        if time.perf_counter() - begin > _TIMED * _WORTH_A_THREAD_S:
            yield from pool.map(inspect, islice(rows, _IN_THREADS))


def hash_content(title: Any, description: Any, image_digest: str, path: Any = None) -> str:
    """Return 32 hex digits of normalised text and picture digest, or its status.

    The path of an unreadable picture counts too. The picture may be back by the time of encoding,
    and its encoding must not be used for another picture beside the same text.
    """
    text = build_text(_text(title), _text(description))
    if image_digest == Status.IMAGE_UNREADABLE:
        image_digest += f" {_text(path)}"
    digest = hashlib.sha256(image_digest.encode(errors="replace"))
    digest.update(b"\0" + text.encode(errors="replace"))
    return digest.hexdigest()[:32]


def inspect_image(
    store: ImageStore,
    identity: ImageIdentity,
    path: Any,
    size: Any,
    etag: Any,
    modified_us: Any,
    digest: Any,
    listed: Any = _ASK_STORE,
) -> ImageState:
    """Return the state of a product's picture; read the bytes where it has changed.

    If there are several pictures, the first readable one counts. The digest of an unreadable
    picture is its status. But a store that does not answer says nothing about a picture: its last
    bytes count, so that a published answer stays. Runs on the executor.

    Args:
        store: of the pictures.
        identity: how an unchanged picture is recognised.
        path: the picture's, or several.
        size: of the last state, as all to `digest`; NULL where there is none.
        etag: as the store had it.
        modified_us: in microseconds since 1970.
        digest: SHA-256 of the bytes.
        listed: the ImageStat of a listing, None if the listing lacks the picture, `_ASK_STORE` to
            ask the store.
    """
    if path is None:
        # As the store would say, in a tenth of the time.
        return ImageState(str(Status.IMAGE_MISSING))
    seen = (size, _text(etag), modified_us)

    def inspect(image: str | None) -> ImageState:
        location = store.resolve(image)
        if identity is ImageIdentity.CONTENT:
            return ImageState(hashlib.sha256(store.read_at(location)).hexdigest(), was_read=True)
        # Before the bytes: a file that is written meanwhile then differs in the next run.
        found = store.stat_at(location) if listed is _ASK_STORE else listed
        if found is None:
            raise ImageProblem(Status.IMAGE_MISSING, "not in the listing")
        stat = (found.size, found.etag, found.modified_us)
        if seen == stat and isinstance(digest, str):
            return ImageState(digest, *stat)
        read = hashlib.sha256(store.read_at(location)).hexdigest()
        return (
            ImageState(read, *stat, True)
            if _has_reliable_stat(found)
            else ImageState(read, was_read=True)
        )

    try:
        return store.try_each(_text(path), inspect)
    except ImageProblem as problem:
        if problem.status is not Status.IMAGE_UNREADABLE:
            return ImageState(str(problem.status))
        last = digest if isinstance(digest, str) else str(problem.status)
        return ImageState(last, is_out_of_reach=True)


def _has_reliable_stat(found: ImageStat) -> bool:
    """Return whether a picture that is written later would have another stat."""
    if found.modified_at is None:
        return found.etag is not None
    return found.modified_at < datetime.now(UTC) - _TIME_RESOLUTION


def _read_listed(has_listing: Any, size: Any, etag: Any, modified_us: Any) -> Any:
    """Return `listed` of `inspect_image` from columns."""
    if not has_listing or pd.isna(size):
        return None if has_listing else _ASK_STORE
    begin = datetime.fromtimestamp(0, UTC)
    modified_at = None if pd.isna(modified_us) else begin + timedelta(microseconds=int(modified_us))
    return ImageStat(int(size), _text(etag), modified_at)


def select_last_image_states(images: DataFrame, *more: str) -> DataFrame:
    """Return path and its `last` state; lazy.

    `last` is a struct of size, etag, modified_at, digest, and of `more` columns of `images`.
    """
    state = F.struct("size", "etag", "modified_at", "digest", *more)
    return images.groupBy("path").agg(F.max_by(state, "looked_at").alias("last"))


def _with_image_states(
    products: DataFrame, lookups: Lookups, inspect: Callable[..., Column]
) -> DataFrame:
    last = select_last_image_states(lookups.images)
    joined = left_join_sparse_key(
        products, "image_path", last.withColumnRenamed("path", "image_path")
    )
    seen: list[Any] = ["last.size", "last.etag", F.unix_micros("last.modified_at"), "last.digest"]
    if lookups.listing is not None:
        listed = lookups.listing.rows
        stats = listed.select("key", F.struct(*listed.columns[1:]).alias("listed"))
        joined = left_join_sparse_key(joined, "key", stats)
        has_listing = F.col("key").isNotNull()
        if not lookups.listing.is_complete:
            has_listing &= F.col("listed").isNotNull()
        seen += [has_listing, "listed.size", "listed.etag", "listed.modified_us"]
    states = joined.withColumn("state", inspect(*INPUT_FIELDS, *seen))
    states = states.drop("last", "listed", "key")
    modified_at = F.timestamp_micros("state.modified_us").alias("modified_at")
    return states.select("*", "state.*").withColumn("modified_at", modified_at).drop("state")


def left_join_sparse_key(
    rows: DataFrame, key: str, others: DataFrame, unique: str = "product_id"
) -> DataFrame:
    """Left-join by a key that many rows lack; by NULL they would all be in one task."""
    own = F.coalesce(F.col(key), F.concat(F.lit("\0"), unique))
    others = others.withColumnRenamed(key, "_key")
    return rows.join(others, own == F.col("_key"), "left").drop("_key")


def _published(published: DataFrame) -> DataFrame:
    answer = ("content_hash", "model_version", "product_category", "corrections", "status")
    lineage = ("run_date", "enriched_at", "run_id")
    renamed = [F.col(name).alias(f"published_{name}") for name in (*answer, *lineage)]
    return published.select("product_id", *renamed)


def _build_comparison(
    attempt: Attempt, model_version: str, *, is_renewed: bool, by_category: bool
) -> Comparison:
    """Return the comparison of a joined row as columns."""
    names = ("run_date", "enriched_at", "run_id")
    other = Attempt(*(F.col(f"published_{name}") for name in names))
    own = Attempt(*map(F.lit, attempt))
    details = [
        F.col(name).eqNullSafe(F.col(f"published_{name}"))
        for name in ("product_category", "corrections")
    ]
    was_found = F.col("is_quarantined").isNotNull()
    # A picture that is still out of reach would be answered as it was.
    is_unread = _is_true("is_out_of_reach")
    return Comparison(
        is_listed=_is_true("is_listed"),
        is_malformed=F.lit(False),
        has_id=F.lit(True),
        is_repeated=_is_true("is_repeated"),
        is_published=F.col("published_run_id").isNotNull(),
        is_newer=F.coalesce(is_newer(other, own), F.lit(False)),
        has_same_content=F.col("content_hash").eqNullSafe(F.col("published_content_hash")),
        has_same_model=F.coalesce(F.col("published_model_version") == model_version, F.lit(False))
        & (details[0] if by_category else F.lit(True)),
        has_same_details=details[0] & details[1],
        was_unreadable=F.col("published_status").eqNullSafe(Status.IMAGE_UNREADABLE) & ~is_unread,
        is_held_back=_is_true("is_held_back"),
        is_quarantined=_is_true("is_quarantined") | (was_found & is_unread),
        was_retried=was_found & ~_is_true("is_quarantined"),
        is_renewed=F.lit(is_renewed),
    )


def _without_id(products: DataFrame) -> DataFrame:
    """Return rows without a usable id, with the columns of an inspected picture."""
    outcome = F.when(F.col("is_malformed"), Outcome.MALFORMED).otherwise(Outcome.NULL_ID)
    nothing = {name: F.lit(None) for name in ("image_digest", "size", "etag", "modified_at")}
    return products.withColumns(
        {
            **nothing,
            "content_hash": F.substring(F.sha2(F.concat_ws("\0", *INPUT_FIELDS), 256), 1, 32),
            "was_read": F.lit(False),
            "is_out_of_reach": F.lit(False),
            "replaces": F.lit(None),
            "outcome": outcome,
        }
    )


def _select(rows: DataFrame) -> DataFrame:
    """Return the columns of `Diff.rows`, and whether bytes of the row were replaced."""
    keeps_texts = ~F.col("outcome").isin(*_WITHOUT_TEXT) | F.col("was_read")
    types = {"image_digest": "string", "size": "bigint", "etag": "string", "replaces": "string"}
    return rows.select(
        *("product_id", "product_category", "priority", "content_hash"),
        *(F.when(keeps_texts, F.col(field)).alias(field) for field in INPUT_FIELDS),
        *(F.col(name).cast(kind).alias(name) for name, kind in types.items()),
        F.col("modified_at").cast("timestamp").alias("modified_at"),
        *(
            _is_true(name).alias(name)
            for name in ("was_read", "is_out_of_reach", "has_replaced_bytes")
        ),
        "outcome",
    )


def _is_true(name: str) -> Column:
    return F.coalesce(F.col(name), F.lit(False))


def _join_type(is_whole: bool) -> str:
    return "full" if is_whole else "left"


def _text(value: Any) -> str | None:
    # pandas gives NULL as None, NaN or NA.
    return value if isinstance(value, str) else None
