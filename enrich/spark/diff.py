"""Diff of the product table against what is published: which products are due, and why.

One pass over the product table looks at every picture: by size and time, and only where these
differ from the last look by its bytes. The content_hash is of the normalised text and of the
picture's digest, whichever way the digest was found.
"""

import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import repeat
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
from enrich.spark.rules import Attempt, Found, holds, is_newer, outcome_of
from enrich.spark.session import bytes_of, cores_of, tasks_of
from enrich.spark.tables import Tables
from enrich.text import build_text

INPUT_FIELDS = ("title", "description", "image_path")
# A megabyte of a product table is some thousand products, whose images take seconds to look at.
_BYTES_PER_TASK = 1 << 20
# Up to this size of a product table its rows are sorted whole to find repeated ids.
_FEW_BYTES = 16 << 20
# In which a sample of images is tried: on some executors, and not in a wave over a whole cluster.
_SAMPLE_TASKS = 4
# A file that changed within this time before a look may change again without another time.
_CLOCK_STEP = timedelta(seconds=2)
_LOOK = (
    "content_hash STRING, image_digest STRING, size BIGINT, etag STRING, modified_us BIGINT, "
    "was_read BOOLEAN"
)
# Of a picture that no listing has a say about.
_ASK: Any = ...
# Outcomes whose texts nobody will ask for.
_WITHOUT_TEXT = (Outcome.UNCHANGED, Outcome.SUPERSEDED, Outcome.HELD_BACK, Outcome.MISSING)


@dataclass(frozen=True, slots=True)
class Diff:
    """Rows of the product table and missing products, each with its `outcome`.

    `rows`: product_id, product_category, priority, title, description, image_path, content_hash,
    image_digest (a status where the picture could not be read), size, etag, modified_at, was_read,
    outcome, and replaces: run_id of the published row, NULL where there is none.
    `lost_ids`: rows whose id cannot be told; each may be of a product that seems to be missing.
    `not_compared`: rows of the product table that are unchanged, and not among `rows`.
    """

    rows: DataFrame
    counts: Mapping[Outcome, int]
    images_compared: int
    undecodable: int
    lost_ids: int
    not_compared: int = 0

    @property
    def read(self) -> int:
        """How many rows the product table had."""
        return sum(self.counts.values()) - self.counts[Outcome.MISSING]

    def count(self, *outcomes: Outcome) -> int:
        """Return how many rows have one of the outcomes."""
        return sum(self.counts[outcome] for outcome in outcomes)

    def select(self, *outcomes: Outcome) -> DataFrame:
        """Return the rows that have one of the outcomes; lazy."""
        return self.rows.where(F.col("outcome").isin(*outcomes))

    def count_surely_missing(self) -> int:
        """Return how many missing products cannot be rows whose id is lost."""
        return max(0, self.counts[Outcome.MISSING] - self.lost_ids)


class Known(NamedTuple):
    """What the diff compares the product table to; frames are lazy.

    `published`: product_attributes. `corrections`: product_id, corrections. `findings`:
    product_id, content_hash, is_quarantined. `held_back`: product_id, content_hash, None where no
    run is rolled back. `images`: rows of `images`. `listing`: what the store says of all images,
    None where it is asked for each.
    """

    published: DataFrame
    corrections: DataFrame
    findings: DataFrame
    held_back: DataFrame | None
    images: DataFrame
    listing: Listing | None


