"""Cuts a backlog into chunks that are staged one after the other, the urgent products first."""

import math
from collections.abc import Iterator
from itertools import accumulate
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from enrich.spark.tables.scratch import write_aside

# How many rows of an exact rank `percentile_approx` may be off, as a share of all: 1 / this.
_ACCURACY = 10_000
# How finely equal priorities are dealt.
_PLACES = 1 << 20


class Chunk(NamedTuple):
    """Some of the products that a run asks about."""

    rows: DataFrame
    products: int


def cut_into_chunks(products: DataFrame, count: int, size: int, scratch: str) -> Iterator[Chunk]:
    """Yields the products in chunks of about `size`; those with a higher `priority` come earlier.

    Runs on the driver. Products without a priority come last; those of equal priority, and those of
    one chunk, in any order. More than one chunk are written to the folder `scratch`, so that each
    reads its own rows only.
    """
    if count <= size:
        if count:
            yield Chunk(products, count)
        return
    chunks = math.ceil(count / size)
    ranked = products.withColumn("rank", _rank(products, chunks))
    per_rank = {row["rank"]: row["count"] for row in ranked.groupBy("rank").count().collect()}
    chunked = ranked.withColumn("chunk", _number(per_rank, chunks)).drop("rank")
    written = write_aside(chunked.repartition("chunk"), scratch, "chunk")
    sizes = {row["chunk"]: row["count"] for row in written.groupBy("chunk").count().collect()}
    for chunk in sorted(sizes):
        yield Chunk(written.where(F.col("chunk") == chunk).drop("chunk"), sizes[chunk])


def _rank(products: DataFrame, chunks: int) -> Column:
    """Returns a product's rank, 0 for the highest priorities. One action.

    Odd ranks hold one priority each: those at which a chunk would end if all were sorted. Even
    ranks hold what lies between two of them, which is about a chunk at most.
    """
    priority = F.coalesce("priority", F.lit(-math.inf))
    shares = [place / chunks for place in range(1, chunks)]
    ends = products.agg(F.percentile_approx(priority, shares, _ACCURACY)).collect()[0][0]
    bounds = F.lit(sorted(set(ends)))
    above = F.size(F.filter(bounds, lambda bound: bound > priority))
    return 2 * above + F.array_contains(bounds, priority).cast("int")


def _number(per_rank: dict[int, int], chunks: int) -> Column:
    """Returns the chunk of a row by its place among all, given how many rows each rank has."""
    counts = [per_rank.get(rank, 0) for rank in range(max(per_rank) + 1)]
    begins = list(accumulate(counts, initial=0))
    rank = F.col("rank")
    # Products of one priority are dealt evenly over the places of their rank, and so perhaps to
    # several chunks; those of an even rank all go to the chunk of its middle.
    by_id = F.pmod(F.xxhash64("product_id"), F.lit(_PLACES)) / _PLACES
    share = F.when(rank % 2 == 1, by_id).otherwise(0.5)
    place = F.lit(begins)[rank] + share * F.lit(counts)[rank]
    return F.floor(place * chunks / begins[-1]).cast("int")
