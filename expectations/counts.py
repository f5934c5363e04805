"""Counts of answers, of a run and in a baseline, in one Spark aggregation.

Products that show the same picture and text, such as the sizes of one dress, have one answer and
count once. Counts instead of shares, because chance depends on them.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Annotated, NamedTuple
from weakref import WeakKeyDictionary

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pyspark.sql import Column, DataFrame, Row, Window
from pyspark.sql import functions as F
from schemas.labels import ABSTAINED, NOT_APPLICABLE
from schemas.tables import quote_part, select_typed_attributes

# Products of categories that a baseline counts together, and without a category.
OTHER = "(other)"

# Products of categories that a baseline has not seen.
UNKNOWN = "(unknown)"

# The categories that OTHER stands for, None among them for products without one. None in place of
# the tuple where they are not known.
OtherCategories = tuple[str | None, ...] | None

# A confidence lies in the first bin whose edge is above it. Answers crowd near 1.
CONFIDENCE_EDGES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1.000001)

# Fewer different products are not compared: five party dresses are not a sample of a catalog.
MIN_COMPARED = 20

# Fewer new products say nothing about a lost store: four without photos are a quiet night.
MIN_NEW = 20

# Columns that `mark_rows` adds. An attribute's name never begins with an underscore.
GROUP, BEST, PUBLISHED = "_group", "_best", "_published"

MODALITIES, MODEL, _LABEL = "modalities", "model_version", "label"

# More names than a file that people review should hold.
_MAX_LISTED = 10_000

Count = Annotated[int, Field(ge=0)]


class AttributeCounts(BaseModel):
    """One attribute of some products.

    `labels` counts products by label, ABSTAINED among them. `confidences` counts products by bin of
    CONFIDENCE_EDGES, those without a label included.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    labels: dict[str, Count]
    confidences: tuple[Count, ...] = Field(
        min_length=len(CONFIDENCE_EDGES), max_length=len(CONFIDENCE_EDGES)
    )


class GroupCounts(BaseModel):
    """Counts of all products of a catalog, or of one category.

    `modalities` counts products by what their answer rests on.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rows: int = Field(ge=1)
    modalities: dict[str, Count]
    attributes: dict[str, AttributeCounts]

    @model_validator(mode="after")
    def _count_every_row(self) -> "GroupCounts":
        for attribute, counted in self.attributes.items():
            _refuse_other_sum(f"labels of {attribute}", sum(counted.labels.values()), self.rows)
            if (rows := sum(counted.confidences)) > self.rows:
                raise ValueError(
                    f"confidences of {attribute} count {rows} rows, expected at most {self.rows}"
                )
        _refuse_other_sum("modalities", sum(self.modalities.values()), self.rows)
        return self


class CatalogCounts(BaseModel):
    """A catalog, or one run's part of it.

    `categories` has the same products by category, OTHER among them. It is empty where the catalog
    has no categories.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    products: GroupCounts
    categories: dict[str, GroupCounts] = {}

    @property
    def label_counts(self) -> dict[str, dict[str, int]]:
        """Products by attribute and label, ABSTAINED among the labels."""
        return {name: counted.labels for name, counted in self.products.attributes.items()}

    @model_validator(mode="after")
    def _count_every_product(self) -> "CatalogCounts":
        if self.categories:
            rows = sum(group.rows for group in self.categories.values())
            _refuse_other_sum("categories", rows, self.products.rows)
        return self


class MovedKey(NamedTuple):
    """Products of one category, None for all, by who wrote the published row."""

    attribute: str
    category: str | None
    same_model: bool