def compare(
    products: DataFrame,
    known: Known,
    attempt: Attempt,
    model_version: str,
    look: Callable[..., Column],
    *,
    is_whole: bool,
    is_renewed: bool,
    by_category: bool,
) -> DataFrame:
    """Return all rows of the product table and missing products with their outcome; lazy.

    Args:
        products: rows of `Source.products`.
        known: what they are compared to.
        attempt: this run.
        model_version: this run's.
        look: the UDF of `build_look`.
        is_whole: `products` are all products, so that what is lacking is missing.
        is_renewed: a full refresh.
        by_category: answers depend on the category.
    """
    # A null key would put all its rows into one task of the window and of the join.
    is_usable = F.col("product_id").isNotNull() & ~F.col("is_malformed")
    usable = products.where(is_usable)
    if bytes_of(products) <= _FEW_BYTES:
        # Sorted behind the looks, which are to be shared by as many tasks as the table has.
        marked = _with_looks(usable, known, look).withColumn("is_repeated", _is_repeated())
    else:
        marked = _with_looks(_mark_repeated(usable), known, look)
    listed = marked.withColumn("is_listed", F.lit(True))
    compared = listed.join(_published(known.published), "product_id", _side(is_whole))
    compared = compared.join(known.corrections, "product_id", "left")
    compared = compared.join(known.findings, ["product_id", "content_hash"], "left")
    if known.held_back is not None:
        held = known.held_back.select("product_id", "content_hash").distinct()
        held = held.withColumn("is_held_back", F.lit(True))
        compared = compared.join(held, ["product_id", "content_hash"], "left")
    else:
        compared = compared.withColumn("is_held_back", F.lit(False))
    found = _find(attempt, model_version, is_renewed=is_renewed, by_category=by_category)
    told = compared.withColumn("outcome", outcome_of(found))
    # A published row of a newer run is not missing from an older product table.
    told = told.where(_is_true("is_listed") | (F.col("outcome") == Outcome.MISSING))
    told = told.withColumn("replaces", F.col("published_run_id"))
    return _select(told).unionByName(_select(_without_id(products.where(~is_usable))))


def _mark_repeated(rows: DataFrame) -> DataFrame:
    """Return the rows with `is_repeated`; texts are sorted of ids alone that are repeated."""
    counted = rows.groupBy("product_id").count()
    repeated = counted.where("count > 1").select("product_id").persist()
    once = rows.withColumn("is_repeated", F.lit(False))
    if repeated.isEmpty():
        repeated.unpersist()
        return once
    some = rows.join(repeated, "product_id", "left_semi").withColumn("is_repeated", _is_repeated())
    return once.join(repeated, "product_id", "left_anti").unionByName(some)


def _is_repeated() -> Column:
    """Return whether another row of the same id comes first."""
    same_id = Window.partitionBy("product_id").orderBy(*order_of_duplicates())
    return F.row_number().over(same_id) > 1


def take_stock(rows: DataFrame, products: int | None = None) -> Diff:
    """Keep the compared rows, so that no picture is looked at twice, and count them. One action.

    Args:
        rows: the compared rows.
        products: rows of the product table; None where all of them were compared.
    """
    rows = rows.persist(StorageLevel.MEMORY_AND_DISK)
    by_outcome = rows.groupBy("outcome").agg(
        F.count("*").alias("rows"),
        F.count_if("was_read").alias("read"),
        F.count_if("has_replaced_bytes").alias("undecodable"),
    )
    found = by_outcome.collect()
    counts = dict.fromkeys(Outcome, 0) | {Outcome(row["outcome"]): row["rows"] for row in found}
    undecodable = {row["outcome"]: row["undecodable"] for row in found}
    lost = counts[Outcome.MALFORMED] + undecodable.get(Outcome.NULL_ID, 0)
    read = sum(row["read"] for row in found)
    compared = sum(counts.values()) - counts[Outcome.MISSING]
    left_out = 0 if products is None else products - compared
    counts[Outcome.UNCHANGED] += left_out
    return Diff(rows, counts, read, sum(undecodable.values()), lost, left_out)


def write_down(diff: Diff, folder: str) -> Diff:
    """Write what the run works on to a Delta folder, and return the diff over it (R12).

    From here on neither a lost executor nor a replaced picture changes which content is whose.
    """
    kept = diff.select(*DUE, *BROKEN, Outcome.QUARANTINED, Outcome.MISSING)
    kept.write.format("delta").save(folder)
    written = diff.rows.sparkSession.read.format("delta").load(folder)
    return replace(diff, rows=written)


