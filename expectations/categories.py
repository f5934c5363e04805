"""Chooses in Spark which categories of a catalog a baseline tells apart.

Runs on the driver.
"""

from collections.abc import Collection

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from expectations.summary import OtherCategories

# More names than a file that people review should hold.
_MAX_LISTED = 10_000


def choose_categories(rows: DataFrame, largest: int, min_rows: int) -> list[str]:
    """Returns the categories that are large enough to be told apart; none where there are none.

    Args:
        rows: product_category, NULL where the catalog has none, and content_hash.
        largest: so many categories at most.
        min_rows: so many products, those with the same picture and text counted once.
    """
    named = rows.where(F.col("product_category").isNotNull()).groupBy("product_category")
    # As the gate counts them: products with the same picture and text count as one.
    by_size = named.agg(F.count_distinct("content_hash").alias("count"))
    enough = by_size.where(F.col("count") >= min_rows).orderBy(F.desc("count"), "product_category")
    return [row["product_category"] for row in enough.limit(largest).collect()]


def list_others(rows: DataFrame, categories: Collection[str]) -> OtherCategories:
    """Returns the categories that are counted together; None where they are too many to list."""
    if not categories:
        return None
    named = rows.select("product_category").distinct().limit(_MAX_LISTED + 1).collect()
    if len(named) > _MAX_LISTED:
        return None
    others = {row["product_category"] for row in named} - set(categories)
    return tuple(sorted(others, key=lambda name: (name is not None, name)))