class MovedCounts(NamedTuple):
    """Published products of unchanged content, and those with another best label."""

    compared: int
    moved: int


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Counts of one run; `catalog` is None where the run has no rows.

    `model_versions` counts products by whose answers they are. `moved` has products whose content
    is published, by attribute and category.
    """

    catalog: CatalogCounts | None
    model_versions: Mapping[str, int]
    moved: Mapping[MovedKey, MovedCounts]

    @property
    def sizes(self) -> Mapping[str | None, int]:
        """Products by category, the single key None without categories."""
        if self.catalog is None:
            return {}
        sizes: dict[str | None, int] = {}
        for name, group in self.catalog.categories.items():
            sizes[name] = group.rows
        return sizes or {None: self.catalog.products.rows}

    @property
    def rows(self) -> int:
        """Number of different products."""
        return sum(self.sizes.values())

    def group(self, category: str | None) -> GroupCounts | None:
        """Return the counts of one category, or of all products; None without any."""
        if self.catalog is None:
            return None
        if category is None:
            return self.catalog.products
        return self.catalog.categories.get(category)


def mark_rows(
    candidates: DataFrame,
    published: DataFrame | None,
    attributes: Sequence[str],
    categories: Collection[str] = (),
    others: OtherCategories = None,
) -> DataFrame:
    """Return the rows that are checked, beside what is compared with them; lazy.

    All columns stay but `predictions` and those of other attributes. NOT_APPLICABLE is the label
    where the classifier says so: what an attribute makes no sense of lacks no label. GROUP is the
    category as a baseline tells it apart, NULL without `categories`. BEST maps each attribute to
    the label that the classifier is surest of. PUBLISHED holds `model_version` and `best` of the
    published row of the same product and content, NULL where there is none.

    Args:
        candidates: product_id, product_category, content_hash, modalities, model_version,
            predictions and, per attribute `a`, `a` and `a_confidence`.
        published: the same columns; None compares with nothing.
        attributes: those of the checkpoint.
        categories: categories that are told apart.
        others: categories that become OTHER, while further ones become UNKNOWN. None: all others
            become OTHER.
    """
    obsolete = set(select_typed_attributes(candidates.dtypes)) - set(attributes)
    columns = [f"{a}{end}" for a in obsolete for end in ("", "_confidence")]
    inapplicable = {
        a: F.coalesce(quote_part(a), F.when(is_inapplicable(a), F.lit(NOT_APPLICABLE)))
        for a in attributes
    }
    marks = {GROUP: _group(categories, others), BEST: _best_labels()}
    rows = candidates.withColumns(marks | inapplicable)
    rows = rows.drop("predictions", *columns)
    if published is None:
        return rows.withColumn(PUBLISHED, F.lit(None).cast(_PUBLISHED_TYPE))
    before = published.select(
        "product_id",
        "content_hash",
        F.struct("model_version", _best_labels().alias("best")).alias(PUBLISHED),
    )
    return rows.join(before, ["product_id", "content_hash"], "left")


def is_inapplicable(attribute: str) -> Column:
    """Return the condition that the attribute does not apply to a product."""
    return F.exists(
        "predictions",
        lambda said: (said["attribute"] == attribute) & (said["abstention"] == NOT_APPLICABLE),
    )


_PUBLISHED_TYPE = "STRUCT<model_version: STRING, best: MAP<STRING, STRING>>"


# Of rows that somebody still holds. Great Expectations counts what the gate has counted already.
_COUNTED: WeakKeyDictionary[DataFrame, AnswerCounts] = WeakKeyDictionary()


def count_answers(rows: DataFrame) -> AnswerCounts:
    """Count rows of `mark_rows`, one a content; the same rows are counted once.

    Runs on the driver: one Spark action.
    """
    if rows not in _COUNTED:
        _COUNTED[rows] = _count_answers(rows)
    return _COUNTED[rows]


def _count_answers(rows: DataFrame) -> AnswerCounts:
    attributes = select_typed_attributes(rows.dtypes)
    # One that is published comes first, so that it is compared.
    order = F.col(PUBLISHED).isNull(), F.col("product_id")
    of_content = Window.partitionBy(GROUP, "content_hash").orderBy(*order)
    contents = rows.withColumn("_place", F.row_number().over(of_content)).where("_place = 1")
    values = [
        _value(_LABEL, a, col(a), _bin(col(f"{a}_confidence")), _has_moved(a)) for a in attributes
    ]
    values += [_value(kind, None, F.col(kind)) for kind in (MODALITIES, MODEL)]
    same_model = F.col(PUBLISHED)[MODEL] == F.col(MODEL)
    seen = contents.select(
        F.col(GROUP).alias("category"),
        same_model.alias("same_model"),
        F.explode(F.array(*values)).alias("seen"),
    )
    seen = seen.select("category", "same_model", "seen.*")
    counted = seen.groupBy(*seen.columns).agg(F.count("*").alias("rows")).collect()
    models: Counter[str] = Counter()
    for row in counted:
        if row["kind"] == MODEL:
            models[str(row["value"])] += row["rows"]
    return AnswerCounts(_build_catalog(counted, attributes), models, _count_moved(counted))


def select_answered_attributes(rows: DataFrame) -> list[str]:
    """Return the attributes that the rows' classifier knows.

    Columns of attributes that only an earlier classifier knew are still there, but NULL.
    """
    named = select_typed_attributes(rows.dtypes)
    answers = rows.agg(*(F.count(col(f"{a}_confidence")).alias(a) for a in named)).collect()[0]
    return [name for name in named if answers[name]]


def choose_categories(rows: DataFrame, largest: int, min_rows: int) -> list[str]:
    """Return the categories that are large enough to be told apart, largest first.

    Rows have product_category, NULL where a product has none, and content_hash. At most `largest`
    categories are returned, each with at least `min_rows` different contents.
    """
    named = rows.where(F.col("product_category").isNotNull()).groupBy("product_category")
    by_size = named.agg(F.count_distinct("content_hash").alias("count"))
    enough = by_size.where(F.col("count") >= min_rows).orderBy(F.desc("count"), "product_category")
    return [row["product_category"] for row in enough.limit(largest).collect()]


def list_others(rows: DataFrame, categories: Collection[str]) -> OtherCategories:
    """Return the categories that are counted together, None for too many."""
    if not categories:
        return None
    named = rows.select("product_category").distinct().limit(_MAX_LISTED + 1).collect()
    if len(named) > _MAX_LISTED:
        return None
    others = {row["product_category"] for row in named} - set(categories)
    return tuple(sorted(others, key=lambda name: (name is not None, name)))


def col(name: str) -> Column:
    """Return a column by its name, in which a dot leads into no struct."""
    return F.col(quote_part(name))


def largest_first(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts from large to small, in an order that is always the same."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _refuse_other_sum(what: str, counted: int, rows: int) -> None:
    if counted != rows:
        raise ValueError(f"{what} count {counted} rows, expected {rows}")


def _group(categories: Collection[str], others: OtherCategories) -> Column:
    if not categories:
        return F.lit(None).cast("string")
    category = F.col("product_category")
    group = F.when(category.isin(*categories), category)
    if others is None:
        return group.otherwise(OTHER)
    is_other = category.isin(*others) | (category.isNull() & F.lit(None in others))
    return group.when(is_other, OTHER).otherwise(UNKNOWN)


def _best_labels() -> Column:
    pairs = F.transform("predictions", lambda one: F.struct(one["attribute"], one["label"]))
    return F.map_from_entries(pairs)


def _has_moved(attribute: str) -> Column:
    """Return the condition that another label is best now; NULL if unknown."""
    return F.col(BEST)[attribute] != F.col(PUBLISHED)["best"][attribute]


def _bin(confidence: Column) -> Column:
    # To Spark NaN is larger than every number, and so outside.
    sound = F.when(confidence.between(0, 1), confidence)
    edges = CONFIDENCE_EDGES[:-1]
    return reduce(lambda below, edge: below + (sound >= edge).cast("int"), edges, F.lit(0))


def _value(
    kind: str,
    attribute: str | None,
    value: Column,
    in_bin: Column | None = None,
    moved: Column | None = None,
) -> Column:
    in_bin, moved = (F.lit(None) if one is None else one for one in (in_bin, moved))
    return F.struct(
        F.lit(kind).alias("kind"),
        F.lit(attribute).cast("string").alias("attribute"),
        value.alias("value"),
        in_bin.cast("int").alias("bin"),
        moved.cast("boolean").alias("moved"),
    )


def _build_catalog(counted: Sequence[Row], attributes: Sequence[str]) -> CatalogCounts | None:
    if not counted:
        return None
    by_category: dict[str, list[Row]] = defaultdict(list)
    for row in counted:
        if row["category"] is not None:
            by_category[row["category"]].append(row)
    return CatalogCounts(
        products=_build_group(counted, attributes),
        categories={name: _build_group(rows, attributes) for name, rows in by_category.items()},
    )


def _build_group(counted: Iterable[Row], attributes: Sequence[str]) -> GroupCounts:
    values: dict[str | None, Counter[str]] = defaultdict(Counter)
    bins: dict[str, list[int]] = {a: [0] * len(CONFIDENCE_EDGES) for a in attributes}
    for row in counted:
        attribute, value = row["attribute"], row["value"]
        if row["kind"] == MODEL:
            continue
        values[attribute][ABSTAINED if value is None else str(value)] += row["rows"]
        if row["bin"] is not None:
            bins[attribute][row["bin"]] += row["rows"]
    return GroupCounts(
        rows=values[None].total(),
        modalities=largest_first(values[None]),
        attributes={
            a: AttributeCounts(labels=largest_first(values[a]), confidences=tuple(bins[a]))
            for a in attributes
        },
    )


def _count_moved(counted: Iterable[Row]) -> dict[MovedKey, MovedCounts]:
    found: dict[MovedKey, MovedCounts] = {}
    for row in counted:
        if row["moved"] is None or row["same_model"] is None:
            continue
        for category in {None, row["category"]}:
            key = MovedKey(row["attribute"], category, row["same_model"])
            compared, moved = found.get(key, MovedCounts(0, 0))
            rows = row["rows"]
            found[key] = MovedCounts(compared + rows, moved + rows * row["moved"])
    # All products first.
    return dict(sorted(found.items(), key=lambda one: (one[0].category or "", one[0])))