def remember_looks(tables: Tables, rows: DataFrame, run_id: str) -> None:
    """Append the looks at pictures whose bytes were read. One commit."""
    looks = rows.where("was_read").dropDuplicates(["image_path"])
    columns = looks.select(
        F.col("image_path").alias("path"),
        *("size", "etag", "modified_at"),
        F.col("image_digest").alias("digest"),
        F.lit(run_id).alias("run_id"),
        F.lit(datetime.now(UTC)).alias("looked_at"),
    )
    tables.append("images", columns, run_id)


def try_sample(store: ImageStore, rows: DataFrame) -> ImageSample:
    """Try on executors to read a sample of the rows' images, the same for the same products."""
    # White space of any kind is not a path; SQL's `trim` only knows the space.
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


def spread(products: DataFrame) -> DataFrame:
    """Return the products in a task for each megabyte, if their files make fewer; lazy.

    Spark reads a CSV file, or a Parquet file of one row group, in a single task, which would look
    at every image.
    """
    cores = cores_of(products.sparkSession)
    wanted = math.ceil(bytes_of(products) / _BYTES_PER_TASK)
    if wanted <= 1:
        return products
    tasks = min(len(products.inputFiles()), tasks_of(products))
    return products if tasks >= min(wanted, cores) else products.repartition(min(wanted, 4 * cores))


def select_findings(quarantine: DataFrame, limits: str, refused: list[str]) -> DataFrame:
    """Return product_id, content_hash and is_quarantined of what accepted runs could not read.

    Args:
        quarantine: the table.
        limits: digest of today's image limits and allowed roots.
        refused: runs that are not accepted.
    """
    is_unreadable = F.col("reason").isin(Reason.NO_MODALITY, Reason.WORKER_CRASHED)
    still_holds = holds(
        F.col("status"),
        has_same_limits=F.col("limits") == limits,
        is_own=F.lit(False),
        is_recent=F.col("found_at") > F.expr("current_timestamp() - INTERVAL 7 DAYS"),
    )
    accepted = quarantine.where(is_unreadable & ~F.col("run_id").isin(refused))
    by_content = accepted.groupBy("product_id", "content_hash")
    return by_content.agg(F.bool_or(still_holds).alias("is_quarantined"))


def order_of_duplicates() -> list[Column]:
    """Return by what rows with one id are ordered: the first one is kept."""
    fields = (*INPUT_FIELDS, "product_category", "priority")
    return [F.col(field).asc_nulls_last() for field in fields]


def read_texts(
    products: DataFrame, ids: Collection[str], longest: int | None = None
) -> dict[str, dict[str, str | None]]:
    """Return `title` and `image_path` of products by id, of those that are there.

    At most one action. Of rows with one id the first counts, as in a run. A title is cut off behind
    its `longest` letters.
    """
    if not ids:
        return {}
    same_id = Window.partitionBy("product_id").orderBy(*order_of_duplicates())
    wanted = products.where(F.col("product_id").isin(*ids))
    kept = wanted.withColumn("place", F.row_number().over(same_id)).where("place = 1")
    title = F.col("title") if longest is None else F.substring("title", 1, longest).alias("title")
    found = kept.select("product_id", title, "image_path").collect()
    return {row["product_id"]: {n: row[n] for n in ("title", "image_path")} for row in found}


