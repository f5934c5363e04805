"""Counts in Spark what the gate and a baseline look at: one pass over the rows, few actions.

Runs on the driver. Knows nothing of what is expected of the counts.
"""

from collections.abc import Collection, Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F
from schemas.images import ImageSample
from schemas.quoting import quote_part
from schemas.tables import select_typed_attributes

from expectations.figures import Agreement, InputFigures, StagedFigures
from expectations.summarising import MODALITIES, MODEL, CountedValue, build_figures
from expectations.summary import CONFIDENCE_EDGES, OTHER, UNKNOWN, OtherCategories

# A character that the classifier reads: neither a space of any script nor a control character.
_SHOWS = r"(?U)[^\s\p{C}]"
# What an editor writes for an empty text: tags and comments, also escaped ones, and spaces. Of a
# bounded length, so that no text takes long.
_MARKUP = r"(?i)(<|&lt;)[!/]?[a-z-][^<>]{0,500}?(>|&gt;)|&(amp;){0,2}(nbsp|#160|#xa0);"


def select_answered_attributes(rows: DataFrame) -> list[str]:
    """Returns the attributes that the rows' classifier knows.

    Columns of attributes that only an earlier classifier knew are still there, but NULL.
    """
    named = select_typed_attributes(rows.dtypes)
    counted = [F.count(_column(f"{name}_confidence")).alias(name) for name in named]
    answers = rows.agg(*counted).collect()[0]
    return [name for name in named if answers[name]]


def select_counted(
    rows: DataFrame,
    attributes: Sequence[str],
    categories: Collection[str],
    others: OtherCategories = None,
) -> DataFrame:
    """Returns the columns that are counted: worth caching where they are read more than once.

    `_is_first` marks one of the products with the same picture and text, such as the sizes of one
    dress. They all have the same answer: counted for every size, it would look as if the classifier
    were stuck on it.

    Args:
        rows: product_id, content_hash, modalities, model_version and, for every attribute `a`,
            `a` and `a_confidence`; product_category, NULL where the catalog has none.
        attributes: the names of the attributes.
        categories: what the rows are grouped by; the others become `OTHER`. Empty: no groups.
        others: the categories that become `OTHER`, while further ones become `UNKNOWN`; None where
            it is not known which they are, and then there is no `UNKNOWN`.
    """
    group: Column = F.lit(None).cast("string")
    if categories:
        category = F.col("product_category")
        group = F.when(category.isin(*categories), category)
        if others is None:
            group = group.otherwise(OTHER)
        else:
            is_other = category.isin(*others) | (category.isNull() & F.lit(None in others))
            group = group.when(is_other, OTHER).otherwise(UNKNOWN)
    selected = rows.select(
        "product_id",
        "content_hash",
        MODALITIES,
        MODEL,
        group.alias("_group"),
        *(_column(name) for a in attributes for name in (a, f"{a}_confidence")),
    )
    same_content = Window.partitionBy("_group", "content_hash").orderBy("product_id")
    return selected.withColumn("_is_first", F.row_number().over(same_content) == 1)


def count_figures(rows: DataFrame, attributes: Sequence[str]) -> StagedFigures:
    """Returns the figures of what `select_counted` selected, without agreements.

    Runs on the driver: two Spark actions.
    """
    counted = [CountedValue(**row.asDict()) for row in _count_values(rows, attributes).collect()]
    distinct = rows.agg(F.count_distinct("product_id")).collect()[0][0]
    return build_figures(counted, attributes, distinct)


def count_agreements(
    rows: DataFrame, published: DataFrame, attributes: Sequence[str]
) -> tuple[Agreement, ...]:
    """Counts the unchanged products that were answered before and now, and whose label stayed.

    A label that a person gave is left out: no classifier has to agree with it. Products with the
    same picture and text count as one.

    Runs on the driver: one Spark action.

    Args:
        rows: what `select_counted` selected.
        published: product_id, content_hash, model_version, the attributes' columns, and
            corrections, whose entries name the attributes where a person's label stands.
        attributes: the names of the attributes.
    """
    before = published.select(
        "product_id",
        "content_hash",
        F.col(MODEL).alias("_model_before"),
        "corrections",
        *(_column(a).alias(f"{a} before") for a in attributes),
    )
    answers = [
        F.struct(
            F.lit(a).alias("attribute"),
            F.when(_is_comparable(a), _column(a) == _column(f"{a} before")).alias("agrees"),
        )
        for a in attributes
    ]
    counted = (
        rows.join(before, ["product_id", "content_hash"])
        .select(
            "_group",
            "content_hash",
            (F.col(MODEL) == F.col("_model_before")).alias("same_model"),
            F.explode(F.array(*answers)).alias("answer"),
        )
        .distinct()
        .groupBy("_group", "same_model", "answer.attribute")
        .agg(F.count("answer.agrees"), F.count_if("answer.agrees"))
        .collect()
    )
    return _with_totals([Agreement(row[2], row[0], row[1], row[3], row[4]) for row in counted])


