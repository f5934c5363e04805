"""Counts everything that a run's page draws, in one pass over the rows.

Every row states facts, such as `label, color, red`, and equal facts are counted: what reaches the
driver depends on the number of labels, not of products.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from functools import reduce
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from enrich.records import Modalities
from enrich.report.content import BINS
from enrich.spark.report.run_rows import published_label


class Kind(StrEnum):
    """What a fact is about; an attribute's facts name the attribute as well."""

    STATUS = "status"  # key: the status, detail: the modalities
    AGAIN = "again"  # of a product that was published before; key: `changed`, or `same`
    LABEL = "label"  # the classifier's, of an attribute; key: the label
    ANSWERED = "answered"  # key: the bin of its confidence
    ABSTAINED = "abstained"  # key: the bin of its confidence
    IMAGE_WEIGHT = "image_weight"  # key: the bin of the weight
    CHANGE = "change"  # of an attribute; key: the old label, detail: the new one
    PUBLISHED = "published"  # of a row before the run
    BEFORE = "before"  # of such a row and an attribute; key: the label
    QUARANTINED = "quarantined"  # key: the reason


class Fact(NamedTuple):
    """A fact that `products` rows state; what `key` and `detail` hold, `kind` tells."""

    kind: str
    attribute: str | None
    key: str | None
    detail: str | None
    products: int


_NAMES = Fact._fields[:-1]


class FactCounts:
    """Counted facts, looked up by kind and attribute. Runs on the driver."""

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._facts: dict[tuple[str, str | None], list[Fact]] = defaultdict(list)
        for fact in facts:
            self._facts[fact.kind, fact.attribute].append(fact)

    def of(self, kind: Kind, attribute: str | None = None) -> list[Fact]:
        """Returns the facts of a kind, the most frequent first."""
        found = self._facts.get((kind, attribute), [])
        return sorted(found, key=lambda fact: (-fact.products, fact.key or "", fact.detail or ""))

    def total(self, kind: Kind) -> int:
        """Returns how many rows stated facts of a kind."""
        return sum(fact.products for fact in self.of(kind))

    def by_key(self, kind: Kind, attribute: str | None = None) -> dict[str, int]:
        """Returns how many rows stated each key, whatever the detail."""
        counts: Counter[str] = Counter()
        for fact in self.of(kind, attribute):
            if fact.key is not None:
                counts[fact.key] += fact.products
        return dict(counts.most_common())

    def by_bin(self, kind: Kind, attribute: str) -> tuple[int, ...]:
        """Returns how many rows stated each bin."""
        counts = self.by_key(kind, attribute)
        return tuple(counts.get(str(place), 0) for place in range(BINS))


def count_facts(
    rows: DataFrame, before: DataFrame, quarantine: DataFrame, attributes: Sequence[str]
) -> FactCounts:
    """Counts the facts of a run.

    Runs on the driver; one action.

    Args:
        rows: What `select_run_rows` of `enrich.spark.report.run_rows` returns.
        before: The published table before the run.
        quarantine: What the run put into quarantine.
        attributes: The checkpoint's.
    """
    values = rows.select(
        "status", "modalities", "is_changed", F.posexplode_outer("answers").alias("place", "said")
    )
    stated = (
        _state(values, _facts_of_answer()),
        _state(before, _facts_of_published(attributes)),
        _state(quarantine, [_fact(Kind.QUARANTINED, key=F.col("reason"))]),
    )
    counted = reduce(DataFrame.unionAll, stated).groupBy(*_NAMES).agg(F.count("*"))
    return FactCounts(Fact(*row) for row in counted.collect())


def _state(rows: DataFrame, facts: Iterable[Column]) -> DataFrame:
    stated = rows.select(F.explode(F.array_compact(F.array(*facts))).alias("fact"))
    return stated.select("fact.*")


def _facts_of_answer() -> Iterator[Column]:
    is_first = F.coalesce(F.col("place"), F.lit(0)) == 0
    yield F.when(is_first, _fact(Kind.STATUS, key=F.col("status"), detail=F.col("modalities")))
    again = F.when(F.col("is_changed"), "changed").otherwise("same")
    yield F.when(is_first & F.col("is_changed").isNotNull(), _fact(Kind.AGAIN, key=again))
    is_said = F.col("place").isNotNull()
    attribute = F.col("said.attribute")
    yield F.when(is_said, _fact(Kind.LABEL, attribute, F.col("said.label")))
    outcome = F.when(F.col("said.abstained"), Kind.ABSTAINED).otherwise(Kind.ANSWERED)
    yield F.when(is_said, _fact(outcome, attribute, _bin(F.col("said.confidence"))))
    both = F.col("modalities") == Modalities.IMAGE_AND_TEXT
    is_weighed = both & F.col("said.image_weight").isNotNull()
    yield F.when(is_weighed, _fact(Kind.IMAGE_WEIGHT, attribute, _bin(F.col("said.image_weight"))))
    is_changed = F.col("said.old") != F.col("said.label")
    yield F.when(is_changed, _fact(Kind.CHANGE, attribute, F.col("said.old"), F.col("said.label")))


def _facts_of_published(attributes: Sequence[str]) -> Iterator[Column]:
    yield _fact(Kind.PUBLISHED)
    for attribute in attributes:
        label = published_label(attribute)
        yield F.when(label.isNotNull(), _fact(Kind.BEFORE, F.lit(attribute), label))


def _fact(
    kind: Kind | Column,
    attribute: Column | None = None,
    key: Column | None = None,
    detail: Column | None = None,
) -> Column:
    kind = F.lit(kind) if isinstance(kind, str) else kind
    columns = (kind, *(F.lit(None) if c is None else c for c in (attribute, key, detail)))
    return F.struct(*(c.cast("string").alias(n) for c, n in zip(columns, _NAMES, strict=True)))


def _bin(share: Column) -> Column:
    """Returns the bin of a number in [0, 1]; 1 belongs to the last one."""
    bucket = F.width_bucket(share, F.lit(0.0), F.lit(1.0), F.lit(BINS))
    return F.least(F.greatest(bucket, F.lit(1)), F.lit(BINS)) - 1