def build_look(store: ImageStore, identity: ImageIdentity, threads: int) -> Callable[..., Column]:
    """Return the UDF that looks at a product's picture and takes its content_hash.

    Columns in: title, description, image_path; of the last look size, etag, modified_us and digest;
    where there is a listing `is_told`, whether it has a say, and its size, etag and modified_us.
    Column out: a struct, `_LOOK`.
    """

    def look(batches: Iterator[tuple[pd.Series, ...]]) -> Iterator[pd.DataFrame]:
        with ThreadPoolExecutor(threads) as pool:
            for titles, descriptions, paths, *seen in batches:
                told = map(_read_told, *seen[4:]) if seen[4:] else repeat(_ASK)
                rows = zip(paths, *seen[:4], told, strict=False)
                found = pool.map(lambda row: look_at(store, identity, *row), rows)
                products = zip(titles, descriptions, paths, found, strict=True)
                yield pd.DataFrame(
                    (
                        (hash_content(title, description, one.digest, path), *one)
                        for title, description, path, one in products
                    ),
                    columns=[column.split()[0] for column in _LOOK.split(", ")],
                ).astype({"size": "Int64", "modified_us": "Int64"})

    udf: Any = pandas_udf(look, _LOOK)  # type: ignore[call-overload]
    # Else Spark may plan it once for each field of its struct.
    return cast(Callable[..., Column], udf.asNondeterministic())


def hash_content(title: Any, description: Any, image_digest: str, path: Any = None) -> str:
    """Return 32 hex digits of the normalised text and the picture's digest, or its status.

    Of a picture that is out of reach the path counts too: by the time of encoding it may be back,
    and must not stand for another one beside the same text.
    """
    text = build_text(_text(title), _text(description))
    if image_digest == Status.IMAGE_UNREADABLE:
        image_digest += f" {_text(path)}"
    digest = hashlib.sha256(image_digest.encode(errors="replace"))
    digest.update(b"\0" + text.encode(errors="replace"))
    return digest.hexdigest()[:32]


class Look(NamedTuple):
    """A look at a picture; without `size` the next look reads its bytes again."""

    digest: str
    size: int | None = None
    etag: str | None = None
    modified_us: int | None = None
    was_read: bool = False


def look_at(
    store: ImageStore,
    identity: ImageIdentity,
    path: Any,
    size: Any,
    etag: Any,
    modified_us: Any,
    digest: Any,
    told: Any = _ASK,
) -> Look:
    """Return what is found of a product's picture, read where it differs from the last look.

    Of several the first one that can be read counts; of one that cannot be read its status. Runs
    on the executor.

    Args:
        store: of the pictures.
        identity: by what an unchanged picture is known.
        path: the picture's, or several.
        size: of the last look, as all to `digest`; NULL where there is none.
        etag: as the store had it.
        modified_us: in microseconds since 1970.
        digest: SHA-256 of the bytes.
        told: an ImageStat that a listing has, None for one that it lacks, `_ASK` to ask the store.
    """
    seen = (size, _text(etag), modified_us)

    def look(image: str | None) -> Look:
        if identity is ImageIdentity.CONTENT:
            return Look(hashlib.sha256(store.read(image)).hexdigest(), was_read=True)
        # Before the bytes: a file that is written meanwhile differs at the next look.
        found = store.stat(image) if told is _ASK else told
        if found is None:
            raise ImageProblem(Status.IMAGE_MISSING, "not in the listing")
        stat = (found.size, found.etag, found.modified_us)
        if seen == stat and isinstance(digest, str):
            return Look(digest, *stat)
        read = hashlib.sha256(store.read(image)).hexdigest()
        return Look(read, *stat, True) if _is_settled(found) else Look(read, was_read=True)

    try:
        return store.try_each(_text(path), look)
    except ImageProblem as problem:
        return Look(str(problem.status))


def _is_settled(found: ImageStat) -> bool:
    """Return whether another picture will have another stat."""
    if found.modified_at is None:
        return found.etag is not None
    return found.modified_at < datetime.now(UTC) - _CLOCK_STEP


def _read_told(is_told: Any, size: Any, etag: Any, modified_us: Any) -> Any:
    """Return what a listing tells of a picture: `told` of `look_at`."""
    if not is_told or pd.isna(size):
        return None if is_told else _ASK
    begin = datetime.fromtimestamp(0, UTC)
    modified_at = None if pd.isna(modified_us) else begin + timedelta(microseconds=int(modified_us))
    return ImageStat(int(size), _text(etag), modified_at)