def count_input(products: DataFrame, images: ImageSample) -> InputFigures:
    """Counts a product table before inference.

    Runs on the driver: one Spark action.

    Args:
        products: product_id of every row, NULL where it cannot be used; title and description
            where is_new says that the classifier will be asked about it for the first time.
        images: what became of a sample of the images.
    """
    text = F.concat_ws(" ", "title", "description")
    row = products.agg(
        F.count("*").alias("rows"),
        F.count("product_id").alias("with_id"),
        F.count_distinct("product_id").alias("distinct"),
        F.count_if("is_new").alias("new"),
        F.count_if(F.col("is_new") & ~shows_text(text)).alias("without_text"),
    ).collect()[0]
    return InputFigures(
        rows=row["rows"],
        without_id=row["rows"] - row["with_id"],
        repeated_id=row["with_id"] - row["distinct"],
        new=row["new"],
        without_text=row["without_text"],
        images=images,
    )


def shows_text(text: Column) -> Column:
    """Returns whether there is anything in a text but markup and spaces; lazy."""
    return F.regexp_replace(text, _MARKUP, "").rlike(_SHOWS)


def _column(name: str) -> Column:
    # Attributes are called as a checkpoint wants: a dot in a name is no way into a struct.
    return F.col(quote_part(name))


def _count_values(rows: DataFrame, attributes: Sequence[str]) -> DataFrame:
    """Returns one row, as `CountedValue` has it, for every combination of values that occurs."""
    nothing = F.lit(None)
    values = [
        _value(F.lit(a), "label", _column(a), _column(f"{a}_confidence")) for a in attributes
    ] + [_value(nothing, kind, _column(kind), nothing) for kind in (MODALITIES, MODEL)]
    exploded = rows.select("_group", "_is_first", F.explode(F.array(*values)).alias("seen"))
    seen = exploded.select(F.col("_group").alias("group"), "_is_first", "seen.*")
    confidence = F.col("confidence")
    # To Spark NaN is larger than every number, and so it is no probability here.
    sound = F.when(confidence.between(0, 1), confidence)
    edges_below = reduce(
        lambda total, edge: total + (sound >= edge).cast("int"), CONFIDENCE_EDGES[:-1], F.lit(0)
    )
    return seen.groupBy("group", "attribute", "kind", "value", edges_below.alias("bin")).agg(
        F.count("*").alias("rows"),
        F.count_if("_is_first").alias("first"),
        F.count_if(confidence.isNull()).alias("missing"),
        F.count_if(~confidence.between(0, 1)).alias("outside"),
        F.sum(F.when(F.col("_is_first"), sound)).alias("total"),
        F.sum(F.when(F.col("_is_first"), sound * sound)).alias("squares"),
        F.min(sound).alias("lowest"),
        F.max(sound).alias("highest"),
    )


def _value(attribute: Column, kind: str, value: Column, confidence: Column) -> Column:
    return F.struct(
        attribute.cast("string").alias("attribute"),
        F.lit(kind).alias("kind"),
        value.alias("value"),
        confidence.cast("double").alias("confidence"),
    )


def _is_comparable(attribute: str) -> Column:
    is_corrected = F.exists("corrections", lambda entry: entry["attribute"] == attribute)
    by_person = F.coalesce(is_corrected, F.lit(False))
    return _column(attribute).isNotNull() & _column(f"{attribute} before").isNotNull() & ~by_person


def _with_totals(agreements: list[Agreement]) -> tuple[Agreement, ...]:
    """Returns the agreements of all products, then those of each category."""
    totals: dict[tuple[str, bool], tuple[int, int]] = {}
    for agreement in agreements:
        key = agreement.attribute, agreement.same_model
        compared, agreeing = totals.get(key, (0, 0))
        totals[key] = compared + agreement.compared, agreeing + agreement.agreeing
    whole = [
        Agreement(attribute, None, same_model, *counts)
        for (attribute, same_model), counts in totals.items()
    ]
    return *whole, *(a for a in agreements if a.category is not None)
