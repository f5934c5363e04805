"""Cuts a backlog into chunks that are staged one after the other, the urgent products first."""

import math
from collections.abc import Iterator
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from enrich.spark.tables.scratch import write_aside

# How many rows of an exact rank `percentile_approx` may be off, as a share of all: 1 / this.
_ACCURACY = 10_000


class Chunk(NamedTuple):
    """Some of the products that a run asks about."""

    rows: DataFrame
    products: int


def cut_into_chunks(products: DataFrame, count: int, size: int, scratch: str) -> Iterator[Chunk]:
    """Yields the products in chunks of about `size`; those with a higher `priority` come earlier.

    Runs on the driver. Products without a priority come last, products of equal priority in any
    order. More than one chunk are written to the folder `scratch`, so that each reads its own rows
    only.
    """
    if count <= size:
        if count:
            yield Chunk(products, count)
        return
    ranked = products.withColumn("rank", _rank(products, math.ceil(count / size)))
    found = {row["rank"]: row["count"] for row in ranked.groupBy("rank").count().collect()}
    # Many products may share one priority, and then one rank.
    parts = {rank: max(1, round(found[rank] / size)) for rank in sorted(found)}
    chunked = ranked.withColumn("chunk", _number(parts)).drop("rank")
    written = write_aside(chunked.repartition("chunk"), scratch, "chunk")
    sizes = {row["chunk"]: row["count"] for row in written.groupBy("chunk").count().collect()}
    for chunk in sorted(sizes):
        yield Chunk(written.where(F.col("chunk") == chunk).drop("chunk"), sizes[chunk])


def _rank(products: DataFrame, ranks: int) -> Column:
    """Returns 0 for the products of highest priority, and at most `ranks` - 1. One action."""
    priority = F.coalesce("priority", F.lit(-math.inf))
    shares = [place / ranks for place in range(1, ranks)]
    bounds = products.agg(F.percentile_approx(priority, shares, _ACCURACY)).collect()[0][0]
    above = [F.when(priority < bound, 1).otherwise(0) for bound in sorted(set(bounds))]
    return sum(above, F.lit(0))


def _number(parts: dict[int, int]) -> Column:
    """Returns the chunk of a row by its rank, whose rows are spread over so many parts by id."""
    first, number = 0, F.lit(None)
    for rank, spread in parts.items():
        part = F.pmod(F.xxhash64("product_id"), F.lit(spread)) + first
        number = F.when(F.col("rank") == rank, part).otherwise(number)
        first += spread
    return number.cast("int")