def select_last_looks(images: DataFrame, *more: str) -> DataFrame:
    """Return path and the `last` look at it; lazy.

    That is a struct of size, etag, modified_at, digest, and of `more` columns of `images`.
    """
    look = F.struct("size", "etag", "modified_at", "digest", *more)
    return images.groupBy("path").agg(F.max_by(look, "looked_at").alias("last"))


def _with_looks(products: DataFrame, known: Known, look: Callable[..., Column]) -> DataFrame:
    last = select_last_looks(known.images)
    joined = join_left(products, "image_path", last.withColumnRenamed("path", "image_path"))
    seen: list[Any] = ["last.size", "last.etag", F.unix_micros("last.modified_at"), "last.digest"]
    if known.listing is not None:
        listed = known.listing.rows
        told = listed.select("key", F.struct(*listed.columns[1:]).alias("told"))
        joined = join_left(joined, "key", told)
        is_told = F.col("key").isNotNull()
        if not known.listing.is_complete:
            is_told &= F.col("told").isNotNull()
        seen += [is_told, "told.size", "told.etag", "told.modified_us"]
    looked = joined.withColumn("look", look(*INPUT_FIELDS, *seen)).drop("last", "told", "key")
    modified_at = F.timestamp_micros("look.modified_us").alias("modified_at")
    return looked.select("*", "look.*").withColumn("modified_at", modified_at).drop("look")


def join_left(
    rows: DataFrame, key: str, others: DataFrame, unique: str = "product_id"
) -> DataFrame:
    """Join by a key that many rows lack, which would else all come into one task."""
    own = F.coalesce(F.col(key), F.concat(F.lit("\0"), unique))
    others = others.withColumnRenamed(key, "_key")
    return rows.join(others, own == F.col("_key"), "left").drop("_key")


def _published(published: DataFrame) -> DataFrame:
    told = ("content_hash", "model_version", "product_category", "corrections", "status")
    lineage = ("run_date", "enriched_at", "run_id")
    renamed = [F.col(name).alias(f"published_{name}") for name in (*told, *lineage)]
    return published.select("product_id", *renamed)


def _find(attempt: Attempt, model_version: str, *, is_renewed: bool, by_category: bool) -> Found:
    """Return the facts of a joined row as columns."""
    names = ("run_date", "enriched_at", "run_id")
    other = Attempt(*(F.col(f"published_{name}") for name in names))
    own = Attempt(*map(F.lit, attempt))
    details = [
        F.col(name).eqNullSafe(F.col(f"published_{name}"))
        for name in ("product_category", "corrections")
    ]
    return Found(
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
        was_unreadable=F.coalesce(
            F.col("published_status") == Status.IMAGE_UNREADABLE, F.lit(False)
        ),
        is_held_back=_is_true("is_held_back"),
        is_quarantined=_is_true("is_quarantined"),
        was_retried=F.coalesce(~F.col("is_quarantined"), F.lit(False)),
        is_renewed=F.lit(is_renewed),
    )


def _without_id(products: DataFrame) -> DataFrame:
    """Return rows without a usable id, with what the others have of a look."""
    outcome = F.when(F.col("is_malformed"), Outcome.MALFORMED).otherwise(Outcome.NULL_ID)
    nothing = {name: F.lit(None) for name in ("image_digest", "size", "etag", "modified_at")}
    return products.withColumns(
        {
            **nothing,
            "content_hash": F.substring(F.sha2(F.concat_ws("\0", *INPUT_FIELDS), 256), 1, 32),
            "was_read": F.lit(False),
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
        _is_true("was_read").alias("was_read"),
        _is_true("has_replaced_bytes").alias("has_replaced_bytes"),
        "outcome",
    )


def _is_true(name: str) -> Column:
    return F.coalesce(F.col(name), F.lit(False))


def _side(is_whole: bool) -> str:
    return "full" if is_whole else "left"


def _text(value: Any) -> str | None:
    # pandas has had NULL as None, NaN and NA.
    return value if isinstance(value, str) else None
