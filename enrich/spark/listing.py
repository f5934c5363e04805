"""Size, etag and time of all images at once, by a listing or an inventory table.

A listing costs a request for each thousand objects, instead of a request for each image. The diff
reads an image's bytes only where size, etag or time differ from the last run's.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.functions import pandas_udf
from schemas.tables import quote

from enrich.config import ImageIdentity, JobConfig
from enrich.errors import ConfigError
from enrich.files.tables import format_of
from enrich.images.store import ImageStore
from enrich.spark.failures import reason_of
from enrich.spark.session import cores_of, tasks_for

# A task's images, a megabyte of a product table; a request lists as many.
_ROWS_PER_TASK = 1_000
# Images in the sample for each bound between two tasks' parts of a listing.
_SAMPLED = 50
_ROWS_AT_ONCE = 10_000
_COLUMNS = "key STRING, size BIGINT, etag STRING, modified_us BIGINT"


class Listing(NamedTuple):
    """Listing of a store: lazy rows of `key`, size, etag and modified_us.

    An image that a complete listing lacks is not in the store.
    """

    rows: DataFrame
    is_complete: bool


def choose_identity(config: JobConfig, store: ImageStore, *, is_whole: bool) -> ImageIdentity:
    """Choose how to recognise unchanged images: by a listing if possible, or by stat.

    Object stores have listings. A run with a limit asks for the stat of its few images.

    Raises:
        ConfigError: the settings want a listing of something that is not an object store.
    """
    has_inventory = config.image_inventory is not None
    if has_inventory and config.image_identity not in (None, ImageIdentity.LISTING):
        raise ConfigError(
            "image_identity and image_inventory do not go together: found "
            f"{config.image_identity} and an inventory, which is a listing. Leave one of them out."
        )
    wants = has_inventory or config.image_identity is ImageIdentity.LISTING
    if wants and not store.is_listable:
        raise ConfigError(
            "image_identity: listing and image_inventory are for object stores: found the image "
            f"root {store.root}, expected s3://, gs:// or abfss://. Leave them out."
        )
    if config.image_identity not in (None, ImageIdentity.LISTING):
        return config.image_identity
    return ImageIdentity.LISTING if store.is_listable and is_whole else ImageIdentity.STAT


def with_image_keys(rows: DataFrame, store: ImageStore, path: str) -> DataFrame:
    """Return the rows with `key`, an image's key in the root's store, or NULL.

    The key is NULL for images outside the root's store.
    """

    def locate(paths: pd.Series) -> pd.Series:
        return paths.map(store.locate).astype("string")

    # Marked, because Spark may plan a deterministic UDF once for each use of its column.
    udf = pandas_udf(locate, "string").asNondeterministic()  # type: ignore[call-overload]
    return rows.withColumn("key", udf(path))


def open_listing(store: ImageStore, inventory: str | None, products: DataFrame) -> Listing:
    """Return the listing of the images below the root, by the store or an inventory.

    Raises:
        ConfigError: the inventory cannot be read, or lacks a column.
    """
    if inventory is not None:
        return Listing(_read_inventory(store, inventory, products), is_complete=False)
    ranges = _split_range(store, products)
    spark = products.sparkSession
    asked = spark.createDataFrame(pd.DataFrame(ranges, columns=["after", "until"], dtype="string"))

    def list_all(frames: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
        for frame in frames:
            for after, until in zip(frame["after"], frame["until"], strict=True):
                listed = store.list_root(after, until)
                while some := list(islice(listed, _ROWS_AT_ONCE)):
                    yield pd.DataFrame(some, columns=[c.split()[0] for c in _COLUMNS.split(", ")])

    spread = asked.coalesce(1).repartition(len(ranges))
    return Listing(spread.mapInPandas(list_all, _COLUMNS), is_complete=True)


def _split_range(store: ImageStore, products: DataFrame) -> list[tuple[str | None, str | None]]:
    """Return the parts of a listing for tasks, as (after, until) keys; None: no bound.

    The bounds are keys of the products' images, so that parts have about equal sizes for any
    naming scheme. A store that cannot start at a key is listed in one part.
    """
    wanted = tasks_for(products)
    tasks = min(wanted, 4 * cores_of(products.sparkSession))
    if tasks <= 1 or not store.lists_from_anywhere:
        return [(None, None)]
    share = min(1.0, _SAMPLED * tasks / (wanted * _ROWS_PER_TASK))
    paths = products.select("image_path").sample(share, seed=0).collect()
    keys = sorted({key for row in paths if (key := store.locate(row[0])) is not None})
    bounds = [*dict.fromkeys(keys[len(keys) * n // tasks] for n in range(1, tasks) if keys)]
    return list(zip([None, *bounds], [*bounds, None], strict=True))


def _read_inventory(store: ImageStore, inventory: str, products: DataFrame) -> DataFrame:
    spark = products.sparkSession
    try:
        if "/" not in inventory:
            rows = spark.read.table(quote(inventory))
        else:
            found = format_of(Path(inventory)) or "delta"
            rows = spark.read.format(found).option("header", "true").load(inventory)
        listed = rows.select(
            "path",
            F.col("size").cast("bigint"),
            F.col("etag").cast("string"),
            F.unix_micros(F.date_trunc("second", F.col("modified").cast("timestamp"))),
        )
    except PySparkException as error:
        raise ConfigError(
            f"image_inventory cannot be used: {reason_of(error)}. Expected a table's name, or a "
            "Delta, Parquet, CSV or JSON path, with the columns path, size, etag and modified."
        ) from error
    # S3 Inventory tells keys, which begin with the root's own path.
    bucket, prefix = store.address_of_key()
    is_key = F.col("path").startswith(prefix) if prefix else F.lit(False)
    path = F.when(is_key, F.concat(F.lit(bucket), "path")).otherwise(F.col("path"))
    listed = listed.withColumn("path", path)
    listed = with_image_keys(listed.toDF("path", "size", "etag", "modified_us"), store, "path")
    # An inventory may have several versions of an image: the latest counts.
    latest = F.max_by(F.struct("size", "etag", "modified_us"), "modified_us").alias("latest")
    return listed.where("key IS NOT NULL").groupBy("key").agg(latest).select("key", "latest.*")
